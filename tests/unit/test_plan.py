"""From flags and the machine to interfaces, addresses and tables: pure functions, plain tests."""

from dataclasses import replace

import pytest

from pktlb import plan
from pktlb.config import Config
from pktlb.datapath.packet import endpoint_key
from pktlb.datapath.tables import NextHop, PortInfo
from pktlb.errors import ConfigError
from pktlb.host.machine import Address, Link, Machine, Route
from pktlb.model import Backend, Endpoint, Mode, Proto, Scheduler, Service

LO = Link(1, "lo", b"", 65536, True)
WAN = Link(2, "wan", bytes.fromhex("020000000201"), 1500, True)
LAN = Link(3, "lan", bytes.fromhex("020000000202"), 1400, True)
A, B = bytes([10, 0, 2, 11]), bytes([10, 0, 2, 12])
FAR = bytes([10, 9, 9, 9])
GATEWAY = bytes([10, 0, 2, 254])
VIP = bytes([10, 0, 1, 100])
LAN_SOURCE = bytes([10, 0, 2, 1])
MAC_A = bytes.fromhex("020000000401")

MACHINE = Machine(
    links={1: LO, 2: WAN, 3: LAN},
    addresses=[
        Address(bytes([127, 0, 0, 1]), 8, 1),
        Address(bytes([10, 0, 1, 1]), 24, 2),
        Address(LAN_SOURCE, 24, 3),
    ],
    routes={
        A: Route(3, None, LAN_SOURCE, False, None),
        B: Route(3, None, LAN_SOURCE, False, None),
        FAR: Route(3, GATEWAY, LAN_SOURCE, False, 1300),
        LAN_SOURCE: Route(1, None, LAN_SOURCE, True, None),
    },
    neighbours={},
)


def service(
    *backends: bytes, mode: Mode = Mode.NAT, weight: int = 1, vip: bytes = VIP
) -> Service:  # fmt: skip
    made = tuple(Backend(Endpoint(address, 80), weight) for address in backends)
    return Service(Endpoint(vip, 80), Proto.TCP, mode, Scheduler.RR, made)


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
    ("no route", Config((service(UNCONNECTED),)), "--backend 203.0.113.1:80: expected an address"),
    ("own address", Config((service(LAN_SOURCE),)), "this is one of our own"),
    ("dsr behind a router", Config((service(FAR, mode=Mode.DSR),)), "is behind 10.0.2.254"),
    ("vip of no network", Config((service(A, vip=UNCONNECTED),)), "expected --vip-interface IF"),
    ("broadcast", Config((service(A, vip=bytes([10, 0, 1, 255])),)), "or its broadcast address"),
    ("network", Config((service(A, vip=bytes([10, 0, 1, 0])),)), "10.0.1.0: expected the address"),
    ("no such interface", Config((service(A),), interfaces=("wam",)), "--interface wam: expected"),
    ("lo", Config((service(A),), interfaces=("lo",)), "expected an Ethernet interface"),
    ("no such vip interface", Config((service(A),), vip_interface="x"), "--vip-interface x"),
    ("backends' side left out", Config((service(A),), interfaces=("wan",)), "reached through lan"),
]


@pytest.mark.parametrize(("config", "complaint"), [c[1:] for c in IMPOSSIBLE],
                         ids=[c[0] for c in IMPOSSIBLE])  # fmt: skip
def test_what_cannot_be_names_the_flag(config: Config, complaint: str) -> None:
    with pytest.raises(ConfigError, match="--") as caught:
        plan.place(config, MACHINE)
    assert complaint in str(caught.value)


def test_an_interface_that_is_down_is_refused() -> None:
    down = replace(MACHINE, links={**MACHINE.links, 2: replace(WAN, up=False)})
    with pytest.raises(ConfigError, match="wan: expected an interface that is up"):
        plan.place(Config((service(A),)), down)


def test_a_machine_without_an_address_on_the_way_is_told_so() -> None:
    bare = replace(MACHINE, routes={A: Route(3, None, b"", False, None)})
    with pytest.raises(ConfigError, match="to have an address on the way"):
        plan.place(Config((service(A),)), bare)


def test_a_next_hop_is_the_gateway_where_there_is_one_and_the_route_limits_the_size() -> None:
    hop = plan.next_hop(MACHINE, FAR, {(3, GATEWAY): MAC_A})
    assert hop == NextHop(3, MAC_A + LAN.mac, 1300, LAN_SOURCE)
    assert plan.next_hop(MACHINE, A, {(3, A): MAC_A}) == NextHop(
        3, MAC_A + LAN.mac, 1400, LAN_SOURCE
    )
    assert plan.next_hop(MACHINE, A, {}) is None


def test_backends_that_cannot_be_reached_or_weigh_nothing_take_no_new_flows() -> None:
    config = Config((service(A, B),))
    placement = plan.place(config, MACHINE)
    tables = plan.lay_out(config, placement, MACHINE, {(3, A): MAC_A})
    table = tables.services[endpoint_key(Proto.TCP, Endpoint(VIP, 80))]
    assert table.backends == (Endpoint(A, 80),)
    assert list(table.slots) == [0]
    assert tables.ports == {2: PortInfo(WAN.mac, 1500), 3: PortInfo(LAN.mac, 1400)}
    idle = Config((service(A, weight=0),))
    tables = plan.lay_out(idle, plan.place(idle, MACHINE), MACHINE, {(3, A): MAC_A})
    assert tables.services[endpoint_key(Proto.TCP, Endpoint(VIP, 80))].backends == ()
    assert A in tables.hops


def test_a_route_that_moves_to_an_interface_that_is_not_read_counts_as_unreachable() -> None:
    config = Config((service(A),))
    placement = plan.place(config, MACHINE)
    other = replace(
        MACHINE,
        links={**MACHINE.links, 4: Link(4, "dmz", LAN.mac, 1500, True)},
        routes={A: Route(4, None, LAN_SOURCE, False, None)},
    )
    assert plan.lay_out(config, placement, other, {(4, A): MAC_A}).hops == {}


def test_services_with_the_same_machines_share_a_maglev_table_and_keep_it() -> None:
    services = tuple(
        replace(service(A, B, vip=bytes([10, 0, 1, 100 + i])), scheduler=Scheduler.SOURCE)
        for i in range(3)
    )
    config = Config(services)
    placement = plan.place(config, MACHINE)
    macs = {(3, A): MAC_A, (3, B): MAC_A}
    tables = plan.lay_out(config, placement, MACHINE, macs)
    shared = {id(table.slots) for table in tables.services.values()}
    assert len(shared) == 1
    again = plan.lay_out(config, placement, MACHINE, macs, tables)
    assert {id(table.slots) for table in again.services.values()} == shared
    fewer = plan.lay_out(config, placement, MACHINE, {(3, A): MAC_A}, tables)
    assert shared.isdisjoint(id(table.slots) for table in fewer.services.values())


def test_backends_on_one_machine_are_told_apart_by_their_ports() -> None:
    both = (Backend(Endpoint(A, 80)), Backend(Endpoint(A, 81)))
    config = Config((replace(service(A), scheduler=Scheduler.SOURCE, backends=both),))
    tables = plan.lay_out(config, plan.place(config, MACHINE), MACHINE, {(3, A): MAC_A})
    (table,) = tables.services.values()
    assert set(table.slots) == {0, 1}


def test_replies_are_held_back_in_nat_mode_only() -> None:
    nat, dsr = Config((service(A),)), Config((service(A, mode=Mode.DSR),))
    held = plan.guard(nat, plan.place(nat, MACHINE))
    assert held.services == [(Proto.TCP, Endpoint(VIP, 80))]
    assert held.replies == [(Proto.TCP, Endpoint(A, 80))]
    assert held.owned == ((VIP, 2),)
    assert plan.guard(dsr, plan.place(dsr, MACHINE)).replies == []
    keys = plan.lay_out(nat, plan.place(nat, MACHINE), MACHINE, {}).replies
    assert keys == {endpoint_key(Proto.TCP, Endpoint(A, 80))}
