"""What control has decided, laid out for the datapath: immutable, swapped whole.

Nothing here is computed per packet. Control builds a new `Tables` for each change; a frame sees the
old one or the new one, never a mixture.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, NewType, Self, TypeVar

from pktlb.engine.datapath.address import is_forwardable
from pktlb.engine.datapath.keys import EndpointKey, address_of, endpoint_key, port_of
from pktlb.model import WHOLE_FLOW, Endpoint, HashOn, Mode, OnRemove, Proto, Scheduler, Vip

Meaning = TypeVar("Meaning")

ServiceKey = NewType("ServiceKey", bytes)
"What a service is remembered by from one set of tables to the next."

_PORTED = frozenset({Proto.TCP, Proto.UDP})
_KERNELS = frozenset({Proto.ICMP, Proto.ICMPV6})
"Protocols that no service takes unless it names them: the kernel answers for the VIP."


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
    addresses: Mapping[int, bytes] = {}
    """An address of the interface by its length, 4 or 16: source of ICMP errors to whom the VIP
    would say nothing."""


class Span(NamedTuple, Generic[Meaning]):
    """A range of ports of one protocol."""

    low: int
    high: int
    proto: int
    "0: all but ICMP."
    meaning: Meaning

    def holds(self, proto: int, port: int) -> bool:
        if self.proto == 0 and proto in _KERNELS:
            return False
        return self.proto in (0, proto) and self.low <= port <= self.high


class Ends(Generic[Meaning]):
    """Ends of packets that mean something: single ones, and ranges; the narrowest range counts."""

    def __init__(
        self, given: Iterable[tuple[Vip, Meaning]], exact: Mapping[EndpointKey, Meaning] = {}
    ) -> None:
        """Those `given` as people write them, and those that are packed already."""
        self.exact: dict[EndpointKey, Meaning] = dict(exact)
        spans: dict[bytes, list[Span[Meaning]]] = {}
        for vip, meaning in given:
            for proto in vip.protos or (0,):
                if is_single(vip, proto):
                    key = endpoint_key(proto, Endpoint(vip.address, vip.low))
                    self.exact.setdefault(key, meaning)
                else:
                    span = Span(vip.low, vip.high, proto, meaning)
                    spans.setdefault(vip.address, []).append(span)
        self.spans: dict[bytes, tuple[Span[Meaning], ...]] = {
            address: tuple(sorted(each, key=lambda span: (span.high - span.low, span.proto == 0)))
            for address, each in spans.items()
        }
        self.addresses = frozenset([*map(address_of, self.exact), *self.spans])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ends) and self.exact == other.exact and self.spans == other.spans

    __hash__ = None  # type: ignore[assignment]

    def find(self, end: EndpointKey) -> Meaning | None:
        """What this end means, or None."""
        found = self.exact.get(end)
        if found is not None:
            return found
        for span in self.spans.get(address_of(end), ()):
            if span.holds(end[-1], port_of(end)):
                return span.meaning
        return None


def is_single(vip: Vip, proto: int) -> bool:
    """Whether it is one port of a protocol that has them."""
    return vip.low == vip.high and proto in _PORTED


def service_key(vip: Vip) -> ServiceKey:
    """Address, ports and protocols, packed."""
    ports = vip.low.to_bytes(2, "big") + vip.high.to_bytes(2, "big")
    return ServiceKey(vip.address + ports + bytes(vip.protos))


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """One service, with the policy of its scheduler already worked out."""

    vip: Vip
    mode: Mode
    scheduler: Scheduler
    backends: tuple[Endpoint, ...]
    "Those that take new flows: of positive weight, and reachable. Port 0: the one dialled."
    weights: tuple[int, ...]
    "Of the same order; all positive."
    slots: Sequence[int]
    """Places in `backends`: the weighted cycle of `rr` and `p2c`, the Maglev table of those that
    hash; else empty."""
    hash_on: HashOn = WHOLE_FLOW
    one_packet: bool = False
    pick_up: bool = False
    members: tuple[Endpoint, ...] = ()
    "All backends that belong to it, those that take no new flows as well."
    modes: tuple[Mode, ...] = ()
    "Of `backends`, in the same order, where they are not all `mode`."
    thresholds: tuple[tuple[int, int], ...] = ()
    """Of `backends`, in the same order, where there are any: with so many open flows it takes no
    new ones, until there are fewer than so many; 0, 0: any number."""
    persist_s: int = 0
    "A client stays with its backend for so long after its last flow there; 0: it does not."
    persist4: int = 32
    "So many bits of an IPv4 address are one client."
    persist6: int = 128
    direct: bool = False
    "Whether some of `members` answer clients themselves (DSR, tunnel)."

    @property
    def key(self) -> ServiceKey:
        return service_key(self.vip)

    def mode_at(self, place: int) -> Mode:
        """Of the backend with this place."""
        return self.modes[place] if self.modes else self.mode

    def pool(self, backend: Endpoint) -> EndpointKey:
        """What the source ports towards a backend are allotted by."""
        protos = self.vip.protos
        return endpoint_key(protos[0] if len(protos) == 1 else 0, backend)


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything the datapath looks things up in."""

    services: Ends[ServiceTable]
    replies: Ends[bool]
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
    pooled: frozenset[int] = frozenset()
    "Lengths of addresses for which there are some in `snat`."
    direct: frozenset[bytes] = frozenset()
    "VIPs whose backends answer in their name: their packets may come by as well."
    any: ServiceTable | None = None
    "The service for whatever is forwarded at all, where there is one."
    spread: frozenset[int] = frozenset()
    "Ports whose frames are for `any`."
    appliances: frozenset[bytes] = frozenset()
    "MACs of the backends of `any`: what comes from them has been there."
    removed: Mapping[tuple[ServiceKey, Endpoint], OnRemove] = field(default_factory=dict)
    "Backends that have flows, but no longer belong to their service."

    @classmethod
    def of(
        cls,
        services: Iterable[ServiceTable],
        replies: "Iterable[Vip] | Ends[bool]",
        hops: Mapping[bytes, NextHop],
        snat: Iterable[bytes] = (),
        **rest: object,
    ) -> Self:
        """The tables of services and the ends that may send replies."""
        each, stand_ins = tuple(services), frozenset(snat)
        spreading = next((service for service in each if service.vip.any), None)
        return cls(
            services=Ends((service.vip, service) for service in each if not service.vip.any),
            replies=replies if isinstance(replies, Ends) else Ends((v, True) for v in replies),
            hops=hops,
            snat=stand_ins,
            pooled=frozenset(map(len, stand_ins)),
            direct=frozenset(s.vip.address for s in each if s.direct) - {b""},
            any=spreading,
            **rest,  # type: ignore[arg-type]
        )

    def may_be_client(self, address: bytes) -> bool:
        """Whether backends of NAT services send their replies there."""
        pooled = len(address) in self.pooled
        return address in self.snat if pooled else address not in self.own

    def own_address(self, port: int, size: int) -> bytes | None:
        """An address of ours on a port, of so many bytes."""
        info = self.ports.get(port)
        return info.addresses.get(size) if info else None

    def spreads(self, port: int, mac: bytes, source: bytes, destination: bytes) -> bool:
        """Whether the kernel would forward a packet to this MAC, and that is our business."""
        info = self.ports.get(port)
        return (
            self.any is not None
            and port in self.spread
            and info is not None
            and mac == info.mac
            and destination not in self.own
            and is_forwardable(destination)
            and is_forwardable(source)
        )

    @property
    def all_services(self) -> tuple[ServiceTable, ...]:
        """Each once."""
        found = {table.key: table for table in self.services.exact.values()}
        for spans in self.services.spans.values():
            found.update((span.meaning.key, span.meaning) for span in spans)
        if self.any:
            found[self.any.key] = self.any
        return tuple(found.values())
