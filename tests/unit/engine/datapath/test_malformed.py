"""Malformed frames, each kind with its own Reason."""

from collections.abc import Callable

import pytest
from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.packet import View, parse
from pktlb.model import Mode, Proto, Reason
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.keys import format_key
from tests.support.oracle import slow_checksum
from tests.support.packets import LAN, V6, Packet, client, fragmented, frame, tcp, udp, vip
from tests.support.sound import ETHER

TABLES = tables(
    *(service(Mode.NAT, at=end) for end in (vip(), V6.vip())),
    *(service(Mode.NAT, at=end, proto=Proto.UDP) for end in (vip(53), V6.vip(53))),
)
SYN = bytes(frame(tcp(client(), vip(), "S", b"data", tcp_options=[("MSS", 1460)])).data)
QUERY = bytes(frame(udp(client(), vip(53), b"question")).data)
FIRST = bytes(frame(udp(client(), vip(53), b"question", df=False, more=True)).data)
OPTIONS = bytes(frame(udp(client(), vip(53), b"q", options=[IPOption_NOP()] * 4)).data)


def put(data: bytes, at: int, value: int, size: int = 2) -> bytes:
    """`data` with one field changed and the right header checksum."""
    changed = bytearray(data)
    changed[at : at + size] = value.to_bytes(size, "big")
    if data[12] == 0x86:
        return bytes(changed)
    length = ETHER + (changed[ETHER] & 15) * 4
    changed[ETHER + 10 : ETHER + 12] = b"\0\0"
    check = slow_checksum(bytes(changed[ETHER:length]))
    changed[ETHER + 10 : ETHER + 12] = check.to_bytes(2, "big")
    return bytes(changed)


TOTAL, TRANSPORT = ETHER + 2, ETHER + 20


def with_options(options: bytes) -> bytes:
    """A query with these IPv4 options, and the right checksums."""
    made = QUERY[:TRANSPORT] + options + QUERY[TRANSPORT:]
    made = put(made, ETHER, 0x45 + len(options) // 4, 1)
    return put(made, TOTAL, len(made) - ETHER)


LOOSE, STRICT = b"\x83\x07\x04\x0a\0\x02\x02", b"\x89\x07\x04\x0a\0\x02\x02"
ROUTED: list[tuple[str, bytes, Reason]] = [
    ("a loose source route", with_options(LOOSE + b"\0"), Reason.BAD_HEADER),
    ("a strict source route", with_options(STRICT + b"\0"), Reason.BAD_HEADER),
    (
        "a source route that is at its end",
        with_options(b"\x83\x07\x08" + LOOSE[3:] + b"\0"),
        Reason.BAD_HEADER,
    ),
    (
        "a source route behind others",
        with_options(b"\1\x94\4\0\0\1\1" + STRICT + b"\0\0"),
        Reason.BAD_HEADER,
    ),
    ("a source route in the last byte", with_options(b"\1" * 39 + b"\x83"), Reason.BAD_HEADER),
    (
        "a source route inside another option",
        with_options(b"\x44\x08\x83\x07\x83\x07\x89\x07"),
        Reason.OPENED,
    ),
    ("a source route behind the end of options", with_options(b"\0" + LOOSE), Reason.OPENED),
    (
        "a source route behind a malformed option",
        with_options(b"\x94\1" + LOOSE + b"\0\0\0"),
        Reason.OPENED,
    ),
    ("an option beyond the end", with_options(b"\x94\x29\0\0"), Reason.OPENED),
    ("an option whose length is missing", with_options(b"\1\1\1\x94"), Reason.OPENED),
]

LIES: list[tuple[str, bytes, Reason]] = [
    ("nothing at all", b"", Reason.TRUNCATED),
    ("part of an Ethernet header", SYN[:13], Reason.TRUNCATED),
    ("an Ethernet header and nothing", SYN[:14], Reason.TRUNCATED),
    ("part of an IP header", SYN[:33], Reason.TRUNCATED),
    ("less than the IP header says", SYN[:-1], Reason.TRUNCATED),
    ("options that are cut off", OPTIONS[:37], Reason.TRUNCATED),
    ("version 6 under the ethertype of IPv4", put(SYN, ETHER, 0x65, 1), Reason.BAD_HEADER),
    ("an IP header of 16 bytes", put(SYN, ETHER, 0x44, 1), Reason.BAD_HEADER),
    ("an IP header of none", put(SYN, ETHER, 0x40, 1), Reason.BAD_HEADER),
    ("a total length of nothing", put(SYN, TOTAL, 0), Reason.BAD_HEADER),
    ("a total length below the header's", put(SYN, TOTAL, 19), Reason.BAD_HEADER),
    ("a header longer than the packet", put(SYN[:34], TOTAL, 20)[:14] + b"\x46" + SYN[15:34],
     Reason.TRUNCATED),
    ("a header checksum that is off by one", SYN[:25] + bytes([SYN[25] ^ 1]) + SYN[26:],
     Reason.BAD_CHECKSUM),
    ("a bit flipped in the options", OPTIONS[:35] + b"\x03" + OPTIONS[36:], Reason.BAD_CHECKSUM),
    ("no room for a TCP header", put(SYN, TOTAL, 39), Reason.TRUNCATED),
    ("a TCP header of 16 bytes", put(SYN, TRANSPORT + 12, 0x40, 1), Reason.BAD_HEADER),
    ("a TCP header beyond the end", put(SYN, TRANSPORT + 12, 0xF0, 1), Reason.TRUNCATED),
    ("TCP options cut off by the total length", put(SYN, TOTAL, 43), Reason.TRUNCATED),
    ("no room for a UDP header", put(QUERY, TOTAL, 27), Reason.TRUNCATED),
    ("a UDP length below its header's", put(QUERY, TRANSPORT + 4, 7), Reason.BAD_HEADER),
    ("a UDP length of nothing", put(QUERY, TRANSPORT + 4, 0), Reason.BAD_HEADER),
    ("a UDP length beyond the end", put(QUERY, TRANSPORT + 4, 17), Reason.TRUNCATED),
    ("a fragment with no room for a UDP header", put(FIRST, TOTAL, 27), Reason.BAD_FRAGMENT),
    ("a fragment with a UDP length of nothing", put(FIRST, TRANSPORT + 4, 0), Reason.BAD_HEADER),
]  # fmt: skip

ODD_BUT_TRUE: list[tuple[str, bytes, Reason]] = [
    ("a UDP length short of the packet", put(QUERY, TRANSPORT + 4, 15), Reason.OPENED),
    ("a UDP length of just the header", put(QUERY, TRANSPORT + 4, 8), Reason.OPENED),
    ("a first fragment, shorter than its datagram", put(FIRST, TRANSPORT + 4, 4000),
     Reason.OPENED),
    ("a TCP header that fills the packet", put(SYN, TOTAL, 44), Reason.OPENED),
    ("an empty datagram", put(put(QUERY, TRANSPORT + 4, 8), TOTAL, 28), Reason.OPENED),
]  # fmt: skip


def six(*extensions: Packet, load: bytes = b"") -> bytes:
    return bytes(frame(tcp(V6.client(), V6.vip(), "S", load, extensions=extensions)).data)


SYN6 = six(load=b"data")
QUERY6 = bytes(frame(udp(V6.client(), V6.vip(53), b"question")).data)
HOPS, ROUTING, PADDED = IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(segleft=0), IPv6ExtHdrDestOpt()
FIRST6, _ = (bytes(each) for each in fragmented(udp(V6.client(), V6.vip(53), bytes(16)), 16))
(ATOMIC,) = (bytes(each) for each in fragmented(udp(V6.client(), V6.vip(53), bytes(8)), 16))
PLEN, NEXT, BEHIND = ETHER + 4, ETHER + 6, ETHER + 40

LIES6: list[tuple[str, bytes, Reason]] = [
    ("part of an IPv6 header", SYN6[:53], Reason.TRUNCATED),
    ("less than the IPv6 header says", SYN6[:-1], Reason.TRUNCATED),
    ("version 4 under the ethertype of IPv6", put(SYN6, ETHER, 0x40, 1), Reason.BAD_HEADER),
    ("version 0 under the ethertype of IPv6", put(SYN6, ETHER, 0, 1), Reason.BAD_HEADER),
    ("an IPv6 packet of nothing", put(SYN6, PLEN, 0), Reason.TRUNCATED),
    ("no room for a TCP header in IPv6", put(SYN6, PLEN, 19), Reason.TRUNCATED),
    ("a TCP header of 16 bytes in IPv6", put(SYN6, BEHIND + 12, 0x40, 1), Reason.BAD_HEADER),
    ("a UDP length of nothing in IPv6", put(QUERY6, BEHIND + 4, 0), Reason.BAD_HEADER),
    ("a UDP length beyond the end in IPv6", put(QUERY6, BEHIND + 4, 17), Reason.TRUNCATED),
    ("an extension header beyond the end", put(six(PADDED), BEHIND + 1, 9, 1), Reason.TRUNCATED),
    ("an extension header of which only part is there", put(six(PADDED), PLEN, 7),
     Reason.TRUNCATED),
    ("an extension header and nothing behind it", put(six(PADDED), PLEN, 8), Reason.TRUNCATED),
    ("nine extension headers", six(*[PADDED] * 9), Reason.BAD_HEADER),
    ("a packet that has still to be somewhere else", put(six(ROUTING), BEHIND + 3, 1, 1),
     Reason.BAD_HEADER),
    ("an IPv6 fragment with no room for a UDP header", put(FIRST6[:-16], PLEN, 8),
     Reason.BAD_FRAGMENT),
    ("a fragment header of which only part is there", put(FIRST6, PLEN, 7), Reason.TRUNCATED),
    ("a fragment of a fragment", put(put(FIRST6, BEHIND, 44, 1), BEHIND + 8, 17, 1),
     Reason.BAD_HEADER),
]  # fmt: skip

ODD_BUT_TRUE6: list[tuple[str, bytes, Reason]] = [
    ("eight extension headers", six(HOPS, *[PADDED] * 7), Reason.OPENED),
    ("one of each extension header", six(HOPS, PADDED, ROUTING, PADDED), Reason.OPENED),
    ("a routing header of a packet that has arrived", six(ROUTING), Reason.OPENED),
    ("hop-by-hop options that are not the first", six(PADDED, HOPS), Reason.OPENED),
    ("an atomic fragment", ATOMIC, Reason.OPENED),
    ("a fragment whose reserved bits are set", put(put(FIRST6, BEHIND + 1, 0xFF, 1),
                                                   BEHIND + 3, 7, 1), Reason.OPENED),
    ("no header follows: not ours", put(SYN6, NEXT, 59, 1), Reason.NOT_OURS),
    ("an unknown header follows: not ours", put(SYN6, NEXT, 253, 1), Reason.NOT_OURS),
    ("a jumbogram's length", put(SYN6, PLEN, 0)[:54], Reason.TRUNCATED),
]  # fmt: skip


EVERY = [
    pytest.param(data, reason, id=what)
    for what, data, reason in (*LIES, *ROUTED, *ODD_BUT_TRUE, *LIES6, *ODD_BUT_TRUE6)
]


@pytest.mark.parametrize(("data", "reason"), EVERY)
def test_a_frame_that_lies_ends_in_its_reason(
    engine: MakePlane, data: bytes, reason: Reason
) -> None:
    plane = Gateway(engine, TABLES).plane
    assert plane.handle(Frame(LAN, bytearray(data)), 0.0).reason is reason
    assert sum(plane.counts.values()) == 1


@pytest.mark.parametrize("whole", [SYN, QUERY, OPTIONS, SYN6, QUERY6, six(HOPS, PADDED)])
def test_a_truncated_frame_is_not_read_beyond_its_end(whole: bytes) -> None:
    for size in range(len(whole)):
        assert parse(bytearray(whole[:size])) is Reason.TRUNCATED


def view_of(data: bytes) -> View:
    view = parse(bytearray(data))
    assert isinstance(view, View)
    return view


VIEWS: list[tuple[str, Callable[[], object], object]] = [
    ("a TCP payload begins behind the options", lambda: view_of(SYN).payload, 58),
    ("a packet ends before its padding", lambda: view_of(SYN + b"pad").end, 62),
    ("a UDP header stands behind the IP options", lambda: view_of(OPTIONS).transport, 38),
    ("the flags of TCP are told", lambda: view_of(SYN).tcp_flags, 2),
    ("UDP has no flags", lambda: view_of(QUERY).tcp_flags, 0),
    ("the TTL is told", lambda: view_of(QUERY).ttl, 64),
    ("DF is told", lambda: view_of(QUERY).dont_fragment, True),
    ("DF is not told where it is clear", lambda: view_of(FIRST).dont_fragment, False),
    ("a first fragment is told", lambda: bool(view_of(FIRST).fragment), True),
    ("a whole packet is none", lambda: view_of(QUERY).fragment, None),
    ("an atomic fragment is whole", lambda: view_of(ATOMIC).fragment, None),
    ("transport headers stand behind extension headers",
     lambda: view_of(six(HOPS, PADDED)).transport, 70),
    ("a packet of IPv6 is never to be fragmented", lambda: view_of(SYN6).dont_fragment, True),
    ("a key reads like a flow", lambda: format_key(view_of(QUERY).key),
     "udp 10.0.1.2:4000 > 10.0.1.100:53"),
    ("a key of IPv6 reads like a flow", lambda: format_key(view_of(SYN6).key),
     "tcp [2001:db8:1::2]:4000 > [2001:db8:1::100]:80"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "see", "what"), VIEWS)
def test_a_view_tells_where_things_are(
    sentence: str, see: Callable[[], object], what: object
) -> None:
    assert see() == what, sentence
