"""What control has decided, laid out for planes: immutable, swapped whole.

Nothing here is computed per packet. Control builds a new `Tables` for each change; a frame sees the
old one or the new one, never a mixture.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, NewType, Self, TypeVar

from pktlb.engine.datapath.address import can_be_answered, is_forwardable
from pktlb.engine.datapath.keys import EndpointKey, address_of, endpoint_key, port_of
from pktlb.model import WHOLE_FLOW, Endpoint, HashOn, Mode, OnRemove, Proto, Scheduler, Vip

Meaning = TypeVar("Meaning")

ServiceKey = NewType("ServiceKey", bytes)
"Address, ports and protocols of a service: the same in each set of tables."

_PORTED = frozenset({Proto.TCP, Proto.UDP})
_KERNELS = frozenset({Proto.ICMP, Proto.ICMPV6})
"Protocols that no service takes unless it names them: the kernel answers them for the VIP."


class NextHop(NamedTuple):
    """How a frame reaches the next machine on its way."""

    port: int
    "Interface index."
    macs: bytes
    "Destination and source MAC, the first 12 bytes of the frame."
    mtu: int
    "Bytes of the longest IP packet that fits the link."
    source: bytes = b""
    "Address of this machine on that link: source of a tunnel's outer header."


class PortInfo(NamedTuple):
    """What a plane must know of an interface of this machine."""

    mac: bytes
    mtu: int
    addresses: Mapping[int, bytes] = {}
    """An address of the interface, by its length of 4 or 16: the source of ICMP errors that cannot
    be sent in the VIP's name."""
    successor: int = 0
    """The index of the interface that has taken the place of this one, which is gone. All else is
    of the successor."""


class Span(NamedTuple, Generic[Meaning]):
    """A range of ports of one protocol."""

    low: int
    high: int
    proto: int
    "0: all but ICMP."
    meaning: Meaning

    def holds(self, proto: int, port: int) -> bool:
        """Whether the span has this port of this protocol."""
        if self.proto == 0 and proto in _KERNELS:
            return False
        return self.proto in (0, proto) and self.low <= port <= self.high


class Ends(Generic[Meaning]):
    """What ends of packets mean, by single ports and by ranges; the narrowest range counts."""

    def __init__(
        self, given: Iterable[tuple[Vip, Meaning]], exact: Mapping[EndpointKey, Meaning] = {}
    ) -> None:
        """The ends of each VIP in `given`, and single ports that are packed already (`exact`)."""
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
        """What this end means; None: nothing."""
        found = self.exact.get(end)
        if found is not None:
            return found
        for span in self.spans.get(address_of(end), ()):
            if span.holds(end[-1], port_of(end)):
                return span.meaning
        return None


def is_single(vip: Vip, proto: int) -> bool:
    """Whether `vip` is a single port of `proto`, which has ports."""
    return vip.low == vip.high and proto in _PORTED


def service_key(vip: Vip) -> ServiceKey:
    """The key of a service: address, ports and protocols, packed."""
    ports = vip.low.to_bytes(2, "big") + vip.high.to_bytes(2, "big")
    return ServiceKey(vip.address + ports + bytes(vip.protos))


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """One service, with the slots of its scheduler already worked out."""

    vip: Vip
    mode: Mode
    scheduler: Scheduler
    backends: tuple[Endpoint, ...]
    "The backends that take new flows: of positive weight, and reachable. Port 0: the one dialled."
    weights: tuple[int, ...]
    "Of `backends`, in the same order; all positive."
    slots: Sequence[int]
    """Places in `backends`: the weighted cycle of `rr` and `p2c`, the Maglev table of the
    schedulers that hash; of all others empty."""
    hash_on: HashOn = WHOLE_FLOW
    one_packet: bool = False
    "Each datagram of UDP is a flow of its own."
    pick_up: bool = False
    "A TCP packet that belongs to a connection under way opens a flow."
    members: tuple[Endpoint, ...] = ()
    "All backends that belong to the service, with or without new flows."
    modes: tuple[Mode, ...] = ()
    "Of `backends`, in the same order; empty where all have `mode`."
    thresholds: tuple[tuple[int, int], ...] = ()
    """Of `backends`, in the same order: with so many open flows a backend takes no new ones,
    until it has fewer than so many. 0, 0: it takes any number. Empty where no backend has
    thresholds."""
    persist_s: int = 0
    "Seconds that a client stays with its backend after its last flow there; 0: it does not stay."
    persist4: int = 32
    "Bits of an IPv4 address that are one client."
    persist6: int = 128
    "Bits of an IPv6 address that are one client."
    direct: bool = False
    "Whether some of `members` answer clients themselves (DSR, tunnel)."

    @property
    def key(self) -> ServiceKey:
        return service_key(self.vip)

    def mode_at(self, place: int) -> Mode:
        """The mode of the backend with this place in `backends`."""
        return self.modes[place] if self.modes else self.mode

    def pool(self, backend: Endpoint) -> EndpointKey:
        """The key of the pool that source ports towards a backend are taken from."""
        protos = self.vip.protos
        return endpoint_key(protos[0] if len(protos) == 1 else 0, backend)


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything that a plane looks up."""

    services: Ends[ServiceTable]
    replies: Ends[bool]
    """NAT: the ends that replies come from. The guard keeps the kernel from packets of these ends;
    those that are no replies have to be given back to it."""
    snat: frozenset[bytes]
    "Addresses that stand in for the clients' own. Where there are any, replies go to one of them."
    hops: Mapping[bytes, NextHop]
    "The way to each backend, by its address."
    ports: Mapping[int, PortInfo]
    "By interface index."
    hash_key: bytes
    "16 bytes: key of the hashes that schedulers use. Balancers that must agree share it."
    own: frozenset[bytes] = frozenset()
    "Addresses of this machine: what goes to one is no reply to a client, unless it is in `snat`."
    broadcasts: frozenset[bytes] = frozenset()
    "Broadcast addresses of the networks that this machine is in."
    own_ports: range = range(0)
    "Ports of the machine's own connections: no client gets one of them at an address of `snat`."
    pooled: frozenset[int] = frozenset()
    "The lengths of the addresses in `snat`."
    direct: frozenset[bytes] = frozenset()
    """VIPs whose backends answer clients themselves: where we are their gateway, the answers
    pass us."""
    any: ServiceTable | None = None
    "The service that spreads all that the machine would forward, where there is one."
    spread: frozenset[int] = frozenset()
    "Ports (interface indexes) whose frames are for `any`."
    appliances: frozenset[bytes] = frozenset()
    "MACs of the backends of `any`: what comes from one is not spread again."
    removed: Mapping[tuple[ServiceKey, Endpoint], OnRemove] = field(default_factory=dict)
    "Backends that may have flows but belong to their service no more, and how the flows end."

    @classmethod
    def of(
        cls,
        services: Iterable[ServiceTable],
        replies: "Iterable[Vip] | Ends[bool]",
        hops: Mapping[bytes, NextHop],
        snat: Iterable[bytes] = (),
        **rest: object,
    ) -> Self:
        """The tables of these services, the ends that replies come from, next hops by address, and
        addresses for source NAT. `rest`: further fields."""
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
        """Whether a reply of a NAT service may go to this address."""
        pooled = len(address) in self.pooled
        return address in self.snat if pooled else address not in self.own

    def is_impossible(self, source: bytes) -> bool:
        """Whether no client can send from this address: it is ours, or not that of one host (RFC
        1812, section 5.3.7). A reply to an address of ours would come back to us as a request."""
        return (
            source in self.own
            or source in self.services.addresses
            or source in self.snat
            or source in self.broadcasts
            or not can_be_answered(source)
        )

    def own_address(self, port: int, size: int) -> bytes | None:
        """An address of `size` bytes on the interface `port`; None where it has none."""
        info = self.ports.get(port)
        return info.addresses.get(size) if info else None

    def spreads(self, port: int, mac: bytes, source: bytes, destination: bytes) -> bool:
        """Whether a packet to `mac` that came in at `port` is for the service `any`: the kernel
        would forward it."""
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
        """Each service once."""
        found = {table.key: table for table in self.services.exact.values()}
        for spans in self.services.spans.values():
            found.update((span.meaning.key, span.meaning) for span in spans)
        if self.any:
            found[self.any.key] = self.any
        return tuple(found.values())
