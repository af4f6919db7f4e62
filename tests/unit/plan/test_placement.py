"""From flags and the machine to interfaces, addresses and tables: pure functions, plain tests."""

from dataclasses import replace

import pytest

from pktlb.config.config import Config
from pktlb.config.service import Backend
from pktlb.engine.datapath.tables import NextHop
from pktlb.errors import ConfigError
from pktlb.host.machine import Address, Route
from pktlb.host.netlink import _packed as packed
from pktlb.model import Endpoint, Mode, Vip
from pktlb.plan import fence
from pktlb.plan import placement as plan
from pktlb.plan.layout import next_hop
from tests.support.machine import (
    A6,
    FAR,
    GATEWAY,
    LAN,
    LAN_SOURCE,
    MAC_A,
    MACHINE,
    TCP,
    VIP,
    WAN,
    A,
    B,
    service,
)


def test_ports_are_where_the_vip_lives_and_where_backends_are() -> None:
    placement = plan.place(Config((service(A, B),)), MACHINE)
    assert placement.ports == (WAN, LAN)
    assert placement.addresses == ((VIP, 2),)


def test_one_arm_is_one_port() -> None:
    placement = plan.place(Config((service(A, vip=bytes([10, 0, 2, 100])),)), MACHINE)
    assert placement.ports == (LAN,)


def test_a_vip_that_the_machine_has_already_is_not_added() -> None:
    there = replace(MACHINE, addresses=[*MACHINE.addresses, Address(VIP, 32, 2)])
    assert plan.place(Config((service(A),)), there).addresses == ()


def test_flags_say_where_instead() -> None:
    config = Config((service(A),), interfaces=("lan",), vip_interface="lan")
    placement = plan.place(config, MACHINE)
    assert placement.ports == (LAN,)
    assert placement.addresses == ((VIP, 3),)


def test_snat_addresses_go_where_the_backends_ask_for_them() -> None:
    snat = (bytes([10, 0, 2, 200]), bytes([172, 16, 0, 1]), LAN_SOURCE)
    placement = plan.place(Config((service(A),), snat=snat), MACHINE)
    assert placement.addresses == ((VIP, 2), (snat[0], 3), (snat[1], 3))


UNCONNECTED = bytes([203, 0, 113, 1])


IMPOSSIBLE = [
    ("any router's", Config((service(A6, vip=packed("2001:db8:1::")),)), "2001:db8:1::: expected"),
    ("own address", Config((service(LAN_SOURCE),)), "this is one of our own"),
    ("broadcast", Config((service(A, vip=bytes([10, 0, 1, 255])),)), "or its broadcast address"),
    ("network", Config((service(A, vip=bytes([10, 0, 1, 0])),)), "10.0.1.0: expected the address"),
    ("lo", Config((service(A),), interfaces=("lo",)), "expected an Ethernet interface"),
]


@pytest.mark.parametrize(("config", "complaint"), [c[1:] for c in IMPOSSIBLE],
                         ids=[c[0] for c in IMPOSSIBLE])  # fmt: skip
def test_what_can_never_be_names_the_setting(config: Config, complaint: str) -> None:
    with pytest.raises(ConfigError, match=r"^(vip|vip_interface|interface|backend) ") as caught:
        plan.place(config, MACHINE)
    assert complaint in str(caught.value)


PENDING = [
    ("no route", Config((service(UNCONNECTED),)), "backend 203.0.113.1:80: expected an address", 0),
    ("dsr behind a router", Config((service(FAR, mode=Mode.DSR),)), "is behind 10.0.2.254", 1),
    (
        "vip of no network",
        Config((service(A, vip=UNCONNECTED),)),
        "expected a vip_interface (--",
        1,
    ),
    ("no interface", Config((service(A),), interfaces=("wam",)), "interface wam: expected", 1),
    ("no such vip interface", Config((service(A),), vip_interface="x"), "vip_interface x", 1),
    ("backends' side left out", Config((service(A),), interfaces=("wan",)), "through lan", 1),
]


@pytest.mark.parametrize(("config", "complaint", "is_refused"), [c[1:] for c in PENDING],
                         ids=[c[0] for c in PENDING])  # fmt: skip
def test_what_the_machine_has_no_way_for_yet_is_pending(
    config: Config, complaint: str, is_refused: bool
) -> None:
    pending = plan.place(config, MACHINE).pending
    assert [each.is_refused for each in pending if complaint in str(each)] == [is_refused]


@pytest.mark.parametrize(("config", "is_refused"), [c[1::2] for c in PENDING],
                         ids=[c[0] for c in PENDING])  # fmt: skip
def test_a_change_is_refused_for_what_it_brings_and_not_for_what_was_pending(
    config: Config, is_refused: bool
) -> None:
    now, wanted = plan.place(Config((service(A),)), MACHINE), plan.place(config, MACHINE)
    assert bool(plan.newly_refused(wanted, now)) is bool(is_refused)
    assert not plan.newly_refused(wanted, wanted)


def test_what_is_pending_leaves_the_rest_in_its_place() -> None:
    config = Config((service(A), service(UNCONNECTED, vip=bytes([10, 0, 1, 101]))))
    placement = plan.place(config, MACHINE)
    assert placement.names == {"wan", "lan"}
    assert {address for address, _ in placement.addresses} == {VIP, bytes([10, 0, 1, 101])}


def test_a_renamed_interface_is_the_one_that_had_the_name() -> None:
    config = Config((service(A),), interfaces=("wan", "lan"))
    renamed = replace(MACHINE, links={2: WAN, 3: replace(LAN, name="inside")})
    placement = plan.place(config, renamed, plan.Before(names={"wan": 2, "lan": 3}))
    assert placement.names == {"wan", "inside"}
    assert not placement.pending


def test_a_new_interface_of_the_name_counts_for_more_than_the_renamed_one() -> None:
    config = Config((service(A),), interfaces=("lan",))
    links = {2: WAN, 3: replace(LAN, name="old"), 9: replace(LAN, index=9)}
    placement = plan.place(config, replace(MACHINE, links=links), plan.Before(names={"lan": 3}))
    assert [port.index for port in placement.ports] == [9]


def test_a_home_that_is_gone_is_searched_anew() -> None:
    placement = plan.place(Config((service(A),)), MACHINE, plan.Before(homes={VIP: 77}))
    assert placement.addresses == ((VIP, 2),)


def test_an_interface_that_is_down_is_pending() -> None:
    down = replace(MACHINE, links={**MACHINE.links, 2: replace(WAN, up=False)})
    (pending,) = plan.place(Config((service(A),)), down).pending
    assert str(pending) == "interface wan: expected an interface that is up"


def test_an_open_interface_that_goes_down_stays_open() -> None:
    down = replace(MACHINE, links={**MACHINE.links, 2: replace(WAN, up=False)})
    placement = plan.place(Config((service(A),)), down, plan.Before(ports=(WAN, LAN)))
    assert placement.names == {"wan", "lan"}
    assert not placement.pending


def test_a_machine_without_an_address_on_the_way_is_told_so() -> None:
    bare = replace(MACHINE, routes={A: Route(3, None, b"", False, None)})
    (pending,) = plan.place(Config((service(A),)), bare).pending
    assert "to have an address on the way" in str(pending)


def test_a_next_hop_is_the_gateway_where_there_is_one_and_the_route_limits_the_size() -> None:
    hop = next_hop(MACHINE, FAR, {(3, GATEWAY): MAC_A})
    assert hop == NextHop(3, MAC_A + LAN.mac, 1300, LAN_SOURCE)
    assert next_hop(MACHINE, A, {(3, A): MAC_A}) == NextHop(3, MAC_A + LAN.mac, 1400, LAN_SOURCE)
    assert next_hop(MACHINE, A, {}) is None


def test_ipv6_has_no_broadcast_address() -> None:
    vip = packed("2001:db8:1::ffff:ffff:ffff:ffff")
    assert plan.place(Config((service(A6, vip=vip),)), MACHINE).addresses == ((vip, 2),)


def test_replies_come_from_the_ports_that_were_dialled() -> None:
    ranged = replace(
        service(A), vip=Vip(VIP, 80, 90, TCP), backends=(Backend(Endpoint(A, 0)),)
    )  # fmt: skip
    whole = replace(ranged, vip=Vip(VIP), backends=(Backend(Endpoint(B, 0)),))
    config = Config((ranged, whole))
    replies = fence.guard(config, plan.place(config, MACHINE)).replies
    assert replies == {Vip(A, 80, 90, TCP), Vip(B)}


USED = "is used by 02:00:00:00:00:07 on wan (--force to insist)"
