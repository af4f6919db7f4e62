"""What each mode does to a frame. Which backend, and whether it fits the link, is decided before.

All modes act as a router (RFC 1812, section 5.3): new MACs, one less TTL. NAT also replaces
addresses and ports, with every checksum corrected by difference; the tunnel adds an outer header.
"""

import struct
from typing import Final

from pktlb.datapath import checksum
from pktlb.datapath.flow import Flow
from pktlb.datapath.frame import NEEDS_CHECKSUM, NO_OFFLOAD, Frame, Offload
from pktlb.datapath.packet import IP, FlowKey, View
from pktlb.datapath.tables import NextHop
from pktlb.model import Proto

OUTER: Final = 20
"Bytes that the tunnel puts in front of a packet."
_OUTER: Final = struct.Struct(">BBHHHBBH4s4s")
_OUTER_TTL: Final = 64  # RFC 2003, section 3.1: enough for the tunnel, whatever the inner one is
_DONT_FRAGMENT: Final = 0x4000
_CHECKSUM_AT: Final[dict[int, int]] = {Proto.TCP: 16, Proto.UDP: 6}
"Offset of the checksum in the transport header."


def route(frame: Frame, view: View, hop: NextHop, by: int = 0) -> None:
    """What every router does; `by` is what else changes in the sum over the IP header."""
    data = frame.data
    frame.port = hop.port
    data[0:12] = hop.macs
    data[IP + 8] -= 1
    check = checksum.update(data[IP + 10] << 8 | data[IP + 11], (by + checksum.TTL_DELTA) % 0xFFFF)
    data[IP + 10 : IP + 12] = check.to_bytes(2, "big")
    del data[view.end :]


def translate(frame: Frame, view: View, hop: NextHop, flow: Flow, becomes: FlowKey) -> None:
    """NAT in either direction: the packet gets the ends of `becomes` reversed."""
    data = frame.data
    by, by_transport = flow.address_delta, flow.transport_delta
    if becomes is flow.key:
        by, by_transport = -by % 0xFFFF, -by_transport % 0xFFFF
    size = (len(becomes) - 5) // 2
    data[IP + 12 : IP + 12 + 2 * size] = becomes[size : 2 * size] + becomes[:size]
    at = view.transport
    data[at : at + 4] = becomes[-3:-1] + becomes[-5:-3]
    at += _CHECKSUM_AT[view.proto]
    check = data[at] << 8 | data[at + 1]
    if is_partial(frame.offload, view):
        check = checksum.update_partial(check, by)  # ports are not in the pseudo-header
    elif view.proto == Proto.UDP:
        check = checksum.update_udp(check, by_transport)
    else:
        check = checksum.update(check, by_transport)
    data[at : at + 2] = check.to_bytes(2, "big")
    route(frame, view, hop, by)


def encapsulate(frame: Frame, hop: NextHop, backend: bytes, ident: int) -> None:
    """IP-in-IP (RFC 2003): put an outer header in front; ToS and DF are those of the inner one.

    The whole ToS is copied, so congestion marks (ECN) reach the backend (RFC 6040, section 4.1).
    """
    data = frame.data
    fragment = (data[IP + 6] << 8 | data[IP + 7]) & _DONT_FRAGMENT
    header = bytearray(OUTER)
    total = OUTER + len(data) - IP
    _OUTER.pack_into(header, 0, 0x45, data[IP + 1], total, ident, fragment,
                     _OUTER_TTL, Proto.IPIP, 0, hop.source, backend)  # fmt: skip
    header[10:12] = checksum.checksum(header).to_bytes(2, "big")
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
