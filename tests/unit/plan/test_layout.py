"""The tables of the datapath, laid out for a configuration on a machine."""

from dataclasses import replace

import pytest

from pktlb.config.config import Config
from pktlb.config.service import Backend
from pktlb.engine.datapath.tables import NextHop, PortInfo
from pktlb.engine.wire.filter import EVERYTHING, NOTHING
from pktlb.host.machine import Address, Link, Route
from pktlb.model import HASHES, Endpoint, Mode, Scheduler, Vip
from pktlb.plan import fence
from pktlb.plan import placement as plan
from pktlb.plan.layout import Layout
from tests.support.machine import (
    A6,
    FAR,
    LAN,
    LAN6,
    LAN_SOURCE,
    LINK_LOCAL,
    MAC_A,
    MACHINE,
    TCP,
    VIP,
    VIP6,
    WAN,
    WAN6,
    A,
    B,
    everything,
    service,
    tables_of,
)


def test_the_tables_name_the_broadcast_addresses_of_the_machines_networks() -> None:
    """A network of one or two addresses has none (RFC 3021), nor has IPv6."""
    small = [Address(bytes([10, 9, 0, last]), 29 + last, 2) for last in (1, 2, 3)]
    machine = replace(MACHINE, addresses=[*MACHINE.addresses, *small])
    ours = {bytes([127, 255, 255, 255]), bytes([10, 0, 1, 255]), bytes([10, 0, 2, 255])}
    assert machine.broadcasts() == ours | {bytes([10, 9, 0, 3])}
    config = Config((service(A),))
    made = tables_of(Layout(), config, plan.place(config, MACHINE), MACHINE, {})
    assert made.broadcasts == ours


def test_a_backend_in_mode_dsr_is_not_sent_to_through_a_gateway() -> None:
    config = Config((service(FAR, mode=Mode.DSR), service(FAR, vip=bytes([10, 0, 1, 101]))))
    placement = plan.place(config, MACHINE)
    gateway = MACHINE.routes[FAR].gateway
    assert gateway
    assert not tables_of(Layout(), config, placement, MACHINE, {(3, gateway): MAC_A}).hops
    config = Config((service(FAR),))
    placement = plan.place(config, MACHINE)
    assert tables_of(Layout(), config, placement, MACHINE, {(3, gateway): MAC_A}).hops


def test_both_families_have_a_place() -> None:
    config = Config((service(A), service(A6, vip=VIP6)))
    placement = plan.place(config, MACHINE)
    assert placement.ports == (WAN, LAN)
    assert placement.addresses == ((VIP, 2), (VIP6, 2))
    assert (placement.device_addresses, placement.ipv6) == ((VIP,), True)
    assert not plan.place(Config((service(A),)), MACHINE).ipv6
    tables = tables_of(Layout(), config, placement, MACHINE, {(3, A): MAC_A, (3, A6): MAC_A})
    assert tables.hops[A6] == NextHop(3, MAC_A + LAN.mac, 1400, LAN6)
    assert {service.vip.address for service in tables.all_services} == {VIP, VIP6}


def test_the_other_family_in_a_tunnel_has_an_outer_header_of_its_own() -> None:
    config = Config((service(A6, mode=Mode.TUNNEL),))
    tables = tables_of(Layout(), config, plan.place(config, MACHINE), MACHINE, {(3, A6): MAC_A})
    assert tables.hops[A6].source == LAN6


def test_errors_come_from_an_address_of_the_interface_itself() -> None:
    config = Config((service(A), service(A6, vip=VIP6)))
    placement = plan.place(config, MACHINE)
    added = [Address(VIP, 32, 2), Address(VIP6, 128, 2)]
    machine = replace(MACHINE, addresses=[*added, *MACHINE.addresses])
    ports = tables_of(Layout(), config, placement, machine, {}).ports
    assert ports == {
        2: PortInfo(WAN.mac, 1500, {4: bytes([10, 0, 1, 1]), 16: WAN6}),
        3: PortInfo(LAN.mac, 1400, {4: LAN_SOURCE, 16: LAN6}),
    }


def test_without_one_they_come_from_another_address_of_the_machine() -> None:
    config = Config((service(A, vip=bytes([10, 0, 2, 100])),), interfaces=("wan", "lan"))
    placement = plan.place(config, MACHINE)
    rest = [a for a in MACHINE.addresses if a.link != 2 or a.address == LINK_LOCAL]
    addresses = [Address(bytes([10, 0, 2, 100]), 32, 3), *rest]
    ports = tables_of(Layout(), config, placement, replace(MACHINE, addresses=addresses), {}).ports
    assert ports[2].addresses == {4: LAN_SOURCE, 16: LAN6}


def test_backends_that_cannot_be_reached_or_weigh_nothing_take_no_new_flows() -> None:
    config = Config((service(A, B),))
    placement = plan.place(config, MACHINE)
    tables = tables_of(Layout(), config, placement, MACHINE, {(3, A): MAC_A})
    (table,) = tables.all_services
    assert table.backends == (Endpoint(A, 80),)
    assert list(table.slots) == [0]
    idle = Config((service(A, weight=0),))
    tables = tables_of(Layout(), idle, plan.place(idle, MACHINE), MACHINE, {(3, A): MAC_A})
    assert tables.all_services[0].backends == ()
    assert A in tables.hops


def test_what_a_service_says_reaches_the_datapath() -> None:
    on = HASHES[Scheduler.SOURCE]
    said = replace(service(A), hash_on=on, one_packet=True, pick_up=True)
    config = Config((said,))
    (table,) = tables_of(Layout(), config, plan.place(config, MACHINE), MACHINE, {}).all_services
    assert (table.hash_on, table.one_packet, table.pick_up) == (on, True, True)


@pytest.mark.parametrize(
    ("scheduler", "slots"),
    [
        (Scheduler.RR, 2), (Scheduler.P2C, 2), (Scheduler.LC, 0), (Scheduler.SED, 0),
        (Scheduler.NQ, 0), (Scheduler.SOURCE, 65537), (Scheduler.MAGLEV, 65537),
        (Scheduler.HASH, 65537),
    ],
)  # fmt: skip
def test_each_scheduler_has_the_slots_that_it_needs(scheduler: Scheduler, slots: int) -> None:
    config = Config((replace(service(A, B), scheduler=scheduler),))
    macs = {(3, A): MAC_A, (3, B): MAC_A}
    (table,) = tables_of(Layout(), config, plan.place(config, MACHINE), MACHINE, macs).all_services
    assert len(table.slots) == slots


def test_a_route_that_moves_to_an_interface_that_is_not_read_counts_as_unreachable() -> None:
    config = Config((service(A),))
    placement = plan.place(config, MACHINE)
    other = replace(
        MACHINE,
        links={**MACHINE.links, 4: Link(4, "dmz", LAN.mac, 1500, True)},
        routes={A: Route(4, None, LAN_SOURCE, False, None)},
    )
    assert tables_of(Layout(), config, placement, other, {(4, A): MAC_A}).hops == {}


def test_services_with_the_same_machines_share_a_maglev_table_and_keep_it() -> None:
    services = tuple(
        replace(service(A, B, vip=bytes([10, 0, 1, 100 + i])), scheduler=Scheduler.SOURCE)
        for i in range(3)
    )
    config = Config(services)
    placement = plan.place(config, MACHINE)
    macs = {(3, A): MAC_A, (3, B): MAC_A}
    layout = Layout()
    tables = tables_of(layout, config, placement, MACHINE, macs)
    shared = {id(table.slots) for table in tables.all_services}
    assert len(shared) == 1
    again = tables_of(layout, config, placement, MACHINE, macs)
    assert {id(table.slots) for table in again.all_services} == shared
    fewer = tables_of(layout, config, placement, MACHINE, {(3, A): MAC_A})
    assert shared.isdisjoint(id(table.slots) for table in fewer.all_services)


def test_names_say_which_machines_are_the_same() -> None:
    """Two balancers on both sides of the same two machines: other addresses, same choices."""
    sides = []
    for addresses in ((A, B), (B, A)):
        backends = tuple(
            Backend(Endpoint(address, 80), name=name)
            for address, name in zip(addresses, ("fw1", "fw2"), strict=True)
        )
        config = Config((replace(service(), scheduler=Scheduler.MAGLEV, backends=backends),))
        macs = {(3, A): MAC_A, (3, B): MAC_A}
        (table,) = tables_of(
            Layout(), config, plan.place(config, MACHINE), MACHINE, macs
        ).all_services
        sides.append(table.slots)
    assert sides[0] == sides[1]


def test_a_machine_that_leaves_does_not_rename_the_others() -> None:
    both = (Backend(Endpoint(A, 80)), Backend(Endpoint(A, 81)), Backend(Endpoint(B, 80)))
    config = Config((replace(service(), scheduler=Scheduler.MAGLEV, backends=both),))
    placement = plan.place(config, MACHINE)
    macs = {(3, A): MAC_A, (3, B): MAC_A}
    (before,) = tables_of(Layout(), config, placement, MACHINE, macs).all_services
    idle = (both[0], replace(both[1], weight=0), both[2])
    config = Config((replace(config.services[0], backends=idle),))
    (after,) = tables_of(Layout(), config, placement, MACHINE, macs).all_services
    moved = sum(
        before.backends[b] != after.backends[a]
        for b, a in zip(before.slots, after.slots, strict=True)
        if before.backends[b] != Endpoint(A, 81)
    )
    assert moved / len(before.slots) < 0.01


def test_backends_on_one_machine_are_told_apart_by_their_ports() -> None:
    both = (Backend(Endpoint(A, 80)), Backend(Endpoint(A, 81)))
    config = Config((replace(service(A), scheduler=Scheduler.SOURCE, backends=both),))
    tables = tables_of(Layout(), config, plan.place(config, MACHINE), MACHINE, {(3, A): MAC_A})
    (table,) = tables.all_services
    assert set(table.slots) == {0, 1}


def test_replies_are_held_back_in_nat_mode_only() -> None:
    nat, dsr = Config((service(A),)), Config((service(A, mode=Mode.DSR),))
    vip, reply = Vip(VIP, 80, 80, TCP), Vip(A, 80, 80, TCP)
    held = fence.guard(nat, plan.place(nat, MACHINE))
    assert [*held.services, *held.replies, *held.returns] == [vip, reply]
    assert held.owned == ((VIP, 2),)
    held = fence.guard(dsr, plan.place(dsr, MACHINE))
    assert held.services == held.returns == {vip}
    assert not held.replies
    assert tables_of(Layout(), nat, plan.place(nat, MACHINE), MACHINE, {}).replies.addresses == {A}


def test_whatever_is_forwarded_is_read_where_it_was_said_and_sent_where_the_backends_are() -> None:
    config = everything(A)
    placement = plan.place(config, MACHINE)
    assert placement.ports == (WAN, LAN)
    assert placement.read == (WAN,)
    assert placement.addresses == ()
    assert (placement.device_addresses, placement.ipv6) == ((bytes([10, 0, 1, 1]),), True)
    held = fence.guard(config, placement)
    assert (held.devices, held.forwarded) == (("wan",), True)
    assert not held.services | held.returns
    assert fence.filters(placement, []) == {2: [EVERYTHING], 3: [NOTHING]}
    tables = tables_of(Layout(), config, placement, MACHINE, {(3, A): MAC_A})
    assert tables.any is not None
    assert tables.any.backends == (Endpoint(A, 0),)
    assert (set(tables.spread), set(tables.appliances)) == ({2}, {MAC_A})
