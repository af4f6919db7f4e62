"""Frames from a template and struct: as many a second as the engines can take, and wrong ones too.

The builders of `tests.packets` are the independent opinion on what is right; these are only fast.
"""

import struct
from dataclasses import dataclass
from typing import Final

from pktlb.datapath.frame import NEEDS_CHECKSUM, Offload
from pktlb.model import Endpoint, Proto

ETHER: Final = 14
FIN, SYN, RST, PSH, ACK, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x80
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000
_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_TCP: Final = struct.Struct(">HHIIBBHHH")
_UDP: Final = struct.Struct(">HHHH")
CHECK_AT: Final = {Proto.TCP: 16, Proto.UDP: 6}
LONGEST: Final = 0xFFFF


def sum_of(data: bytes | bytearray) -> int:
    """The one's complement sum, with 0 for 0xffff."""
    return (int.from_bytes(data, "big") << 8 * (len(data) & 1)) % 0xFFFF


@dataclass(slots=True)
class Packet:
    """A TCP segment or UDP datagram in IPv4 and Ethernet."""

    source: Endpoint
    target: Endpoint
    proto: Proto
    macs: bytes
    "Destination and source, as they stand in a frame."
    flags: int = 0
    load: bytes = b""
    seq: int = 1000
    ttl: int = 64
    tos: int = 0
    ident: int = 7
    fragment: int = DONT_FRAGMENT
    "The word of flags and offset."
    ip_options: bytes = b""
    "Of whole words."
    tcp_options: bytes = b""
    "Of whole words."
    check: int | None = None
    "The transport's checksum, where it is not the right one."
    partial: bool = False
    "Only the sum over the pseudo-header, for a device to complete."
    padding: bytes = b""
    nothing: bool = False
    "The load makes the transport's whole sum nothing, for which there are two ways to write."

    @property
    def transport(self) -> int:
        """Offset of the TCP or UDP header."""
        return ETHER + 20 + len(self.ip_options)

    @property
    def payload(self) -> int:
        """Offset of the load."""
        inner = 20 + len(self.tcp_options) if self.proto is Proto.TCP else 8
        return self.transport + inner

    def build(self) -> bytearray:
        self.load = self.load[: LONGEST - (self.payload - ETHER)]
        body = self._body()
        ends = self.source.address + self.target.address
        pseudo = sum_of(ends) + self.proto + len(body)
        if self.nothing and len(self.load) > 1:
            at = self.payload - self.transport
            body[at : at + 2] = b"\0\0"
            body[at : at + 2] = (-(pseudo + sum_of(body)) % 0xFFFF).to_bytes(2, "big")
        if self.partial:
            check = pseudo % 0xFFFF
        elif self.check is not None:
            check = self.check
        else:
            check = -(pseudo + sum_of(body)) % 0xFFFF or 0xFFFF
        at = CHECK_AT[self.proto]
        body[at : at + 2] = check.to_bytes(2, "big")
        head = 20 + len(self.ip_options)
        ip = bytearray(_IPV4.pack(
            0x40 | head // 4, self.tos, head + len(body), self.ident, self.fragment, self.ttl,
            self.proto, 0, self.source.address, self.target.address,
        ) + self.ip_options)  # fmt: skip
        ip[10:12] = (-sum_of(ip) % 0xFFFF).to_bytes(2, "big")
        return bytearray(b"".join((self.macs, b"\x08\0", ip, body, self.padding)))

    def _body(self) -> bytearray:
        if self.proto is Proto.UDP:
            head = _UDP.pack(self.source.port, self.target.port, 8 + len(self.load), 0)
            return bytearray(head + self.load)
        size = 20 + len(self.tcp_options)
        head = _TCP.pack(self.source.port, self.target.port, self.seq, 9, size << 2, self.flags,
                         512, 0, 0)  # fmt: skip
        return bytearray(head + self.tcp_options + self.load)

    def offload(self, gso_type: int = 0, segment_size: int = 0) -> Offload:
        """What a sender with offloads says of a partial packet."""
        length = self.payload if gso_type else 0
        return Offload(NEEDS_CHECKSUM, gso_type, length, segment_size, self.transport,
                       CHECK_AT[self.proto])  # fmt: skip


def mended(data: bytearray) -> bytearray:
    """The header checksum made right, as far as there is a header."""
    end = ETHER + (data[ETHER] & 15) * 4 if len(data) > ETHER else 0
    if ETHER + 12 <= end <= len(data):
        data[ETHER + 10 : ETHER + 12] = b"\0\0"
        check = -sum_of(data[ETHER:end]) % 0xFFFF
        data[ETHER + 10 : ETHER + 12] = check.to_bytes(2, "big")
    return data


def header_end(data: bytes | bytearray) -> int:
    """Offset of the transport header of a frame that is one."""
    return ETHER + (data[ETHER] & 15) * 4


def ends(data: bytes | bytearray) -> tuple[Endpoint, Endpoint]:
    """Who sends a frame to whom."""
    at = header_end(data)
    return (
        Endpoint(bytes(data[26:30]), int.from_bytes(data[at : at + 2], "big")),
        Endpoint(bytes(data[30:34]), int.from_bytes(data[at + 2 : at + 4], "big")),
    )


def mirrored(data: bytes | bytearray) -> bytearray:
    """A frame sent back: ends exchanged, which no checksum notices."""
    back = bytearray(data)
    back[0:12] = data[6:12] + data[0:6]
    back[26:34] = data[30:34] + data[26:30]
    at = header_end(data)
    back[at : at + 4] = data[at + 2 : at + 4] + data[at : at + 2]
    return back
