"""Parse one Ethernet frame into one `View`; decide nothing about it.

Everything read here comes from outside and may lie: each length is checked against the one around
it before a byte behind it is read. IPv4 (RFC 791) and IPv6 (RFC 8200) give the same `_Header`; from
there on there is one path. The length of the addresses in the key tells the family.
"""

import struct
from typing import Final, NamedTuple

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.ipv4 import is_intact, is_source_routed
from pktlb.engine.datapath.keys import FlowKey, reversed_key
from pktlb.model import Proto, Reason

IP: Final = 14
"Offset of the IP header: Ethernet without a tag."
ETHERTYPE: Final = {4: b"\x08\x00", 16: b"\x86\xdd"}
"By the length of an address."
HEADER: Final = {4: 20, 16: 40}
"Bytes of the IP header without options or extension headers, by the length of an address."
ADDRESSES: Final = {4: 12, 16: 8}
"Offset of source and destination in the IP header, by the length of an address."
_IPV4: Final = struct.Struct(">BBHHHBB")
_IPV6: Final = struct.Struct(">IHBB")
_DONT_FRAGMENT: Final = 0x4000
_MORE_FRAGMENTS: Final = 0x2000
_FRAGMENT_OFFSET: Final = 0x1FFF
_LONGEST: Final = 0xFFFF

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
CWR: Final = 0x80

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS = 0, 43, 44, 60
_EXTENSIONS: Final = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS})
"Extension headers of IPv6 that are skipped (RFC 8200, section 4)."
MAX_EXTENSIONS: Final = 8

PORTED: Final = frozenset({Proto.TCP, Proto.UDP})
"Protocols that are balanced by ports as well."
CHECK_AT: Final[dict[int, int]] = {
    Proto.TCP: 16,
    Proto.UDP: 6,
    Proto.DCCP: 6,
    Proto.UDPLITE: 6,
}
"Offset in the transport header of a checksum that covers the addresses."
TUNNELLED: Final[dict[int, int]] = {Proto.IPIP: 4, Proto.IPV6: 16}
"Length of the inner packet's addresses, by the protocol of the outer packet."
ICMP_ERRORS: Final = {4: (Proto.ICMP, frozenset({3, 11, 12})), 16: (Proto.ICMPV6, range(1, 5))}
"""Protocol, and types of errors that quote a packet (RFC 792, RFC 4443), by the length of an
address."""


class Fragment(NamedTuple):
    """A part of a packet."""

    of: bytes
    "Common to all fragments of a packet: addresses, identification, and with IPv4 the protocol."
    start: int
    stop: int
    "It has the bytes from `start` up to, not including, `stop` of the packet's data."
    more: bool
    "It is not the last fragment."


class Quote(NamedTuple):
    """The packet that an ICMP error is about, as far as it is quoted."""

    ip: int
    "Offset of its IP header."
    transport: int
    end: int
    "Offset behind the quoted bytes."
    around: FlowKey | None = None
    """Where the quoted packet is IP in IP: the key of a reply to the outer packet. All other fields
    are those of the inner packet."""


class View(NamedTuple):
    """Where things are in a frame, and the few values every step needs. Offsets in bytes."""

    key: FlowKey
    """The 5-tuple. Of an ICMP error: the key of a reply to the packet that it quotes; where that is
    IP in IP, the key of the inner packet itself."""
    transport: int
    "Offset of what follows the IP header and its extensions."
    payload: int
    "Offset of what follows the TCP or UDP header; of other protocols the same as `transport`."
    end: int
    "Offset behind the IP packet: the rest of the frame is Ethernet padding."
    proto: int
    ttl: int
    tcp_flags: int
    "0 of all protocols but TCP."
    check: int
    "Offset of the checksum that covers the addresses; 0 where there is none."
    dont_fragment: bool
    "IPv6: always true, for routers never fragment."
    fragment: Fragment | None = None
    quote: Quote | None = None

    @property
    def size(self) -> int:
        """Bytes of an address."""
        return (len(self.key) - 5) // 2

    def around(self) -> "View":
        """The view of an ICMP error that quotes IP in IP, as one about the outer packet."""
        quote = self.quote
        assert quote is not None
        assert quote.around is not None
        outer = Quote(self.transport + 8, quote.ip, quote.end)
        return self._replace(key=quote.around, quote=outer)

    @property
    def is_later(self) -> bool:
        """Whether it is a fragment without a transport header, which tells no ports."""
        return self.fragment is not None and self.fragment.start > 0

    @property
    def ported(self) -> bool:
        """Whether the packet has ports: then they are in the key."""
        return self.proto in PORTED and not self.is_later


class _Header(NamedTuple):
    """An IP header with its extensions."""

    ends: bytes
    "Source and destination address."
    transport: int
    end: int
    proto: int
    ttl: int
    dont_fragment: bool
    fragment: Fragment | None


def parse(data: bytearray) -> View | Reason:
    """The view of a frame, from its destination MAC on, or the reason why there is none. Never
    raises, whatever the bytes."""
    size = len(data)
    kind = data[12:14]
    if kind == ETHERTYPE[4]:
        header = _ipv4(data, IP, size)
        if not isinstance(header, Reason):
            if not is_intact(data, IP):
                return Reason.BAD_CHECKSUM
            if is_source_routed(data[IP + HEADER[4] : header.transport]):
                return Reason.BAD_HEADER
    elif kind == ETHERTYPE[16]:
        header = _ipv6(data, IP, size)
    else:
        return Reason.NOT_OURS if size >= IP else Reason.TRUNCATED
    return header if isinstance(header, Reason) else _view(data, header)


def _ipv4(data: bytearray, at: int, size: int, quoted: bool = False) -> _Header | Reason:
    """The header at offset `at`. `size` is the end of the bytes that may be read; a `quoted` packet
    may be longer than that."""
    if size < at + 20:
        return Reason.TRUNCATED
    version, _, total, ident, word, ttl, proto = _IPV4.unpack_from(data, at)
    transport = at + (version & 0x0F) * 4
    if version >> 4 != 4 or transport < at + 20 or at + total < transport:
        return Reason.BAD_HEADER
    end = at + total
    if quoted:
        end = min(end, size)
    if end > size or end < transport:
        return Reason.TRUNCATED
    ends = bytes(data[at + 12 : at + 20])
    fragment = None
    if word & (_FRAGMENT_OFFSET | _MORE_FRAGMENTS):
        start = (word & _FRAGMENT_OFFSET) * 8
        name = ends + ident.to_bytes(2, "big") + bytes([proto])
        fragment = Fragment(name, start, start + end - transport, bool(word & _MORE_FRAGMENTS))
    return _Header(ends, transport, end, proto, ttl, bool(word & _DONT_FRAGMENT), fragment)


def _ipv6(data: bytearray, at: int, size: int, quoted: bool = False) -> _Header | Reason:
    """As `_ipv4`. Extension headers are skipped up to the transport header, or to the data of a
    later fragment (RFC 8200, section 4)."""
    if size < at + 40:
        return Reason.TRUNCATED
    word, length, proto, ttl = _IPV6.unpack_from(data, at)
    if word >> 28 != 6:
        return Reason.BAD_HEADER
    end = at + 40 + length
    if quoted:
        end = min(end, size)
    if end > size:
        return Reason.TRUNCATED
    ends = bytes(data[at + 8 : at + 40])
    walked = _walk(data, at + 40, end, proto, ends)
    if isinstance(walked, Reason):
        return walked
    transport, proto, fragment = walked
    if fragment and not fragment.start and not fragment.more:
        fragment = None  # an atomic fragment: RFC 6946
    return _Header(ends, transport, end, proto, ttl, True, fragment)


def _walk(
    data: bytearray, transport: int, end: int, proto: int, ends: bytes
) -> tuple[int, int, Fragment | None] | Reason:
    """Skip the extension headers: the offset behind them, the protocol there, and the fragment."""
    fragment = None
    seen = 0
    while proto in _EXTENSIONS and not (fragment and fragment.start):
        seen += 1
        if seen > MAX_EXTENSIONS or (proto == _FRAGMENT and fragment):
            return Reason.BAD_HEADER
        short = Reason.BAD_FRAGMENT if fragment else Reason.TRUNCATED
        if end < transport + 8:
            return short
        if proto == _ROUTING and data[transport + 3]:
            return Reason.BAD_HEADER  # segments left: not at its end yet (RFC 8200, section 4.4)
        past = transport + 8
        if proto == _FRAGMENT:
            fragment = _fragment_header(data, transport, end, ends)
        else:
            past += data[transport + 1] * 8
        if past > end:
            return short
        proto, transport = data[transport], past
    return transport, proto, fragment


def _fragment_header(data: bytearray, at: int, end: int, ends: bytes) -> Fragment:
    word = data[at + 2] << 8 | data[at + 3]
    start = word & 0xFFF8
    name = ends + bytes(data[at + 4 : at + 8])
    return Fragment(name, start, start + end - at - 8, bool(word & 1))


def _view(data: bytearray, header: _Header) -> View | Reason:
    """The view of a packet, by what is behind its IP header."""
    ends, transport, end, proto, ttl, dont_fragment, fragment = header
    ports, payload, tcp_flags = bytes(4), transport, 0
    check = 0
    if fragment and _is_bad(fragment):
        return Reason.BAD_FRAGMENT
    if not (fragment and fragment.start):
        if proto in PORTED:
            measured = _measure(data, transport, end, proto, fragment is not None)
            if isinstance(measured, Reason):
                return measured
            payload, tcp_flags = measured
            ports = bytes(data[transport : transport + 4])
        elif not fragment and (error := _error(data, header)):
            return error
        at = CHECK_AT.get(proto)
        if at is not None and transport + at + 2 <= end:
            check = transport + at
    key = FlowKey(ends + ports + bytes([proto]))
    return View(
        key, transport, payload, end, proto, ttl, tcp_flags, check, dont_fragment, fragment
    )  # fmt: skip


def _is_bad(fragment: Fragment) -> bool:
    """Whether a fragment is empty, ends behind the longest packet, or has a length that is no
    multiple of 8 though more fragments follow."""
    length = fragment.stop - fragment.start
    return not length or fragment.stop > _LONGEST or (fragment.more and length % 8 != 0)


def _measure(
    data: bytearray, transport: int, end: int, proto: int, first: bool
) -> tuple[int, int] | Reason:
    """Offset of the payload, and the flags of TCP.

    The `first` fragment must hold the whole transport header, or it could deceive a filter (RFC
    1858). It may hold less than the length that its UDP header says.
    """
    short = Reason.BAD_FRAGMENT if first else Reason.TRUNCATED
    if proto == Proto.UDP:
        if end - transport < 8:
            return short
        length = data[transport + 4] << 8 | data[transport + 5]
        if length < 8:
            return Reason.BAD_HEADER
        if transport + length > end and not first:
            return Reason.TRUNCATED
        return transport + 8, 0
    if end - transport < 20:
        return short
    header = (data[transport + 12] >> 4) * 4
    if header < 20:
        return Reason.BAD_HEADER
    if transport + header > end:
        return short
    return transport + header, data[transport + 13]


def _error(data: bytearray, header: _Header) -> View | Reason | None:
    """The view of an ICMP error; None where the packet is none, or does not tell what it quotes."""
    size = len(header.ends) // 2
    proto, types = ICMP_ERRORS[size]
    at, end = header.transport, header.end
    if header.proto != proto or end < at + 8 or data[at] not in types:
        return None
    about = _quoted(data, at + 8, end, header.ends[size:])
    if about is None or isinstance(about, Reason):
        return about
    if not icmp_checksum_is_valid(data, header.ends, at, end):
        return Reason.BAD_CHECKSUM
    key, quote = about
    return View(key, at, at, end, proto, header.ttl, 0, 0, header.dont_fragment, None, quote)


def icmp_checksum_is_valid(data: bytearray, ends: bytes, at: int, end: int) -> bool:
    """Whether the checksum of the message from `at` to `end` is right. `ends` are both addresses:
    ICMPv6 covers a pseudo-header (RFC 4443, section 2.3)."""
    message = bytes(data[at:end])
    return checksum.checksum(message, icmp_pseudo_sum(ends, end - at)) == 0


def icmp_pseudo_sum(ends: bytes, length: int) -> int:
    """The sum over the pseudo-header, which the checksum of an ICMP message of `length` bytes
    begins with; 0 for IPv4. `ends` are both addresses."""
    if len(ends) == 8:
        return 0
    return checksum.word_sum(ends + length.to_bytes(4, "big") + bytes([0, 0, 0, Proto.ICMPV6]))


def _quoted(
    data: bytearray, at: int, end: int, receiver: bytes
) -> tuple[FlowKey, Quote] | Reason | None:  # fmt: skip
    """The key of an error (see `View.key`) that quotes a packet at `at`, and where that packet is.

    None where the packet does not tell its flow, and where its sender is not the `receiver` (an
    address) of the error. `BAD_CHECKSUM` where an IPv4 header that is quoted has a wrong checksum
    (RFC 5508, REQ-3 a): then what it says may not be what was sent.
    """
    size = len(receiver)
    header = _quoted_header(data, at, end, size)
    if header is None or header.ends[:size] != receiver:
        return None
    key = _quoted_key(data, header)
    quote = Quote(at, header.transport, header.end)
    if key is None:
        return None
    if size == 4 and not is_intact(data, at):
        return Reason.BAD_CHECKSUM
    inner = TUNNELLED.get(header.proto)
    inside = inner and _quoted_header(data, header.transport, header.end, inner)
    inside_key = _quoted_key(data, inside) if inside else None
    if not inside or inside_key is None:
        return reversed_key(key), quote
    if inner == 4 and not is_intact(data, header.transport):
        return Reason.BAD_CHECKSUM
    around = reversed_key(key)
    return inside_key, Quote(header.transport, inside.transport, inside.end, around)


def _quoted_header(data: bytearray, at: int, end: int, size: int) -> _Header | None:
    """The IP header of a quoted packet; None where it is malformed, or a later fragment's, which
    tells no ports."""
    header = (_ipv4 if size == 4 else _ipv6)(data, at, end, quoted=True)
    if isinstance(header, Reason) or (header.fragment and header.fragment.start):
        return None
    return header


def _quoted_key(data: bytearray, header: _Header) -> FlowKey | None:
    ports = bytes(4)
    if header.proto in PORTED:
        if header.end < header.transport + 8:
            return None
        ports = bytes(data[header.transport : header.transport + 4])
    return FlowKey(header.ends + ports + bytes([header.proto]))


def address_key(data: bytearray, view: View) -> FlowKey:
    """The key of an ICMP error as a packet of its own, by its addresses and without ports."""
    size = 4 if view.proto == Proto.ICMP else 16
    at = IP + ADDRESSES[size]
    return FlowKey(bytes(data[at : at + 2 * size]) + bytes(4) + bytes([view.proto]))
