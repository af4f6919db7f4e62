"""Frames made with struct: as many a second as the planes can take, and wrong ones too.

The builders of `tests.support.packets` are the independent opinion on what is right; these are only
fast.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, Offload
from pktlb.model import Endpoint, Proto

ETHER: Final = 14
FIN, SYN, RST, PSH, ACK, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x80
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT, OPTIONS = 0, 43, 44, 59, 60
TYPES: Final = {4: b"\x08\0", 16: b"\x86\xdd"}
"By the length of an address, as the rest."
HEADER: Final = {4: 20, 16: 40}
ENDS: Final = {4: ETHER + 12, 16: ETHER + 8}
ICMPS: Final = {4: Proto.ICMP, 16: Proto.ICMPV6}
PORTED: Final = frozenset({Proto.TCP, Proto.UDP})
_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_IPV6: Final = struct.Struct(">IHBB16s16s")
_TCP: Final = struct.Struct(">HHIIBBHHH")
_UDP: Final = struct.Struct(">HHHH")
CHECK_AT: Final[dict[int, int]] = {
    Proto.TCP: 16, Proto.UDP: 6, Proto.DCCP: 6, Proto.UDPLITE: 6, Proto.ICMP: 2, Proto.ICMPV6: 2,
}  # fmt: skip
LEAST: Final[dict[int, int]] = {
    Proto.TCP: 20, Proto.UDP: 8, Proto.DCCP: 12, Proto.UDPLITE: 8, Proto.ICMP: 8, Proto.ICMPV6: 8,
}  # fmt: skip
"Bytes of the header that the checksum is in."
LONGEST: Final = 0xFFFF


def sum_of(data: bytes | bytearray) -> int:
    """The one's complement sum, with 0 for 0xffff."""
    return (int.from_bytes(data, "big") << 8 * (len(data) & 1)) % 0xFFFF


@dataclass(slots=True)
class Packet:
    """A packet of any protocol in IP and Ethernet; its family is that of the addresses."""

    source: Endpoint
    target: Endpoint
    proto: int
    macs: bytes
    "Destination and source MAC, the first 12 bytes of the frame."
    flags: int = 0
    load: bytes = b""
    "The data; of ICMP the whole message, with room for its checksum."
    seq: int = 1000
    ack: int = 9
    window: int = 512
    ttl: int = 64
    tos: int = 0
    ident: int = 7
    "IPv6: the flow label."
    fragment: int = DONT_FRAGMENT
    "The word of flags and offset; IPv4 only."
    ip_options: bytes = b""
    "A multiple of 4 bytes; IPv4 only."
    extensions: tuple[tuple[int, bytes], ...] = ()
    "Extension headers: number, and bytes, of which the first is filled in; IPv6 only."
    tcp_options: bytes = b""
    "A multiple of 4 bytes."
    check: int | None = None
    "A wrong checksum of the transport; None: the right one."
    partial: bool = False
    "The checksum is the sum over the pseudo-header, for a device to complete."
    padding: bytes = b""
    nothing: bool = False
    "The load makes the sum of the transport zero, which is written as 0 or as 0xffff."

    @property
    def size(self) -> int:
        """Bytes of an address."""
        return len(self.source.address)

    @property
    def transport(self) -> int:
        """Offset of the transport header."""
        if self.size == 4:
            return ETHER + 20 + len(self.ip_options)
        return ETHER + 40 + sum(len(header) for _, header in self.extensions)

    @property
    def payload(self) -> int:
        """Offset of the load."""
        if self.proto == Proto.TCP:
            return self.transport + 20 + len(self.tcp_options)
        return self.transport + (8 if self.proto == Proto.UDP else 0)

    def build(self) -> bytearray:
        most = LONGEST + (0 if self.size == 4 else HEADER[16])
        self.load = self.load[: max(0, most - (self.payload - ETHER))]
        body = self._body()
        self._sum_up(body)
        network = self._ipv4(len(body)) if self.size == 4 else self._ipv6(len(body))
        return bytearray(b"".join((self.macs, TYPES[self.size], network, body, self.padding)))

    def _ipv4(self, length: int) -> bytearray:
        head = 20 + len(self.ip_options)
        ip = bytearray(_IPV4.pack(
            0x40 | head // 4, self.tos, head + length, self.ident, self.fragment, self.ttl,
            self.proto, 0, self.source.address, self.target.address,
        ) + self.ip_options)  # fmt: skip
        ip[10:12] = (-sum_of(ip) % 0xFFFF).to_bytes(2, "big")
        return ip

    def _ipv6(self, length: int) -> bytearray:
        numbers = [*(number for number, _ in self.extensions), self.proto]
        between = b"".join(
            bytes([after]) + header[1:]
            for (_, header), after in zip(self.extensions, numbers[1:], strict=True)
        )
        word = 6 << 28 | self.tos << 20 | self.ident
        return bytearray(_IPV6.pack(
            word, min(len(between) + length, LONGEST), numbers[0], self.ttl, self.source.address,
            self.target.address,
        ) + between)  # fmt: skip

    def _body(self) -> bytearray:
        if self.proto == Proto.UDP:
            length = min(8 + len(self.load), LONGEST)
            return bytearray(
                _UDP.pack(self.source.port, self.target.port, length, 0) + self.load
            )  # fmt: skip
        if self.proto != Proto.TCP:
            return bytearray(self.load)
        size = 20 + len(self.tcp_options)
        head = _TCP.pack(self.source.port, self.target.port, self.seq, self.ack, size << 2,
                         self.flags, self.window, 0, 0)  # fmt: skip
        return bytearray(head + self.tcp_options + self.load)

    def _sum_up(self, body: bytearray) -> None:
        """Fill in the checksum of the transport, where it has one."""
        at = CHECK_AT.get(self.proto)
        if at is None or len(body) < at + 2:
            return
        body[at : at + 2] = b"\0\0"
        pseudo = 0
        if self.proto != Proto.ICMP:
            ends = self.source.address + self.target.address
            pseudo = sum_of(ends) + self.proto + len(body)
        if self.nothing and len(self.load) > 1:
            place = self.payload - self.transport
            place = place or LEAST[self.proto]
            if len(body) >= place + 2:
                body[place : place + 2] = b"\0\0"
                body[place : place + 2] = (-(pseudo + sum_of(body)) % 0xFFFF).to_bytes(2, "big")
        if self.partial:
            check = pseudo % 0xFFFF
        elif self.check is not None:
            check = self.check
        else:
            check = -(pseudo + sum_of(body)) % 0xFFFF or 0xFFFF
        body[at : at + 2] = check.to_bytes(2, "big")

    def offload(self, gso_type: int = 0, segment_size: int = 0) -> Offload:
        """The offload of a packet with a partial checksum."""
        length = self.payload if gso_type else 0
        return Offload(NEEDS_CHECKSUM, gso_type, length, segment_size, self.transport,
                       CHECK_AT.get(self.proto, 0))  # fmt: skip


class Layout(NamedTuple):
    """Offsets in a frame that was built here, even if it was spoilt since."""

    size: int
    proto: int
    transport: int
    next_at: int
    "Offset of the byte that tells the protocol."


def layout(data: bytes | bytearray) -> Layout | None:
    """The layout of a frame; extension headers, fragment headers as well, are skipped."""
    kind = bytes(data[12:14])
    if kind == TYPES[4] and len(data) >= ETHER + 20:
        return Layout(4, data[23], ETHER + (data[ETHER] & 15) * 4, 23)
    if kind != TYPES[16] or len(data) < ETHER + 40:
        return None
    proto, at, next_at = data[20], ETHER + 40, 20
    while proto in (HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS) and len(data) >= at + 8:
        next_at = at
        proto, at = data[at], at + 8 + 8 * (0 if proto == FRAGMENT else data[at + 1])
    return Layout(16, proto, at, next_at)


def mended(data: bytearray) -> bytearray:
    """The frame with the right IPv4 header checksum, as far as there is a header."""
    end = ETHER + (data[ETHER] & 15) * 4 if len(data) > ETHER else 0
    if data[12:14] != TYPES[16] and ETHER + 12 <= end <= len(data):
        data[ETHER + 10 : ETHER + 12] = b"\0\0"
        check = -sum_of(data[ETHER:end]) % 0xFFFF
        data[ETHER + 10 : ETHER + 12] = check.to_bytes(2, "big")
    return data


def ends(data: bytes | bytearray) -> tuple[Endpoint, Endpoint]:
    """Source and destination of a frame."""
    there = layout(data)
    assert there is not None
    at, size = ENDS[there.size], there.size
    ports = data[there.transport : there.transport + 4] if there.proto in PORTED else bytes(4)
    return (
        Endpoint(bytes(data[at : at + size]), int.from_bytes(ports[:2], "big")),
        Endpoint(bytes(data[at + size : at + 2 * size]), int.from_bytes(ports[2:], "big")),
    )


def mirrored(data: bytes | bytearray) -> bytearray:
    """A frame in the other direction: both ends exchanged, which leaves all checksums right."""
    back = bytearray(data)
    back[0:12] = data[6:12] + data[0:6]
    there = layout(data)
    if there is None:
        return back
    at, size = ENDS[there.size], there.size
    back[at : at + 2 * size] = data[at + size : at + 2 * size] + data[at : at + size]
    at = there.transport
    if there.proto in PORTED and len(data) >= at + 4:
        back[at : at + 4] = data[at + 2 : at + 4] + data[at : at + 2]
    return back


def pieces(
    data: bytes | bytearray, cuts: list[tuple[int, int, bool]], ident: int
) -> list[bytes]:  # fmt: skip
    """The fragments of a whole packet. `cuts`: first byte, the byte behind the last, and whether
    more follow."""
    there = layout(data)
    if there is None:
        return []
    made = []
    for start, stop, more in cuts:
        load = bytes(data[there.transport + start : there.transport + stop])
        piece = bytearray(data[: there.transport])
        if there.size == 4:
            piece[16:18] = (len(piece) - ETHER + len(load)).to_bytes(2, "big")
            piece[18:20] = (ident & 0xFFFF).to_bytes(2, "big")
            piece[20:22] = (start // 8 | (MORE_FRAGMENTS if more else 0)).to_bytes(2, "big")
            made.append(bytes(mended(piece) + load))
            continue
        piece[there.next_at] = FRAGMENT
        piece += struct.pack(">BBHI", there.proto, 0, start & 0xFFF8 | more, ident)
        piece[18:20] = min(len(piece) - ETHER - 40 + len(load), LONGEST).to_bytes(2, "big")
        made.append(bytes(piece + load))
    return made
