"""What control has decided, laid out for the datapath: immutable, swapped whole.

Nothing here is computed per packet. Control builds a new `Tables` for each change; a frame sees the
old one or the new one, never a mixture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pktlb.datapath.packet import EndpointKey
from pktlb.model import Endpoint, Mode, Proto, Scheduler


class NextHop(NamedTuple):
    """How a frame reaches the next machine on its way."""

    port: int
    "Interface index."
    macs: bytes
    "Destination and source MAC, as they stand in front of the frame."
    mtu: int
    "Bytes of the longest IP packet that fits the link."
    source: bytes = b""
    "Address of this balancer on that link: source of the outer header of a tunnel."


class PortInfo(NamedTuple):
    """What the datapath must know of an interface of the balancer."""

    mac: bytes
    mtu: int


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """One service, with the policy of its scheduler already worked out."""

    key: EndpointKey
    vip: Endpoint
    proto: Proto
    mode: Mode
    scheduler: Scheduler
    backends: tuple[Endpoint, ...]
    "Those that take new flows: of positive weight, and reachable."
    weights: tuple[int, ...]
    "Of the same order; all positive."
    slots: Sequence[int]
    "Places in `backends`: the weighted cycle of `rr`, the Maglev table of `source`; else empty."


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything the datapath looks things up in."""

    services: Mapping[EndpointKey, ServiceTable]
    replies: frozenset[EndpointKey]
    """NAT: who may send replies. The kernel is kept from these frames, so what is not ours of them
    has to be given back to it."""
    snat: frozenset[bytes]
    "Addresses that stand in for the clients'; where there are any, replies go to one of them."
    hops: Mapping[bytes, NextHop]
    "The way to each backend, by its address."
    ports: Mapping[int, PortInfo]
    "By interface index."
    hash_key: bytes
    "16 bytes: key of the hash over client addresses. Balancers that must agree share it."
    own: frozenset[bytes] = frozenset()
    "Addresses of this machine: what goes there is no reply to a client, unless it is in `snat`."
    own_ports: range = range(0)
    "Ports of the machine's own connections: not given to clients that go out from `snat`."
