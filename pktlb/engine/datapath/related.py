"""ICMP errors about the packets of a flow: an error must quote the packet as its receiver sent it.

NAT: as much of the quoted packet as there is gets translated back (RFC 5508, section 4). Tunnel: an
error about the outer packet becomes one about the inner packet (RFC 2003, section 4; RFC 2473,
section 8). Which flow an error belongs to is decided in `indirect`.
"""

from typing import Final

from pktlb.engine.datapath import checksum, icmp
from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.icmp import IcmpError
from pktlb.engine.datapath.keys import FlowKey, destination, source
from pktlb.engine.datapath.packet import (
    ADDRESSES,
    CHECK_AT,
    ETHERTYPE,
    HEADER,
    IP,
    PORTED,
    View,
    icmp_pseudo_sum,
)
from pktlb.engine.datapath.rewrite import MIN_IPV6_MTU, route
from pktlb.engine.datapath.tables import NextHop
from pktlb.engine.datapath.way import Way
from pktlb.model import Proto

_MIN_IPV4_MTU: Final = 68
_MTU_UNKNOWN: Final = 576
"The MTU that is meant by an error without one (RFC 1191, section 5): every host takes as much."


def translate(frame: Frame, view: View, way: Way) -> None:
    """NAT: give the packet that the error quotes the ends of `way.becomes`, and send the error to
    the source of those."""
    data, size, becomes = frame.data, view.size, way.becomes
    assert becomes is not None
    at = IP + ADDRESSES[size]
    if becomes is way.flow.key:
        # The VIP is the source towards the client: routers behind it stay hidden.
        data[at : at + size] = becomes[size : 2 * size]
    data[at + size : at + 2 * size] = becomes[:size]
    _translate_quoted(data, view, way.flow, becomes)
    _finish(data, view)
    route(frame, view, way.hop)


def _translate_quoted(data: bytearray, view: View, flow: Flow, becomes: FlowKey) -> None:
    """Give the quoted packet the ends of `becomes`, and correct its checksums by difference."""
    quote, size = view.quote, view.size
    assert quote is not None
    by, by_transport = flow.address_delta, flow.transport_delta
    if becomes is flow.key:
        by, by_transport = -by % 0xFFFF, -by_transport % 0xFFFF
    at = quote.ip + ADDRESSES[size]
    data[at : at + 2 * size] = becomes[: 2 * size]
    if size == 4:
        at = quote.ip + 10
        data[at : at + 2] = checksum.update(_word(data, at), by).to_bytes(2, "big")
    proto = becomes[-1]
    if proto in PORTED:
        data[quote.transport : quote.transport + 4] = becomes[-5:-1]
    else:
        by_transport = by
    place = CHECK_AT.get(proto)
    if place is None or quote.transport + place + 2 > quote.end:
        return
    at = quote.transport + place
    update = checksum.update_udp if proto == Proto.UDP else checksum.update
    data[at : at + 2] = update(_word(data, at), by_transport).to_bytes(2, "big")


def _finish(data: bytearray, view: View) -> None:
    """Compute the checksums of the error itself anew."""
    at, size = IP + ADDRESSES[view.size], view.size
    icmp_at, end = view.transport, view.end
    data[icmp_at + 2 : icmp_at + 4] = b"\0\0"
    start = icmp_pseudo_sum(bytes(data[at : at + 2 * size]), end - icmp_at)
    check = checksum.checksum(bytes(data[icmp_at:end]), start)
    data[icmp_at + 2 : icmp_at + 4] = check.to_bytes(2, "big")
    if size == 4:
        data[IP + 10 : IP + 12] = b"\0\0"
        check = checksum.checksum(bytes(data[IP:icmp_at]))
        data[IP + 10 : IP + 12] = check.to_bytes(2, "big")


def client_of(flow: Flow) -> tuple[bytes, bytes]:
    """The address that the client of a flow dialled, and the client's own."""
    return destination(flow.key).address, source(flow.key).address


def refuses_tunnel(frame: Frame, view: View) -> bool:
    """Whether an error about a tunnel's packet says that its receiver takes none."""
    outer = 4 if view.proto == Proto.ICMP else 16
    kind = icmp.Kind(*frame.data[view.transport : view.transport + 2])
    return kind in icmp.NO_TUNNEL[outer]


def about_inside(
    frame: Frame, view: View, hop: NextHop, vip: bytes, client: bytes
) -> Frame:  # fmt: skip
    """The error for the client about its packet, made of an error about the tunnel's packet.

    `frame` and `view` are the latter. "Too big" is told with what fits inside the tunnel, all else
    as "host unreachable", in the name of `vip`.
    """
    data, quote, at = frame.data, view.quote, view.transport
    assert quote is not None
    outer = 4 if view.proto == Proto.ICMP else 16
    kind = icmp.Kind(data[at], data[at + 1])
    too_big = kind == IcmpError.TOO_BIG.kinds[outer]
    mtu = 0
    if too_big:
        field = data[at + (6 if outer == 4 else 4) : at + 8]
        mtu = min(int.from_bytes(field, "big") or _MTU_UNKNOWN, 0xFFFF) - HEADER[outer]
        mtu = max(mtu, _MIN_IPV4_MTU if len(client) == 4 else MIN_IPV6_MTU)
    error = IcmpError.TOO_BIG if too_big else IcmpError.HOST_UNREACHABLE
    message = icmp.error_packet(error, vip, client, data[quote.ip : quote.end], mtu)
    return Frame(hop.port, bytearray(hop.macs) + ETHERTYPE[len(client)] + message)


def _word(data: bytearray, at: int) -> int:
    return data[at] << 8 | data[at + 1]
