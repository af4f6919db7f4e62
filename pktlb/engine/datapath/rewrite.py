"""What each mode does to a frame. Which backend, and whether it fits the link, is decided before.

All modes act as a router (RFC 1812, section 5.3; RFC 8200, section 3): new MACs, one less TTL. NAT
also replaces addresses and ports, with every checksum corrected by difference; the tunnel adds an
outer header.
"""

import struct
from typing import Final

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, NO_OFFLOAD, Frame, Offload
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.packet import ADDRESSES, ETHERTYPE, HEADER, IP, View
from pktlb.engine.datapath.tables import NextHop
from pktlb.model import Proto

_OUTER_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_OUTER_IPV6: Final = struct.Struct(">IHBB16s16s")
_OUTER_TTL: Final = 64  # RFC 2003, section 3.1: enough for the tunnel, whatever the inner one is
_DONT_FRAGMENT: Final = 0x4000
MIN_IPV6_MTU: Final = 1280
"Bytes that every link takes (RFC 8200, section 5)."


def route(frame: Frame, view: View, hop: NextHop, by: int = 0) -> None:
    """What every router does; `by` is what else changes in the sum over an IPv4 header."""
    data = frame.data
    frame.port = hop.port
    data[0:12] = hop.macs
    del data[view.end :]
    if view.size == 16:
        data[IP + 7] -= 1
        return
    data[IP + 8] -= 1
    check = checksum.update(data[IP + 10] << 8 | data[IP + 11], (by + checksum.TTL_DELTA) % 0xFFFF)
    data[IP + 10 : IP + 12] = check.to_bytes(2, "big")


def translate(frame: Frame, view: View, hop: NextHop, flow: Flow, becomes: FlowKey) -> None:
    """NAT in either direction: the packet gets the ends of `becomes` reversed."""
    data = frame.data
    by, by_transport = flow.address_delta, flow.transport_delta
    if becomes is flow.key:
        by, by_transport = -by % 0xFFFF, -by_transport % 0xFFFF
    size = view.size
    at = IP + ADDRESSES[size]
    data[at : at + 2 * size] = becomes[size : 2 * size] + becomes[:size]
    if view.ported:
        at = view.transport
        data[at : at + 4] = becomes[-3:-1] + becomes[-5:-3]
    else:
        by_transport = by
    if at := view.check:
        check = data[at] << 8 | data[at + 1]
        if is_partial(frame.offload, view):
            check = checksum.update_partial(check, by)  # ports are not in the pseudo-header
        elif view.proto == Proto.UDP:
            check = checksum.update_udp(check, by_transport)
        else:
            check = checksum.update(check, by_transport)
        data[at : at + 2] = check.to_bytes(2, "big")
    route(frame, view, hop, by)


def overhead(backend: bytes) -> int:
    """Bytes that the tunnel to an address puts in front of a packet."""
    return HEADER[len(backend)]


def encapsulate(frame: Frame, hop: NextHop, backend: bytes, ident: int) -> None:
    """Put an outer header of the backend's family in front (RFC 2003, 2473 and 4213).

    The whole ToS or traffic class is copied, so congestion marks (ECN) reach the backend (RFC 6040,
    section 4.1). DF of an outer IPv4 header is the inner one's; around IPv6 it is clear where the
    sender may not be asked for less (RFC 4213, section 3.2.2).
    """
    data = frame.data
    length = len(data) - IP
    if data[12:14] == ETHERTYPE[4]:
        proto, traffic, label = Proto.IPIP, data[IP + 1], 0
        fragment = (data[IP + 6] << 8 | data[IP + 7]) & _DONT_FRAGMENT
    else:
        proto = Proto.IPV6
        word = int.from_bytes(data[IP : IP + 4], "big")
        traffic, label = word >> 20 & 0xFF, word & 0xFFFFF
        fragment = _DONT_FRAGMENT if length > MIN_IPV6_MTU else 0
    header = bytearray(HEADER[len(backend)])
    if len(backend) == 4:
        _OUTER_IPV4.pack_into(header, 0, 0x45, traffic, 20 + length, ident & 0xFFFF, fragment,
                              _OUTER_TTL, proto, 0, hop.source, backend)  # fmt: skip
        header[10:12] = checksum.checksum(header).to_bytes(2, "big")
    else:
        _OUTER_IPV6.pack_into(header, 0, 6 << 28 | traffic << 20 | label, length, proto,
                              _OUTER_TTL, hop.source, backend)  # fmt: skip
    data[12:14] = ETHERTYPE[len(backend)]
    data[IP:IP] = header


def is_partial(offload: Offload, view: View) -> bool:
    """Whether the transport checksum of this very header is still to be completed."""
    return bool(offload.flags & NEEDS_CHECKSUM) and offload.checksum_start == view.transport


def complete_checksum(frame: Frame, transport: int) -> None:
    """Finish a partial checksum here, since the device may not be able to.

    It may be that of a packet inside, but lies behind the IP header, which ends at `transport`:
    what claims to lie in front of that would be written over what was read already.
    """
    data, offload = frame.data, frame.offload
    start = offload.checksum_start
    at = start + offload.checksum_offset
    if offload.flags & NEEDS_CHECKSUM and transport <= start and at + 2 <= len(data):
        # The field holds the sum of the pseudo-header, so it goes into the sum as it stands;
        # a sum of 0 is sent as 0xffff, which UDP demands and TCP takes as the same.
        check = checksum.checksum(memoryview(data)[start:]) or 0xFFFF
        data[at : at + 2] = check.to_bytes(2, "big")
    frame.offload = NO_OFFLOAD
