"""From flags and the machine to interfaces, addresses and tables: pure functions, plain tests."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.engine.datapath.tables import NextHop, PortInfo, Tables
from pktlb.engine.wire.filter import EVERYTHING, NOTHING
from pktlb.errors import ConfigError
from pktlb.host.machine import Address, Link, Machine, Route
from pktlb.host.neighbours import Way
from pktlb.host.netlink import _packed as packed
from pktlb.model import HASHES, Endpoint, Mode, Scheduler, Vip
from pktlb.plan import fence
from pktlb.plan import placement as plan
from pktlb.plan.layout import Around, Layout, next_hop
from pktlb.plan.leaving import Served
from pktlb.plan.placement import Placement

LO = Link(1, "lo", b"", 65536, True)
WAN = Link(2, "wan", bytes.fromhex("020000000201"), 1500, True)
LAN = Link(3, "lan", bytes.fromhex("020000000202"), 1400, True)
A, B = bytes([10, 0, 2, 11]), bytes([10, 0, 2, 12])
FAR = bytes([10, 9, 9, 9])
GATEWAY = bytes([10, 0, 2, 254])
VIP = bytes([10, 0, 1, 100])
LAN_SOURCE = bytes([10, 0, 2, 1])
MAC_A = bytes.fromhex("020000000401")
A6, VIP6, LAN6 = packed("2001:db8:2::11"), packed("2001:db8:1::100"), packed("2001:db8:2::1")
WAN6, LINK_LOCAL = packed("2001:db8:1::1"), packed("fe80::1")
TCP, UDP = (6,), (17,)

MACHINE = Machine(
    links={1: LO, 2: WAN, 3: LAN},
    addresses=[
        Address(bytes([127, 0, 0, 1]), 8, 1),
        Address(bytes([10, 0, 1, 1]), 24, 2),
        Address(LAN_SOURCE, 24, 3),
        Address(packed("::1"), 128, 1),
        Address(LINK_LOCAL, 64, 2),
        Address(WAN6, 64, 2),
        Address(LINK_LOCAL, 64, 3),
        Address(LAN6, 64, 3),
    ],
    routes={
        A6: Route(3, None, LAN6, False, None),
        A: Route(3, None, LAN_SOURCE, False, None),
        B: Route(3, None, LAN_SOURCE, False, None),
        FAR: Route(3, GATEWAY, LAN_SOURCE, False, 1300),
        LAN_SOURCE: Route(1, None, LAN_SOURCE, True, None),
    },
    neighbours={},
)


def tables_of(
    layout: Layout,
    config: Config,
    placement: Placement,
    machine: Machine,
    macs: Mapping[Way, bytes],
) -> Tables:
    return layout.tables(Served(config), Around(placement, machine, macs))


def service(
    *backends: bytes, mode: Mode = Mode.NAT, weight: int = 1, vip: bytes = VIP
) -> Service:  # fmt: skip
    made = tuple(Backend(Endpoint(address, 80), weight) for address in backends)
    return Service(Vip(vip, 80, 80, TCP), mode, Scheduler.RR, made)


def everything(*backends: bytes) -> Config:
    """Whatever is forwarded from `wan`."""
    made = tuple(Backend(Endpoint(address, 0)) for address in backends)
    spread = Service(Vip(b""), Mode.DSR, Scheduler.RR, made)
    return Config((spread,), interfaces=("wan",))


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


def test_a_backend_in_mode_dsr_is_not_sent_to_through_a_gateway() -> None:
    config = Config((service(FAR, mode=Mode.DSR), service(FAR, vip=bytes([10, 0, 1, 101]))))
    placement = plan.place(config, MACHINE)
    gateway = MACHINE.routes[FAR].gateway
    assert gateway
    assert not tables_of(Layout(), config, placement, MACHINE, {(3, gateway): MAC_A}).hops
    config = Config((service(FAR),))
    placement = plan.place(config, MACHINE)
    assert tables_of(Layout(), config, placement, MACHINE, {(3, gateway): MAC_A}).hops


def test_a_next_hop_is_the_gateway_where_there_is_one_and_the_route_limits_the_size() -> None:
    hop = next_hop(MACHINE, FAR, {(3, GATEWAY): MAC_A})
    assert hop == NextHop(3, MAC_A + LAN.mac, 1300, LAN_SOURCE)
    assert next_hop(MACHINE, A, {(3, A): MAC_A}) == NextHop(3, MAC_A + LAN.mac, 1400, LAN_SOURCE)
    assert next_hop(MACHINE, A, {}) is None


def test_ipv6_has_no_broadcast_address() -> None:
    vip = packed("2001:db8:1::ffff:ffff:ffff:ffff")
    assert plan.place(Config((service(A6, vip=vip),)), MACHINE).addresses == ((vip, 2),)


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


def test_replies_come_from_the_ports_that_were_dialled() -> None:
    ranged = replace(
        service(A), vip=Vip(VIP, 80, 90, TCP), backends=(Backend(Endpoint(A, 0)),)
    )  # fmt: skip
    whole = replace(ranged, vip=Vip(VIP), backends=(Backend(Endpoint(B, 0)),))
    config = Config((ranged, whole))
    replies = fence.guard(config, plan.place(config, MACHINE)).replies
    assert replies == {Vip(A, 80, 90, TCP), Vip(B)}


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
