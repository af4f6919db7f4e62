"""ICMP errors that pktlb itself sends: which packets may be answered, and what the error holds.

RFC 792 and RFC 4443 give the format, RFC 1812, section 4.3.2.7, and RFC 4443, section 2.4 (e), the
restraint. How often a receiver may be told is decided in `limiter`.
"""

import struct
from enum import Enum
from typing import Final, NamedTuple

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.address import can_be_answered
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.packet import ADDRESSES, ETHERTYPE, HEADER, IP, View, icmp_pseudo_sum
from pktlb.model import Proto, Reason


class Kind(NamedTuple):
    """Type and code in one family."""

    type: int
    code: int


class IcmpError(Enum):
    """What is wrong with a packet: in IPv4, in IPv6, and the reason that pktlb counts."""

    HOST_UNREACHABLE = (Kind(3, 1), Kind(1, 3), Reason.NO_BACKEND)
    PORT_UNREACHABLE = (Kind(3, 3), Kind(1, 4), Reason.NO_BACKEND)
    TOO_BIG = (Kind(3, 4), Kind(2, 0), Reason.TOO_BIG)
    TIME_EXCEEDED = (Kind(11, 0), Kind(3, 0), Reason.TTL_EXPIRED)

    def __init__(self, ipv4: Kind, ipv6: Kind, reason: Reason) -> None:
        self.kinds = {4: ipv4, 16: ipv6}
        "By the length of an address."
        self.reason = reason


NO_TUNNEL: Final = {
    4: frozenset({Kind(3, 2), Kind(3, 3)}),
    16: frozenset({Kind(1, 4), Kind(4, 1)}),
}
"""What a host says that takes no packets of a tunnel: protocol unreachable or port unreachable (RFC
792), unrecognized next header (RFC 4443, section 3.4). Linux says the second of each family where a
module for tunnels is loaded but no device of it is up, even if a raw socket takes the packets."""
_QUOTE: Final = {4: 576 - 20 - 8, 16: 1280 - 40 - 8}
"""Bytes quoted at most, by the length of an address: the error fits 576 bytes (RFC 1812, section
4.3.2.3), or the least MTU of IPv6 (RFC 4443, section 2.4)."""
_TTL: Final = 64
_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_IPV6: Final = struct.Struct(">IHBB16s16s")
_ICMP: Final = struct.Struct(">BBHI")


def may_answer(frame: Frame, view: View) -> bool:
    """Whether the sender of a frame as it arrived may be sent an ICMP error or an RST about it.

    False where the sender's address is not that of one host, and where the frame was sent to many
    stations, holds an ICMP error, or holds a later fragment.
    """
    data = frame.data
    if view.quote or view.is_later or (data[0] | data[6]) & 1:
        return False
    return can_be_answered(sender(frame, view))


def sender(frame: Frame, view: View) -> bytes:
    """The source address of a frame as it arrived, 4 or 16 bytes: the receiver of an answer."""
    at = IP + ADDRESSES[view.size]
    return bytes(frame.data[at : at + view.size])


def answer(frame: Frame, view: View, error: IcmpError, source: bytes, mtu: int = 0) -> Frame:
    """The error about a frame as it arrived, to the MAC that it came from; `may_answer` must hold.

    `source` is the address in whose name it speaks, `mtu` the bytes that fit, for `TOO_BIG` (RFC
    1191, section 4).
    """
    data = frame.data
    quoted = data[IP : min(view.end, IP + _QUOTE[view.size])]
    packet = error_packet(error, source, sender(frame, view), quoted, mtu)
    return Frame(frame.port, data[6:12] + data[0:6] + ETHERTYPE[view.size] + packet)


def error_packet(
    error: IcmpError, source: bytes, receiver: bytes, quoted: bytes | bytearray, mtu: int
) -> bytearray:
    """The IP packet of an error, from its header on. It quotes the first bytes of a packet of the
    same family, from its IP header on."""
    size = len(source)
    kind = error.kinds[size]
    icmp = bytearray(_ICMP.size) + quoted[: _QUOTE[size]]
    _ICMP.pack_into(icmp, 0, kind.type, kind.code, 0, mtu)
    start = icmp_pseudo_sum(source + receiver, len(icmp))
    icmp[2:4] = checksum.checksum(icmp, start).to_bytes(2, "big")
    header = bytearray(HEADER[size])
    if size == 4:
        _IPV4.pack_into(header, 0, 0x45, 0, 20 + len(icmp), 0, 0, _TTL, Proto.ICMP, 0, source,
                        receiver)  # fmt: skip
        header[10:12] = checksum.checksum(header).to_bytes(2, "big")
    else:
        _IPV6.pack_into(header, 0, 6 << 28, len(icmp), Proto.ICMPV6, _TTL, source, receiver)
    return header + icmp
