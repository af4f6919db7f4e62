"""A balancer's surroundings, drawn by chance and changed by chance: what its tables are made of.

Few of everything, so that things meet: backends serve several services, and are clients of them;
a service may be dialled at an address that stands in for clients.
"""

from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import Final

from pktlb import policy
from pktlb.datapath.packet import EndpointKey, endpoint_key
from pktlb.datapath.pipeline import SOURCE_PORTS, Limits
from pktlb.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.model import Endpoint, Mode, Proto, Scheduler, Timeouts
from tests.packets import packed

INDEXES: Final = (1, 2, 1_000_000)
NO_INDEX: Final = 9
"An interface that the tables do not know."
VIPS: Final = tuple(map(packed, ("10.0.1.100", "10.0.1.101", "10.0.2.9")))
"The last is in the pool as well."
BACKENDS: Final = tuple(packed(f"10.0.2.{host}") for host in (2, 3, 4, 5, 6))
POOL: Final = (packed("10.0.2.9"), packed("10.0.2.10"))
OWN: Final = (packed("10.0.1.1"), packed("10.0.2.1"), *VIPS[:2])
SERVICE_PORTS: Final = (80, 5001, 65535)
BACKEND_PORTS: Final = (80, 5000, 8080)
EIGHTH: Final = 0.125
"Seconds: the grain of time here, which is a whole number of milliseconds."


class Kind(Enum):
    """What surroundings are good for."""

    ANY = "whatever chance brings"
    CROWDED = "all services have one backend, and clients meet there under their own names"
    VAST = "more flows and source ports than anybody needs"


class Scene:
    """What is there now. Each change takes effect when `tables` is asked for the next time."""

    def __init__(self, rng: Random) -> None:
        self.rng: Final = rng
        self.mtus = rng.choice([(68, 69, 100, 121, 300, 600), (600, 1500), (1500,), (9000, 65536)])
        (self.kind,) = rng.choices(tuple(Kind), weights=(75, 14, 11))
        alone = self.kind is not Kind.ANY
        self.machines = rng.sample(BACKENDS, 1 if alone else rng.choice((1, 2, 5, 5)))
        self.backend_ports = rng.choice((BACKEND_PORTS[:1], BACKEND_PORTS[1:], BACKEND_PORTS))
        self.ports = {index: self._port() for index in INDEXES}
        self.hops = {address: self._hop() for address in BACKENDS}
        self.services: dict[EndpointKey, ServiceTable] = {}
        pool = {Kind.ANY: (0, 0, 1, 2), Kind.CROWDED: (0,), Kind.VAST: (1,)}[self.kind]
        self.snat = frozenset(rng.sample(POOL, rng.choice(pool)))
        self.hash_key = rng.randbytes(16)
        self.own: frozenset[bytes] = frozenset()
        self.own_ports = range(0)
        self.limits = self._limits()
        for _ in range(rng.randint(1, 5)):
            self.add_service()
        if self.kind is Kind.CROWDED:
            for port in SERVICE_PORTS[:2]:
                self._put(Endpoint(VIPS[0], port), Proto.TCP, Mode.NAT)
        self.shuffle_own()

    def tables(self) -> Tables:
        return Tables(
            services=dict(self.services),
            replies=frozenset(
                endpoint_key(s.proto, b) for s in self.nat_services() for b in s.backends
            ),
            snat=self.snat,
            hops=dict(self.hops),
            ports=dict(self.ports),
            hash_key=self.hash_key,
            own=self.own,
            own_ports=self.own_ports,
        )

    def change(self) -> None:
        """Something is different from now on."""
        changes = [
            self.add_service, self.add_service, self.alter_service, self.alter_service,
            self.remove_service, self.toggle_hop, self.toggle_hop, self.toggle_port,
            self.shuffle_own, self.change_key, self.change_pool,
        ]  # fmt: skip
        for _ in range(self.rng.choice([1, 1, 2, 5])):
            self.rng.choice(changes)()

    def add_service(self) -> None:
        """A service where there is none, or another one in its place."""
        vip = Endpoint(self.rng.choice(VIPS), self.rng.choice(SERVICE_PORTS))
        proto = self.rng.choice((Proto.TCP, Proto.TCP, Proto.UDP))
        self._put(vip, proto, self.rng.choice((Mode.NAT, Mode.NAT, Mode.DSR, Mode.TUNNEL)))

    def alter_service(self) -> None:
        """Other backends, weights or schedulers; now and then another mode."""
        old = self._any_service()
        if old is not None:
            mode = self.rng.choice((old.mode, old.mode, old.mode, *Mode))
            self._put(old.vip, old.proto, mode)

    def remove_service(self) -> None:
        old = self._any_service()
        if old is not None and len(self.services) > 1:
            del self.services[old.key]

    def toggle_hop(self) -> None:
        """The way to a backend is lost, or found, perhaps elsewhere."""
        address = self.rng.choice(BACKENDS)
        if self.hops.pop(address, None) is None or self.rng.random() < 0.3:
            self.hops[address] = self._hop()

    def toggle_port(self) -> None:
        """An interface is gone, or back, perhaps with another MAC and MTU."""
        index = self.rng.choice(INDEXES)
        if self.ports.pop(index, None) is None or self.rng.random() < 0.5:
            self.ports[index] = self._port()

    def shuffle_own(self) -> None:
        self.own = frozenset(self.rng.sample(OWN, self.rng.randint(0, len(OWN))))
        self.own_ports = self.rng.choice((range(0), range(0), range(5001, 5003), range(4000, 4999)))

    def change_key(self) -> None:
        self.hash_key = self.rng.randbytes(16)

    def change_pool(self) -> None:
        """The engine goes on with the pool it began with, but judges replies by this one."""
        if self.rng.random() < 0.3:
            self.snat = frozenset(self.rng.sample(POOL, self.rng.randint(0, 2)))

    def any_vip(self) -> tuple[Endpoint, Proto]:
        """What somebody may dial; mostly there is a service."""
        old = self._any_service()
        if old is not None and self.rng.random() < 0.95:
            return old.vip, old.proto
        vip = Endpoint(self.rng.choice(VIPS), self.rng.choice(SERVICE_PORTS))
        return vip, self.rng.choice((Proto.TCP, Proto.UDP))

    def nat_services(self) -> list[ServiceTable]:
        return [each for each in self.services.values() if each.mode is Mode.NAT]

    def macs_to(self, index: int, mac: bytes) -> bytes:
        """The first bytes of a frame from `mac` to the balancer."""
        port = self.ports.get(index)
        return (port.mac if port else bytes(6)) + mac

    def _any_service(self) -> ServiceTable | None:
        return self.rng.choice(list(self.services.values())) if self.services else None

    def _put(self, vip: Endpoint, proto: Proto, mode: Mode) -> None:
        rng = self.rng
        count = min(rng.choice((0, 1, 1, 2, 2, 3, 4, 5)), len(self.machines))
        port = rng.choice(self.backend_ports) if mode is Mode.NAT else vip.port
        wanted = [Endpoint(address, port) for address in rng.sample(self.machines, count)]
        if wanted and port != 80 and rng.random() < 0.1:
            wanted.append(Endpoint(wanted[0].address, 80))  # two servers of one machine
        if rng.random() < 0.7:
            wanted = [b for b in wanted if b.address in self.hops]  # as control does it
        weights = tuple(self._weight() for _ in wanted)
        scheduler = rng.choice(list(Scheduler))
        key = endpoint_key(proto, vip)
        slots = self._slots(scheduler, wanted, weights)
        self.services[key] = ServiceTable(
            key, vip, proto, mode, scheduler, tuple(wanted), weights, slots
        )

    def _slots(
        self, scheduler: Scheduler, backends: list[Endpoint], weights: tuple[int, ...]
    ) -> Sequence[int]:
        """The policy as control works it out, mostly with fewer slots, which is quicker."""
        if not backends or scheduler is Scheduler.LC:
            return ()
        if scheduler is Scheduler.RR:
            return policy.weighted_cycle(weights)
        names = [str(backend).encode() for backend in backends]
        few = self.rng.choice((7, 31, 251)) if self.rng.random() < 0.99 else policy.MAGLEV_SLOTS
        return policy.maglev_table(names, weights, self.hash_key, few)

    def _weight(self) -> int:
        return self.rng.choice((1, 1, 1, 2, 3, 7)) if self.rng.random() < 0.97 else 65535

    def _port(self) -> PortInfo:
        return PortInfo(b"\2" + self.rng.randbytes(5), self.rng.choice(self.mtus))

    def _hop(self) -> NextHop:
        index = self.rng.choice(INDEXES)
        port = self.ports[index] if index in self.ports else self._port()
        macs = b"\2" + self.rng.randbytes(5) + port.mac
        return NextHop(index, macs, self.rng.choice(self.mtus), packed("10.0.2.1"))

    def _limits(self) -> Limits:
        rng = self.rng
        grain = (1, 2, 4, 8, 40, 80, 800)
        times = Timeouts(*(rng.choice(grain) * EIGHTH for _ in range(4)))
        count = rng.choice((1, 2, 3, 8, 100, 6000))
        first = rng.choice((5000, 5001))
        few = range(first, first + count)
        ports = rng.choice((few, few, list(few), tuple(reversed(few)), SOURCE_PORTS))
        few_flows = rng.choice((1, 2, 3, 4, 8, 16, 64, 64, 100, 100_000))
        flows = {Kind.ANY: few_flows, Kind.CROWDED: 1000, Kind.VAST: 100_000}[self.kind]
        return Limits(flows, times, range(1024, 7000) if self.kind is Kind.VAST else ports)
