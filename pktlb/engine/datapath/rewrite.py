"""What each mode does to a frame. The backend is chosen, and that it fits is known, before.

All modes act as a router (RFC 1812, section 5.3; RFC 8200, section 3): new MACs, one less TTL. NAT
also replaces addresses and ports, with every checksum corrected by difference; the tunnel adds an
outer header.
"""

import struct
from typing import Final

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, NO_OFFLOAD, Frame, Offload
from pktlb.engine.datapath.packet import ADDRESSES, ETHERTYPE, HEADER, IP, View
from pktlb.engine.datapath.tables import NextHop
from pktlb.engine.datapath.way import Way
from pktlb.model import Proto

_OUTER_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_OUTER_IPV6: Final = struct.Struct(">IHBB16s16s")
_OUTER_TTL: Final = 64  # RFC 2003, section 3.1: enough for the tunnel, whatever the inner one is
_DONT_FRAGMENT: Final = 0x4000
MIN_IPV6_MTU: Final = 1280
"Bytes that every link takes (RFC 8200, section 5)."


def route(frame: Frame, view: View, hop: NextHop, by: int = 0) -> None:
    """Do what every router does: new MACs, one less TTL, no padding behind the packet.

    `by` is what else has changed in the sum over an IPv4 header (modulo 0xffff).
    """
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


def translate(frame: Frame, view: View, way: Way) -> None:
    """NAT in either direction (RFC 3022): give the packet the ends of `way.becomes` in reversed
    order, and correct its checksums by difference."""
    data, flow, becomes = frame.data, way.flow, way.becomes
    assert becomes is not None
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
    route(frame, view, way.hop, by)


def overhead(backend: bytes) -> int:
    """Bytes of the outer header that the tunnel to this address puts in front of a packet."""
    return HEADER[len(backend)]


def encapsulate(frame: Frame, hop: NextHop, backend: bytes, ident: int) -> None:
    """Put an outer header of the backend's family in front (RFC 2003, 2473 and 4213).

    The whole ToS or traffic class is copied, so congestion marks (ECN) reach the backend (RFC 6040,
    section 4.1). DF of an outer IPv4 header is that of the inner one. Around IPv6 it is clear for
    packets up to 1280 bytes: no smaller size may be asked of their sender (RFC 4213, section
    3.2.2). `ident` is the identification, of which IPv4 takes the lower 16 bits.
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
    """Whether the checksum of the transport header in `view` is a partial one."""
    return bool(offload.flags & NEEDS_CHECKSUM) and offload.checksum_start == view.transport


def complete_checksum(frame: Frame, transport: int) -> None:
    """Finish a partial checksum of a frame, since the device may not be able to.

    The IP header ends at `transport`. The checksum may be that of a packet inside; an offset in
    front of `transport` is ignored, or the checksum would overwrite a header that was parsed.
    """
    data, offload = frame.data, frame.offload
    start = offload.checksum_start
    at = start + offload.checksum_offset
    if offload.flags & NEEDS_CHECKSUM and transport <= start and at + 2 <= len(data):
        # The field holds the sum of the pseudo-header and is summed as it stands. A checksum of 0
        # is sent as 0xffff: UDP demands that, and for TCP both mean the same.
        check = checksum.checksum(memoryview(data)[start:]) or 0xFFFF
        data[at : at + 2] = check.to_bytes(2, "big")
    frame.offload = NO_OFFLOAD
