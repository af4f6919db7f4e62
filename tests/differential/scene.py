"""A balancer's surroundings, drawn by chance and changed by chance: what its tables are made of.

Few of everything, so that things meet: backends serve several services, and are clients of them;
a service may be dialled at an address that stands in for clients.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from random import Random
from typing import Any, Final

from pktlb.engine.datapath.limits import SOURCE_PORTS, Limits
from pktlb.engine.datapath.tables import NextHop, PortInfo, ServiceKey, ServiceTable, Tables
from pktlb.model import (
    HASHES,
    Endpoint,
    HashFields,
    HashOn,
    Mode,
    OnRemove,
    Proto,
    Scheduler,
    Timeouts,
    Vip,
)
from pktlb.plan import slots as tables_of
from tests.support.gateway import reply_ends
from tests.support.packets import packed

INDEXES: Final = (1, 2, 1_000_000)
NO_INDEX: Final = 9
"An interface that the tables do not know."
VIPS: Final = tuple(
    map(
        packed,
        (
            "10.0.1.100", "10.0.1.101", "10.0.2.9",
            "2001:db8:1::64", "a00:164::", "2001:db8:2::9",
        ),
    )
)  # fmt: skip
"Of each family the last is in the pool as well; an IPv6 one looks like one of IPv4 with zeros."
BACKENDS: Final = tuple(
    packed(each.format(host)) for each in ("10.0.2.{}", "2001:db8:2::{}") for host in range(2, 7)
)
POOL: Final = tuple(map(packed, ("10.0.2.9", "10.0.2.10", "2001:db8:2::9", "2001:db8:2::a")))
SOURCES: Final = {4: packed("10.0.2.1"), 16: packed("2001:db8:2::1")}
OWN: Final = (
    *map(packed, ("10.0.1.1", "10.0.2.1", "2001:db8:1::1", "2001:db8:2::1")),
    *VIPS[:2],
    *VIPS[3:5],
)
BROADCASTS: Final = frozenset(map(packed, ("10.0.1.255", "10.0.2.255")))
SERVICE_PORTS: Final = (80, 5001, 65535)
BACKEND_PORTS: Final = (80, 5000, 8080)
RANGES: Final = ((79, 81), (80, 5001), (5000, 65535), (0, 65535), (0, 65535))
NUMBERS: Final = (Proto.GRE, Proto.ESP, Proto.SCTP, Proto.DCCP, Proto.UDPLITE, Proto.IPIP, 99)
"Protocols without ports that are seen."
BOTH: Final = (Proto.TCP, Proto.UDP)
EIGHTH: Final = 0.125
"Seconds: the grain of time here, which is a whole number of milliseconds."


class Kind(Enum):
    """The kind of bound that a scene makes easy to reach."""

    ANY = "any values"
    CROWDED = "all services have one backend, and clients meet there under their own names"
    VAST = "more flows and source ports than are ever used"


class Scene:
    """The surroundings as they are now. A change takes effect with the next call of `tables`."""

    def __init__(self, rng: Random) -> None:
        self.rng: Final = rng
        self.mtus = rng.choice([
            (68, 69, 100, 121, 300, 600), (600, 1500), (1500,), (9000, 65536),
            (1280, 1281, 1299, 1300, 1301, 1320, 1321),
        ])  # fmt: skip
        (self.kind,) = rng.choices(tuple(Kind), weights=(75, 14, 11))
        self.sizes = rng.choice(((4,), (16,), (4, 16), (4, 16)))
        alone = self.kind is not Kind.ANY
        count = 1 if alone else rng.choice((1, 2, 5, 5))
        self.machines = [
            each
            for size in (4, 16)
            for each in rng.sample([b for b in BACKENDS if len(b) == size], count)
        ]
        self.backend_ports = rng.choice(
            (BACKEND_PORTS[:1], BACKEND_PORTS[1:], BACKEND_PORTS, (0,), (0, *BACKEND_PORTS))
        )
        self.ports = {index: self._port() for index in INDEXES}
        self.hops = {address: self._hop(address) for address in BACKENDS}
        self.services: dict[ServiceKey, ServiceTable] = {}
        self.removed: dict[tuple[ServiceKey, Endpoint], OnRemove] = {}
        pool = {Kind.ANY: (0, 0, 1, 2, 3), Kind.CROWDED: (0,), Kind.VAST: (4,)}[self.kind]
        self.snat = frozenset(rng.sample(POOL, rng.choice(pool)))
        self.hash_key = rng.randbytes(16)
        self.own: frozenset[bytes] = frozenset()
        self.own_ports = range(0)
        self.spread: frozenset[int] = frozenset()
        self.limits = self._limits()
        for _ in range(rng.randint(1, 6)):
            self.add_service()
        if self.kind is Kind.CROWDED:
            first = next(vip for vip in VIPS if len(vip) in self.sizes)
            for port in SERVICE_PORTS[:2]:
                self._put(Vip(first, port, port, (Proto.TCP,)), Mode.NAT)
        if rng.random() < 0.3:
            self.add_any()
        self.shuffle_own()

    def tables(self) -> Tables:
        return Tables.of(
            self.services.values(),
            [end for each in self.nat_services() for end in reply_ends(each)],
            dict(self.hops),
            snat=self.snat,
            ports=dict(self.ports),
            hash_key=self.hash_key,
            own=self.own,
            broadcasts=BROADCASTS if self.own else frozenset(),
            own_ports=self.own_ports,
            spread=self.spread,
            appliances=frozenset(self.appliances()),
            removed=dict(self.removed),
        )

    def appliances(self) -> Iterator[bytes]:
        """MACs of the backends of the service for anything."""
        for each in self.services.values():
            if each.vip.any:
                yield from (self.hops[b.address].macs[:6] for b in each.backends
                            if b.address in self.hops)  # fmt: skip

    def change(self) -> None:
        """Change one thing, drawn by chance."""
        changes = [
            self.add_service, self.add_service, self.alter_service, self.alter_service,
            self.remove_service, self.toggle_hop, self.toggle_hop, self.toggle_port,
            self.shuffle_own, self.change_key, self.change_pool, self.add_any, self.alter_removed,
        ]  # fmt: skip
        for _ in range(self.rng.choice([1, 1, 2, 5])):
            self.rng.choice(changes)()

    def add_service(self) -> None:
        """Add a service, or replace one at the same address."""
        self._put(self._vip(), self.rng.choice((Mode.NAT, Mode.NAT, Mode.DSR, Mode.TUNNEL)))

    def add_any(self) -> None:
        """Replace the service for anything; where there is none, seldom add it."""
        if not self.services or self.spread or self.rng.random() < 0.5:
            count = self.rng.randint(0, len(INDEXES))
            self.spread = frozenset(self.rng.sample(INDEXES, count))
        self._put(Vip(b""), Mode.DSR)

    def alter_service(self) -> None:
        """Change the backends, weights and scheduler of a service, now and then its mode."""
        old = self._any_service()
        if old is not None:
            mode = self.rng.choice((old.mode, old.mode, old.mode, *Mode))
            self._put(old.vip, Mode.DSR if old.vip.any else mode)

    def remove_service(self) -> None:
        old = self._any_service()
        if old is not None and len(self.services) > 1:
            del self.services[old.key]
            self._note_removed(old, ())

    def alter_removed(self) -> None:
        """Change how the flows of a removed backend end, or forget it. Seldom mark one that is a
        member still, as if control were wrong."""
        old = self._any_service()
        if old is not None and old.members and self.rng.random() < 0.2:
            self.removed[old.key, self.rng.choice(old.members)] = self._on_remove()
        for gone in list(self.removed):
            if self.rng.random() < 0.3:
                del self.removed[gone]
            elif self.rng.random() < 0.3:
                self.removed[gone] = self._on_remove()

    def toggle_hop(self) -> None:
        """Remove or add the next hop of a backend, perhaps with another MAC."""
        address = self.rng.choice(BACKENDS)
        if self.hops.pop(address, None) is None or self.rng.random() < 0.3:
            self.hops[address] = self._hop(address)

    def toggle_port(self) -> None:
        """Remove or add an interface, perhaps with another MAC and MTU."""
        index = self.rng.choice(INDEXES)
        if self.ports.pop(index, None) is None or self.rng.random() < 0.5:
            self.ports[index] = self._port()

    def shuffle_own(self) -> None:
        self.own = frozenset(self.rng.sample(OWN, self.rng.randint(0, len(OWN))))
        self.own_ports = self.rng.choice((range(0), range(0), range(5001, 5003), range(4000, 4999)))

    def change_key(self) -> None:
        self.hash_key = self.rng.randbytes(16)

    def change_pool(self) -> None:
        """Change the pool. A plane allots from the pool of its start, but judges replies by this
        one."""
        if self.rng.random() < 0.3:
            self.snat = frozenset(self.rng.sample(POOL, self.rng.randint(0, 3)))

    def any_end(self) -> tuple[Endpoint, int]:
        """An end to dial, and its protocol; mostly there is a service."""
        rng = self.rng
        old = self._any_service()
        known = old is not None and not old.vip.any and rng.random() < 0.95
        vip = old.vip if old is not None and known else self._vip()
        low, high = vip.low, vip.high
        port = rng.choice((low, high, rng.randint(low, high), min(max(low, 80), high)))
        protos = vip.protos or (*BOTH, *BOTH, *BOTH, *NUMBERS)
        return Endpoint(vip.address, port), rng.choice(protos)

    def nat_services(self) -> list[ServiceTable]:
        return [
            each
            for each in self.services.values()
            if each.mode is Mode.NAT or Mode.NAT in each.modes
        ]

    def macs_to(self, index: int, mac: bytes) -> bytes:
        """The first 12 bytes of a frame from `mac` to the balancer."""
        port = self.ports.get(index)
        return (port.mac if port else bytes(6)) + mac

    def _vip(self) -> Vip:
        rng = self.rng
        address = rng.choice([vip for vip in VIPS if len(vip) in self.sizes])
        kind = rng.random()
        if kind < 0.6:
            port = rng.choice(SERVICE_PORTS)
            protos = rng.choice((BOTH[:1], BOTH[:1], BOTH[1:], BOTH))
            return Vip(address, port, port, protos)
        if kind < 0.8:
            return Vip(address, *rng.choice(RANGES), rng.choice((BOTH[:1], BOTH[1:], BOTH)))
        if kind < 0.9:
            return Vip(address)
        return Vip(address, protos=(rng.choice(NUMBERS),))

    def _any_service(self) -> ServiceTable | None:
        return self.rng.choice(list(self.services.values())) if self.services else None

    def _put(self, vip: Vip, mode: Mode) -> None:
        rng = self.rng
        machines = [
            each
            for each in self.machines
            if vip.any or mode is Mode.TUNNEL or len(each) == len(vip.address)
        ]
        count = min(rng.choice((0, 1, 1, 2, 2, 3, 4, 5)), len(machines))
        single = vip.low if vip.low == vip.high else 0
        ported = set(vip.protos) <= set(BOTH) and bool(vip.protos)
        port = (rng.choice(self.backend_ports) if ported else 0) or single
        port = port if mode is Mode.NAT else single
        wanted = [Endpoint(address, port) for address in rng.sample(machines, count)]
        if wanted and port not in (0, 80) and mode is Mode.NAT and rng.random() < 0.1:
            wanted.append(Endpoint(wanted[0].address, 80))  # two servers of one machine
        members = wanted
        if rng.random() < 0.7:
            wanted = [
                b for b in wanted if b.address in self.hops
            ]  # control leaves out unreachable backends
        if rng.random() < 0.2:
            wanted = [b for b in wanted if rng.random() < 0.7]
        modes = self._modes(vip, mode, wanted)
        weights = tuple(self._weight() for _ in wanted)
        thresholds = self._thresholds(wanted)
        scheduler = rng.choice((*Scheduler, Scheduler.P2C if thresholds else Scheduler.HASH))
        hash_on = HASHES.get(scheduler, HashOn())
        if scheduler is Scheduler.HASH:
            hash_on = self._hash_on()
        table = ServiceTable(
            vip, mode, scheduler, tuple(wanted), weights, self._slots(scheduler, wanted, weights),
            hash_on, one_packet=rng.random() < 0.2,
            pick_up=scheduler in HASHES or rng.random() < 0.2,
            members=tuple(members), modes=modes, thresholds=thresholds,
            direct=mode is not Mode.NAT or bool(set(modes) - {Mode.NAT}), **self._persistence(vip),
        )  # fmt: skip
        before = self.services.get(table.key)
        self.services[table.key] = table
        if before:
            self._note_removed(before, table.members)

    def _note_removed(self, before: ServiceTable, members: Sequence[Endpoint]) -> None:
        """Mostly say how the flows of backends that have left end."""
        for backend in before.members:
            self.removed.pop((before.key, backend), None)
            if backend not in members and self.rng.random() < 0.8:
                self.removed[before.key, backend] = self._on_remove()

    def _on_remove(self) -> OnRemove:
        return self.rng.choice((OnRemove.RESET, OnRemove.RESET, OnRemove.DROP, OnRemove.KEEP))

    def _modes(self, vip: Vip, mode: Mode, backends: list[Endpoint]) -> tuple[Mode, ...]:
        """The modes of backends; seldom each has one of its own. Only a tunnel goes to the other
        family."""
        if vip.any or self.rng.random() < 0.8:
            return ()
        return tuple(
            self.rng.choice(tuple(Mode)) if len(b.address) == len(vip.address) else Mode.TUNNEL
            for b in backends
        )

    def _thresholds(self, backends: list[Endpoint]) -> tuple[tuple[int, int], ...]:
        if self.rng.random() < 0.7:
            return ()
        uppers = [self.rng.choice((0, 1, 2, 3, 4, 10)) for _ in backends]
        return tuple((upper, self.rng.randint(0, upper + 1)) for upper in uppers)

    def _persistence(self, vip: Vip) -> dict[str, Any]:
        """The persistence of a service: mostly as it was, where there was one."""
        rng = self.rng
        old = next((each for each in self.services.values() if each.vip == vip), None)
        if old is not None and old.persist_s and rng.random() < 0.8:
            names = ("persist_s", "persist4", "persist6")
            return {name: getattr(old, name) for name in names}
        if rng.random() < 0.7:
            return {}
        return {
            "persist_s": rng.choice((1, 1, 2, 5, 40)),
            "persist4": rng.choice((32, 32, 31, 24, 9, 0)),
            "persist6": rng.choice((128, 128, 127, 64, 1, 0)),
        }

    def _hash_on(self) -> HashOn:
        rng = self.rng
        return HashOn(
            rng.choice(list(HashFields)),
            rng.choice((0, 1, 8, 20, 24, 31, 32)),
            rng.choice((0, 1, 48, 56, 61, 64, 127, 128)),
            rng.random() < 0.5,
        )

    def _slots(
        self, scheduler: Scheduler, backends: list[Endpoint], weights: tuple[int, ...]
    ) -> Sequence[int]:
        """Slots as control works them out, mostly fewer of them, which is quicker."""
        if not backends or scheduler in (Scheduler.LC, Scheduler.SED, Scheduler.NQ):
            return ()
        if scheduler in (Scheduler.RR, Scheduler.P2C):
            return tables_of.weighted_cycle(weights)
        names = [str(backend).encode() for backend in backends]
        few = self.rng.choice((7, 31, 251)) if self.rng.random() < 0.99 else tables_of.MAGLEV_SLOTS
        return tables_of.maglev_table(names, weights, self.hash_key, few)

    def _weight(self) -> int:
        return self.rng.choice((1, 1, 1, 2, 3, 7)) if self.rng.random() < 0.97 else 65535

    def _port(self) -> PortInfo:
        some = self.rng.choice(((4, 16), (4, 16), (4,), (16,), ()))
        addresses = {size: SOURCES[size] for size in some}
        return PortInfo(b"\2" + self.rng.randbytes(5), self.rng.choice(self.mtus), addresses)

    def _hop(self, address: bytes) -> NextHop:
        index = self.rng.choice(INDEXES)
        port = self.ports[index] if index in self.ports else self._port()
        macs = b"\2" + self.rng.randbytes(5) + port.mac
        return NextHop(index, macs, self.rng.choice(self.mtus), SOURCES[len(address)])

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
        vast = self.kind is Kind.VAST
        return Limits(flows, times, range(1024, 7000) if vast else ports, rng.randbytes(16))
