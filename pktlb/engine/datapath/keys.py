"""Keys: what flows and their ends are found by, packed.

Keys are bytes because Python hashes bytes with SipHash and a secret of the process: a sender that
chooses addresses and ports cannot aim at collisions. (The hash of an integer is the integer.) The
length of the addresses, 4 or 16, tells the family.
"""

from typing import NewType

from pktlb.model import Endpoint

FlowKey = NewType("FlowKey", bytes)
"""The 5-tuple as on the wire: source and destination address, source and destination port,
protocol. Ports are 0 where the protocol has none that pktlb knows."""

EndpointKey = NewType("EndpointKey", bytes)
"Address, port and protocol of one end of a flow, packed."


def flow_key(proto: int, source: Endpoint, destination: Endpoint) -> FlowKey:
    """The key of packets from `source` to `destination`."""
    return FlowKey(
        source.address
        + destination.address
        + source.port.to_bytes(2, "big")
        + destination.port.to_bytes(2, "big")
        + proto.to_bytes(1, "big")
    )


def reversed_key(key: FlowKey) -> FlowKey:
    """The key of packets in the other direction."""
    size = (len(key) - 5) // 2
    return FlowKey(key[size : 2 * size] + key[:size] + key[-3:-1] + key[-5:-3] + key[-1:])


def endpoint_key(proto: int, endpoint: Endpoint) -> EndpointKey:
    """The key of one end, as `source_key` and `destination_key` take it out of a flow key."""
    port = endpoint.port.to_bytes(2, "big")
    return EndpointKey(endpoint.address + port + proto.to_bytes(1, "big"))


def address_of(end: EndpointKey) -> bytes:
    """The address of an end, 4 or 16 bytes."""
    return end[:-3]


def port_of(end: EndpointKey) -> int:
    """The port of an end."""
    return int.from_bytes(end[-3:-1], "big")


def source_key(key: FlowKey) -> EndpointKey:
    """The sender's end: address, port and protocol."""
    size = (len(key) - 5) // 2
    return EndpointKey(key[:size] + key[-5:-3] + key[-1:])


def destination_key(key: FlowKey) -> EndpointKey:
    """The receiver's end: address, port and protocol."""
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
