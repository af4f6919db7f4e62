"""Packets made of other packets: ICMP errors that quote one, and fragments of one."""

from collections.abc import Mapping
from random import Random
from typing import Final

from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.keys import destination, source
from pktlb.engine.datapath.tables import NextHop
from pktlb.model import Endpoint, Mode, Proto
from tests.differential.strange import EXTENSIONS, IP_OPTIONS
from tests.differential.wire import (
    ENDS,
    ETHER,
    ICMPS,
    TYPES,
    Packet,
    layout,
    mended,
    pieces,
)
from tests.support.packets import packed

ROUTERS: Final = {4: packed("192.0.2.1"), 16: packed("2001:db8:ffff::1")}
_NO_ROUTERS: Final = {
    4: tuple(map(packed, ("127.0.0.1", "255.255.255.255", "169.254.0.9"))),
    16: tuple(map(packed, ("::1", "ff02::2", "fe80::9"))),
}
_TYPES: Final = {
    4: (3, 3, 3, 3, 3, 11, 11, 12, 12, 0, 4, 13),
    16: (1, 1, 1, 2, 2, 3, 3, 4, 4, 0, 5, 128),
}
_TOO_BIG: Final = {4: (3, 4), 16: (2, 0)}
_MTUS: Final = (0, 1, 40, 68, 87, 88, 576, 1280, 1300, 1319, 1320, 1400, 1480, 1500, 0xFFFF)
_LONG_MTUS: Final = (*_MTUS, 0x10000, 0x10000000, 0xFFFFFFFF)
_CUTS: Final = (0, 8, 19, 20, 27, 28, 36, 39, 40, 47, 48, 60, 80, 88, 100, 528, 1232, 0xFFFF)


def complaint(rng: Random, about: bytes, macs: bytes) -> Packet | None:
    """An ICMP error that quotes the packet in a frame, or some of it, or something like it."""
    there = layout(about)
    if there is None:
        return None
    size, at = there.size, ENDS[there.size]
    here, to = bytes(about[at : at + size]), bytes(about[at + size : at + 2 * size])
    quoted = bytearray(about[ETHER:])
    while rng.random() < 0.1 and quoted:
        quoted[rng.randrange(min(len(quoted), 100))] ^= rng.choice((1, 0x80, 0xFF))
    header = there.transport - ETHER
    inside = header + (28 if rng.random() < 0.5 else 48)
    cut = rng.choice((*_CUTS, header, header + 7, header + 8, header + 17, header + 18, inside))
    if rng.random() < 0.6:
        cut = 0xFFFF
    router = rng.choice((ROUTERS[size], ROUTERS[size], to, to, here))
    if rng.random() < 0.05:
        router = rng.choice(_NO_ROUTERS[size])
    target = here if rng.random() < 0.95 else to
    kind, code = rng.choice(_TYPES[size]), rng.choice((0, 1, 2, 3, 4, 13))
    mtu = rng.choice(_MTUS if size == 4 else _LONG_MTUS)
    if rng.random() < 0.4:
        kind, code = _TOO_BIG[size]
    packet = Packet(Endpoint(router, 0), Endpoint(target, 0), ICMPS[size], macs)
    packet.load = bytes([kind, code, 0, 0]) + mtu.to_bytes(4, "big") + bytes(quoted[:cut])
    packet.fragment = rng.choice((0, 0, 0x4000))
    if rng.random() < 0.03:
        packet.check = rng.choice((0, 0xFFFF, 0x1234))
    return packet


def of_flow(rng: Random, flow: Flow, hops: Mapping[bytes, NextHop], macs: bytes) -> bytes:
    """A packet of a flow, as it leaves the balancer in either direction, or as it came."""
    client, vip = source(flow.key), destination(flow.key)
    kind = rng.random()
    if kind < 0.4:
        return plain(rng, vip, client, flow.key[-1], macs)
    if kind < 0.7 and flow.reverse is not None:
        return plain(rng, destination(flow.reverse), source(flow.reverse), flow.key[-1], macs)
    sent = plain(rng, client, vip, flow.key[-1], macs)
    hop = hops.get(flow.backend.address)
    if flow.mode is Mode.TUNNEL and hop is not None and rng.random() < 0.9:
        return nested(rng, sent, hop.source, flow.backend.address)
    return sent


def plain(rng: Random, here: Endpoint, there: Endpoint, proto: int, macs: bytes) -> bytes:
    """A packet from one end to another, now and then with options or extension headers."""
    packet = Packet(here, there, proto, macs)
    packet.load = bytes(rng.choice((0, 4, 9, 12, 40, 600, 1300)))
    packet.fragment = rng.choice((0, 0x4000, 0x2000))
    if rng.random() < 0.15:
        packet.ip_options = rng.choice(IP_OPTIONS)
        packet.extensions = rng.choice(EXTENSIONS)
    if rng.random() < 0.1:
        packet.check = 0
    return bytes(packet.build())


def nested(rng: Random, frame: bytes, here: bytes, there: bytes) -> bytes:
    """The packet in a frame as if it were in a tunnel between these addresses."""
    proto = Proto.IPIP if frame[12:14] == TYPES[4] else Proto.IPV6
    if rng.random() < 0.05:
        proto = rng.choice((Proto.IPIP, Proto.IPV6, Proto.GRE))
    packet = Packet(Endpoint(here, 0), Endpoint(there, 0), proto, frame[:12])
    packet.load = frame[ETHER:]
    packet.fragment = rng.choice((0, 0x4000, 0x2000))
    if rng.random() < 0.1:
        packet.extensions = rng.choice(EXTENSIONS)
    return bytes(packet.build())


def parts(rng: Random, data: bytes, ident: int) -> list[bytes]:
    """The fragments of a packet in any order; sometimes some are missing or overlap."""
    there = layout(data)
    if there is None:
        return []
    length = len(data) - there.transport
    cuts = _cuts(rng, length)
    kind = rng.random()
    if kind < 0.4:
        pass
    elif kind < 0.6:
        cuts.reverse()
    elif kind < 0.85:
        rng.shuffle(cuts)
    else:
        _contradict(rng, cuts, length)
    if rng.random() < 0.3 and len(cuts) > 1:
        cuts.insert(rng.randrange(len(cuts)), rng.choice(cuts))
    if rng.random() < 0.2:
        del cuts[rng.randrange(len(cuts))]
    made = pieces(data, cuts, ident)
    if rng.random() < 0.1 and made:
        made[0] = _with_other_proto(rng, made[0])
    return made


def _cuts(rng: Random, length: int) -> list[tuple[int, int, bool]]:
    """The fragments to cut, in order: first byte, the byte behind the last, and whether more
    follow."""
    step = rng.choice((8, 16, 24, 64, 512, 1480, max(8, length // 2 & ~7)))
    step = max(step, length // 40 & ~7, 8)
    starts = range(0, length, step) or range(1)
    cuts = [(at, min(at + step, length), at + step < length) for at in starts]
    if rng.random() < 0.1:
        return cuts[::2]  # with gaps between the fragments
    return cuts


def _contradict(rng: Random, cuts: list[tuple[int, int, bool]], length: int) -> None:
    """Add a fragment that contradicts the others."""
    start, stop, more = rng.choice(cuts)
    end = (length + 7) & ~7
    cuts.insert(
        rng.randrange(len(cuts) + 1),
        rng.choice((
            (start, stop + 8, True),
            (start + 8, stop + 8, more),
            (start, start + 8, False),
            (start, start + 1, True),
            (start, start, more),
            (0, 8, True),
            (0, 16, True),
            (end, end + 8, True),
            (end + 8, end + 16, False),
            (end + 8, end + 16, True),
            (0xFFF8, 0xFFFF, False),
            (0xFFF8, 0x10000, False),
        )),
    )  # fmt: skip
    rng.shuffle(cuts)


def _with_other_proto(rng: Random, piece: bytes) -> bytes:
    """A fragment that names another protocol; in IPv6 it belongs to the packet all the same."""
    data = bytearray(piece)
    if data[12:14] == TYPES[4] and len(data) > 24:
        data[23] = rng.choice((Proto.TCP, Proto.UDP, Proto.GRE))
        return bytes(mended(data))
    if len(data) > 54:
        data[54] = rng.choice((Proto.TCP, Proto.UDP, Proto.GRE, 60))
    return bytes(data)
