"""A machine with two interfaces, backends behind it, and services: what plans are made of."""

from collections.abc import Mapping

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.engine.datapath.tables import Tables
from pktlb.host.machine import Address, Link, Machine, Route
from pktlb.host.neighbours import Way
from pktlb.host.netlink import _packed as packed
from pktlb.model import Endpoint, Mode, Scheduler, Vip
from pktlb.plan.layout import Around, Layout
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
