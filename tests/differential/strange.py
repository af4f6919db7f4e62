"""Wrong, rare and odd frames: good ones that are changed in one thing or several."""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from pktlb.engine.datapath.frame import GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP, Offload
from pktlb.model import Proto
from tests.differential.wire import (
    CHECK_AT,
    CWR,
    ETHER,
    HOP_BY_HOP,
    LEAST,
    OPTIONS,
    ROUTING,
    TYPES,
    Packet,
    layout,
    mended,
    sum_of,
)

_NOISE: Final = Random(1).randbytes(1 << 17)
IP_OPTIONS: Final = (
    b"\1\1\1\0",
    b"\x94\4\0\0",  # router alert, copied
    b"\7\7\4\0\0\0\0\0",  # record route, not copied
    b"\x82\x0b\0\1\2\3\4\5\6\7\x08\1",  # security, copied
    b"\1\x82\4\0\x88\4\0\1\x44\4\5\0",  # copied ones and others in turn
    b"\x94\4\0\0" * 10,
    b"\x94\0\0\0",  # of length 0
    b"\x94\1\0\0",
    b"\x01\x01\x01\x94",  # its length is missing
    b"\x82\x05\0\0",  # beyond the end
    b"\1\1\x82\2",  # nothing but type and length
    b"\0\x94\4\0",  # behind the end
    b"\0\2\x94\4\0\0\0\0",
    b"\x81\x01\0\0",
    b"\x83\7\4\1\2\3\4\0",  # a loose source route
    b"\1\x94\4\0\0\1\1\x89\3\4\0\0",  # a strict one behind others, at its end
    b"\1" * 39 + b"\x83",  # in the last byte
    b"\x44\4\x83\x89",  # inside another
    b"\0\x83\3\4",  # behind the end
)
_PADDED: Final = b"\0\0\1\4\0\0\0\0"
"An extension header of 8 bytes with no option but padding."
EXTENSIONS: Final = (
    ((HOP_BY_HOP, _PADDED),),
    ((OPTIONS, _PADDED),),
    ((ROUTING, b"\0\2\4\0" + bytes(20)),),
    ((ROUTING, b"\0\2\4\1" + bytes(20)),),  # segments left
    ((HOP_BY_HOP, b"\0\1\1\14" + bytes(12)), (ROUTING, b"\0\0\4\0" + bytes(4)), (OPTIONS, _PADDED)),
    ((OPTIONS, _PADDED),) * 8,  # as many as are skipped
    ((OPTIONS, _PADDED),) * 9,
    ((OPTIONS, b"\0\x0a" + bytes(86)),),  # a long head to segment
    ((OPTIONS, b"\0\x10" + bytes(134)),),  # too long for that
    ((OPTIONS, b"\0\xff" + bytes(2046)),),
    ((OPTIONS, b"\0\xff" + bytes(6)),),  # a length beyond the end
    ((OPTIONS, b"\0\1" + bytes(6)),),
    ((44, b"\0\0\0\0\0\0\0\7"),),  # an atomic fragment
    ((44, b"\0\0\0\0\0\0\0\7"), (44, b"\0\0\0\0\0\0\0\7")),
    ((44, b"\0\0\0\1\0\0\0\7"), (OPTIONS, _PADDED)),
    ((44, b"\0\0\0\1\0\0\0\7"), (44, b"\0\0\0\1\0\0\0\7")),
    ((OPTIONS, _PADDED), (44, b"\0\0\0\1\0\0\0\7"), (OPTIONS, b"\0\xff" + bytes(6))),
    ((59, b""),),
    ((51, bytes(12)),),  # AH is not skipped
)
"IPv6: their first bytes are filled in."
TCP_OPTIONS: Final = (b"\2\4\5\xb4", b"\1\1\x08\x0a" + bytes(8), bytes(40))
RARE: Final[tuple[tuple[str, Sequence[Any]], ...]] = (
    ("ip_options", IP_OPTIONS),
    ("extensions", EXTENSIONS),
    ("tcp_options", TCP_OPTIONS),
    ("ttl", (0, 1, 1, 2, 3, 255)),
    ("tos", range(256)),
    ("ident", (0, 1, 0xFFFE, 0xFFFF)),
    ("seq", (0, 0xFFFFFFFF, 0xFFFFFF00)),
    ("check", (0, 0, 0, 1, 0xFFFE, 0xFFFF, 0xFFFF, 0x1234)),
    ("padding", (b"\0", bytes(6), b"\xaa" * 7, bytes(range(20)))),
    ("nothing", (True,)),
    ("fragment", (0x8000, 0xC000, 0x2000, 0x2000, 0x6000, 0x2001, 1, 0x1FFF, 0x4001)),
    ("flags", (CWR, CWR, 0x40, 0x20, 0x08)),
    ("macs", ()),
)
"Fields of a packet, and what they seldom are."
SIZES: Final = (0, 1, 2, 3, 7, 8, 100, 536, 1448, 0xFFFF)


def load(rng: Random, size: int) -> bytes:
    """Random bytes, now and then all zeros or all ones."""
    if rng.random() < 0.05:
        return rng.choice((b"\0", b"\xff")) * size
    at = rng.randrange(1 << 16)
    return _NOISE[at : at + size]


def adorn(rng: Random, packet: Packet) -> None:
    """Give one field a rare value: at the end of its range, odd, or wrong."""
    name, values = rng.choice(RARE)
    if name == "flags":
        packet.flags |= rng.choice(values)
    elif name == "macs":
        packet.macs = rng.choice((
            b"\xff" * 6 + packet.macs[6:],
            b"\1\0\x5e" + packet.macs[3:],
            packet.macs[:6] + b"\3" + packet.macs[7:],
        ))  # fmt: skip
    else:
        setattr(packet, name, rng.choice(values))


def offloaded(rng: Random, packet: Packet) -> Offload:
    """Give a packet a partial checksum; perhaps it stands for many segments."""
    packet.partial = True
    if rng.random() < 0.4:
        return packet.offload()
    if rng.random() < 0.7:
        packet.load = load(rng, rng.choice((1, 40, 600, 2000, 5000, 20_000)))
    tcp = GSO_TCP4 if packet.size == 4 else GSO_TCP6
    right = tcp if packet.proto == Proto.TCP else GSO_UDP
    kind = rng.choice(
        (right,) * 8 + (right | GSO_ECN, right | GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP, 3)
    )
    if kind & GSO_ECN:
        packet.flags |= CWR
    least = len(packet.load) // 40
    sizes = [size for size in SIZES if size >= least or not size]
    size = rng.choice((*sizes, max(1, len(packet.load)), len(packet.load) // 3 + 1))
    return packet.offload(kind, min(size, 0xFFFF))


def any_offload(rng: Random, size: int) -> Offload:
    """A random offload for a frame of so many bytes."""
    near_end = min(max(0, size - rng.randrange(6)), 0xFFFF)
    return Offload(
        rng.choice((0, 1, 1, 1, 2, 3, 255)),
        rng.choice((0, 0, 0, 1, 3, 4, 5, 0x80, 0x81, 255)),
        rng.randrange(0x10000),
        rng.choice(SIZES[6:]),
        rng.choice((0, 12, 33, 34, 35, 38, 54, near_end, near_end, 0xFFFF, rng.randrange(100))),
        rng.choice((0, 0, 1, 2, 6, 16, 20, 0xFFFF, 0xFFDE, rng.randrange(100))),
    )


def spoilt(rng: Random, data: bytearray) -> bytearray:
    """A frame with a byte changed or its end cut off; often the header's checksum is right all the
    same."""
    kind = rng.randrange(6)
    if len(data) < 24:
        return data
    six = data[12:14] == TYPES[16]
    if kind == 0:
        del data[rng.randrange(len(data) + 1) :]
    elif kind == 1:
        values = (0, 1, 4, 6, 8, 17, 43, 44, 58, 59, 60, 0x44, 0x55, 0x46, 0x60, 0x81, 0x86, 0xDD)
        data[rng.choice((12, 13, 14, 20 if six else 23))] = rng.choice(values)
    elif kind == 2:
        total = rng.choice((0, 19, 20, 27, 28, 39, 40, len(data) - 53, len(data) - 13, 0xFFFF))
        at = 18 if six else 16
        data[at : at + 2] = min(max(0, total), 0xFFFF).to_bytes(2, "big")
    elif kind == 3:
        _bend_lengths(rng, data)
    else:
        data[rng.randrange(min(len(data), 120))] ^= rng.choice((1, 0x80, 0xFF, rng.randrange(256)))
    return mended(data) if rng.random() < 0.8 else data


def _bend_lengths(rng: Random, data: bytearray) -> None:
    """Give the TCP header length or the UDP length an impossible value."""
    there = layout(data)
    at = there.transport if there else ETHER + 20
    if there and there.proto == Proto.UDP and len(data) >= at + 8:
        right = int.from_bytes(data[at + 4 : at + 6], "big")
        wrong = rng.choice((0, 7, 8, max(0, right - 1), min(right + 1, 0xFFFF), 0xFFFF))
        data[at + 4 : at + 6] = wrong.to_bytes(2, "big")
    elif len(data) > at + 12:
        data[at + 12] = rng.choice((0x00, 0x40, 0x50, 0x60, 0xF0))


def noise(rng: Random) -> bytearray:
    """A frame that holds no packet, or a piece of one."""
    data = bytearray(load(rng, rng.choice((0, 1, 13, 14, 20, 33, 34, 53, 54, 60, 62, 120))))
    kind = rng.random()
    if kind < 0.4:
        data[12:15] = b"\x08\0\x45"
    elif kind < 0.7:
        data[12:15] = b"\x86\xdd\x60"
        data[18:20] = max(0, len(data) - 54).to_bytes(2, "big")
        data[20:21] = rng.choice((0, 6, 17, 43, 44, 44, 58, 60, 60)).to_bytes(1, "big")
        data[55:56] = b"\0"
    return mended(data) if rng.random() < 0.5 else data


def aimed(rng: Random, arrived: bytes, left: bytes) -> bytearray:
    """The frame again, changed so that a checksum in the frame that leaves comes out as zero.

    0 and 0xffff are the same sum, and each protocol has its own rule which of them is sent.
    """
    data = bytearray(arrived)
    there, then = layout(data), layout(left)
    if there is None or then is None or there[:3] != then[:3]:
        return data
    at = there.transport + CHECK_AT.get(there.proto, 0)
    if (there.size == 16 or rng.random() < 0.6) and len(data) >= at + 2 and len(left) >= at + 2:
        before = int.from_bytes(data[at : at + 2], "big")
        after = int.from_bytes(left[at : at + 2], "big")
        wanted = (before - after - rng.choice((0, 0, 1))) % 0xFFFF
        data[at : at + 2] = rng.choice((wanted, wanted or 0xFFFF)).to_bytes(2, "big")
        return data
    if there.size == 16:
        return data
    which = bytes(left) if rng.random() < 0.7 else bytes(arrived)
    total = sum_of(which[ETHER:24] + which[26 : ETHER + (which[ETHER] & 15) * 4])
    ident = (int.from_bytes(data[18:20], "big") - total) % 0xFFFF
    data[18:20] = ident.to_bytes(2, "big")
    data = mended(data)
    if data[24:26] == b"\0\0" and rng.random() < 0.5:
        data[24:26] = b"\xff\xff"
    return data


def other_load(rng: Random, packet: Packet) -> None:
    """Give a protocol without ports a load, with or without room for its checksum."""
    least = LEAST.get(packet.proto, 0)
    size = rng.choice((least, least + 1, least + 40, rng.randrange(8), 600, 1452, 1460, 1472))
    packet.load = load(rng, size)
    if packet.proto in (Proto.ICMP, Proto.ICMPV6) and packet.load:
        kinds = (0, 8) if packet.size == 4 else (128, 129, 135, 136)
        packet.load = bytes([rng.choice(kinds), 0]) + packet.load[2:]
