"""Parse one Ethernet frame into one `View`; decide nothing about it.

Everything read here comes from outside and may lie: each length is checked against the one around
it before a byte behind it is touched. IPv4 with TCP or UDP becomes a `View`; the rest a `Reason`.
Addresses sit in the key with their own length, so another family needs only another branch here.
"""

import struct
from typing import Final, NamedTuple, NewType

from pktlb.datapath.checksum import is_valid
from pktlb.model import Endpoint, Proto, Reason

IP: Final = 14
"Offset of the IP header: Ethernet without a tag."
_ETHERTYPE_IPV4: Final = b"\x08\x00"
_IPV4: Final = struct.Struct(">BBHHHBB")
_DONT_FRAGMENT: Final = 0x4000
_MORE_FRAGMENTS: Final = 0x2000
_FRAGMENT_OFFSET: Final = 0x1FFF

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
CWR: Final = 0x80

FlowKey = NewType("FlowKey", bytes)
"""The 5-tuple as on the wire: source and destination address, source and destination port,
protocol. Packed, because Python's hash of bytes is SipHash with a secret of the process, which a
sender who chooses addresses and ports cannot aim at (of integers it is the integer)."""

EndpointKey = NewType("EndpointKey", bytes)
"Address, port and protocol of one end of a flow, packed."


class View(NamedTuple):
    """Where things are in a frame, and the few values every step needs. Offsets in bytes."""

    key: FlowKey
    transport: int
    "Offset of the TCP or UDP header."
    payload: int
    "Offset of what follows it."
    end: int
    "Offset behind the IP packet: the rest of the frame is Ethernet padding."
    proto: int
    ttl: int
    tcp_flags: int
    "0 for UDP."
    dont_fragment: bool
    fragment: bool
    "A first fragment: ports are here, but not all of the payload."


def parse(data: bytearray) -> View | Reason:
    """The view of a frame, or why there is none. Never raises, whatever the bytes."""
    size = len(data)
    if data[12:14] != _ETHERTYPE_IPV4:
        return Reason.NOT_OURS if size >= IP else Reason.TRUNCATED
    if size < IP + 20:
        return Reason.TRUNCATED
    version, _, total, _, fragment, ttl, proto = _IPV4.unpack_from(data, IP)
    header = (version & 0x0F) * 4
    if version >> 4 != 4 or header < 20 or total < header:
        return Reason.BAD_HEADER
    end = IP + total
    if end > size:
        return Reason.TRUNCATED
    if not is_valid(data[IP : IP + header]):
        return Reason.BAD_CHECKSUM
    if fragment & _FRAGMENT_OFFSET:
        return Reason.FRAGMENT
    transport = IP + header
    if proto == Proto.TCP:
        measured = _measure_tcp(data, transport, end)
    elif proto == Proto.UDP:
        measured = _measure_udp(data, transport, end, fragment & _MORE_FRAGMENTS)
    else:
        return Reason.NOT_OURS
    if isinstance(measured, Reason):
        return measured
    payload, tcp_flags = measured
    return View(
        FlowKey(bytes(data[IP + 12 : IP + 20] + data[transport : transport + 4] + data[23:24])),
        transport,
        payload,
        end,
        proto,
        ttl,
        tcp_flags,
        bool(fragment & _DONT_FRAGMENT),
        bool(fragment & _MORE_FRAGMENTS),
    )


def _measure_tcp(data: bytearray, transport: int, end: int) -> tuple[int, int] | Reason:
    """Offset of the payload, and the flags."""
    if end - transport < 20:
        return Reason.TRUNCATED
    header = (data[transport + 12] >> 4) * 4
    if header < 20:
        return Reason.BAD_HEADER
    if transport + header > end:
        return Reason.TRUNCATED
    return transport + header, data[transport + 13]


def _measure_udp(
    data: bytearray, transport: int, end: int, more_fragments: int
) -> tuple[int, int] | Reason:
    """Offset of the payload, and no flags. A first fragment is shorter than its UDP length."""
    if end - transport < 8:
        return Reason.TRUNCATED
    length = data[transport + 4] << 8 | data[transport + 5]
    if length < 8:
        return Reason.BAD_HEADER
    if transport + length > end and not more_fragments:
        return Reason.TRUNCATED
    return transport + 8, 0


def flow_key(proto: int, source: Endpoint, destination: Endpoint) -> FlowKey:
    """The key of packets from `source` to `destination`."""
    return FlowKey(
        source.address
        + destination.address
        + source.port.to_bytes(2, "big")
        + destination.port.to_bytes(2, "big")
        + proto.to_bytes(1, "big")
    )


def endpoint_key(proto: int, endpoint: Endpoint) -> EndpointKey:
    """The key of one end, as `source_key` and `destination_key` take it out of a flow key."""
    port = endpoint.port.to_bytes(2, "big")
    return EndpointKey(endpoint.address + port + proto.to_bytes(1, "big"))


def source_key(key: FlowKey) -> EndpointKey:
    """Who sent it."""
    size = (len(key) - 5) // 2
    return EndpointKey(key[:size] + key[-5:-3] + key[-1:])


def destination_key(key: FlowKey) -> EndpointKey:
    """Whom it is sent to."""
    size = (len(key) - 5) // 2
    return EndpointKey(key[size : 2 * size] + key[-3:])


def source(key: FlowKey) -> Endpoint:
    """The sender's address and port."""
    size = (len(key) - 5) // 2
    return Endpoint(bytes(key[:size]), int.from_bytes(key[-5:-3], "big"))


def destination(key: FlowKey) -> Endpoint:
    """The receiver's address and port."""
    size = (len(key) - 5) // 2
    return Endpoint(bytes(key[size : 2 * size]), int.from_bytes(key[-3:-1], "big"))


def format_key(key: FlowKey) -> str:
    """A flow for people: "tcp 10.0.1.2:40312 > 10.0.1.100:80"."""
    return f"{Proto(key[-1]).name.lower()} {source(key)} > {destination(key)}"
