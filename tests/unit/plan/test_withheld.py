"""Addresses that another machine uses: left out of the placement, the guard and the filters."""

from dataclasses import replace

from pktlb.config.config import Config
from pktlb.engine.wire.filter import Side
from pktlb.host.machine import Address
from pktlb.model import Vip
from pktlb.plan import fence
from pktlb.plan import placement as plan
from tests.support.machine import LAN_SOURCE, MACHINE, TCP, VIP, A, service

USED = "is used by 02:00:00:00:00:07 on wan (--force to insist)"


def test_an_address_that_is_withheld_is_left_to_the_kernel_and_told() -> None:
    other = replace(service(A), vip=Vip(VIP[:3] + b"\x65", 80, 80, TCP))
    config = Config((service(A), other))
    placement = plan.place(config, MACHINE, plan.Before(withheld={VIP: USED}))
    assert placement.addresses == ((other.vip.address, 2),)
    assert placement.withheld == {VIP}
    assert [str(each) for each in placement.pending] == [f"vip 10.0.1.100: {USED}"]
    assert placement.device_addresses == (other.vip.address,)
    held = fence.guard(config, placement)
    assert {vip.address for vip in held.services} == {other.vip.address}
    assert held.owned == placement.addresses
    (wanted,) = fence.wanted_ends(config, (), placement.withheld)[Side.DESTINATION]
    assert wanted.address == other.vip.address


def test_an_address_that_is_being_probed_for_is_not_told() -> None:
    placement = plan.place(Config((service(A),)), MACHINE, plan.Before(withheld={VIP: ""}))
    assert (placement.addresses, placement.pending) == ((), ())


def test_where_the_only_vip_is_withheld_the_device_has_an_address_of_the_machine() -> None:
    placement = plan.place(Config((service(A),)), MACHINE, plan.Before(withheld={VIP: USED}))
    assert placement.device_addresses == (bytes([10, 0, 1, 1]),)


def test_an_address_of_the_machine_is_never_withheld() -> None:
    there = replace(MACHINE, addresses=[*MACHINE.addresses, Address(VIP, 32, 2)])
    placement = plan.place(Config((service(A),)), there, plan.Before(withheld={VIP: USED}))
    assert (placement.withheld, placement.pending) == (frozenset(), ())


def test_a_source_address_that_is_withheld_is_told_as_one() -> None:
    pool = LAN_SOURCE[:3] + b"\x32"
    config = Config((service(A),), snat=(pool,))
    placement = plan.place(config, MACHINE, plan.Before(withheld={pool: USED}))
    assert [each.what for each in placement.pending] == ["snat 10.0.2.50"]
