"""The choice of a new flow's backend: index the slots that control has prepared, and keep count.

Slots (weighted cycles, Maglev tables) are made by `pktlb.plan.slots`. This module does not
know why a backend takes no new flows: `ServiceTable.backends` has only those that do.
"""

from collections.abc import Callable, Container
from typing import Final, NamedTuple

from pktlb.engine.datapath.address import masked
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.siphash import siphash
from pktlb.engine.datapath.tables import ServiceKey, ServiceTable, Tables
from pktlb.engine.datapath.tally import Count, Tally
from pktlb.model import HASHES, Endpoint, HashFields, HashOn, Mode, Scheduler


class Chosen(NamedTuple):
    """The backend of a new flow."""

    backend: Endpoint
    "As configured, or with the port dialled where none is configured."
    tally: Tally
    mode: Mode


class Standing:
    """What a scheduler remembers of one service from pick to pick."""

    def __init__(self, service: bytes) -> None:
        self._service: Final = service
        self.members: frozenset[Endpoint] = frozenset()
        self.picks = 0
        self.tallies: dict[Endpoint, Tally] = {}

    def tally(self, backend: Endpoint) -> Tally:
        """The tally of a backend; made where there is none yet."""
        if backend not in self.tallies:
            self.tallies[backend] = Tally(self._service, backend)
        return self.tallies[backend]

    def adapt(self, table: ServiceTable | None) -> None:
        """Let the service be as in `table`; None: there is none. Forgets tallies of backends that
        are not its members and have neither flows nor pins left."""
        self.members = frozenset([*table.backends, *table.members]) if table else frozenset()
        for backend, tally in list(self.tallies.items()):
            tally.thresholds = (0, 0)
            if not tally.flows and not tally.pins and backend not in self.members:
                del self.tallies[backend]
        for backend in self.members:
            self.tally(backend)
        if table and table.thresholds:
            for backend, thresholds in zip(table.backends, table.thresholds, strict=True):
                self.tally(backend).thresholds = thresholds


_Picker = Callable[[ServiceTable, Standing, bytes, bytes], int]
"From a service, its standing, the bytes to hash and the key of the hash to a place in `backends`."


def hashed(fields: HashOn, key: FlowKey, frame: Frame) -> bytes:
    """The bytes of a packet that a scheduler hashes."""
    size = (len(key) - 5) // 2
    if fields.fields is HashFields.MAC:
        return bytes(frame.data[6:12])
    if fields.fields is HashFields.SOURCE:
        return masked(key[:size], fields.prefix4 if size == 4 else fields.prefix6)
    with_ports = fields.fields is HashFields.FIVE_TUPLE
    here = key[:size] + (key[-5:-3] if with_ports else b"")
    there = key[size : 2 * size] + (key[-3:-1] if with_ports else b"")
    if fields.symmetric and there < here:
        here, there = there, here
    return here + there + (key[-1:] if with_ports else b"")


def _pick_by_cycle(table: ServiceTable, standing: Standing, data: bytes, secret: bytes) -> int:
    return table.slots[standing.picks % len(table.slots)]


def _pick_by_hash(table: ServiceTable, standing: Standing, data: bytes, secret: bytes) -> int:
    return table.slots[siphash(secret, data) % len(table.slots)]


def _pick_of_two(table: ServiceTable, standing: Standing, data: bytes, secret: bytes) -> int:
    """The better of two, drawn in proportion to their weights (Mitzenmacher, "The Power of Two
    Choices in Randomized Load Balancing", 2001)."""
    draw = siphash(secret, standing.picks.to_bytes(8, "little"))
    slots = table.slots
    first, at = slots[(draw & 0xFFFFFFFF) % len(slots)], (draw >> 32) % len(slots)
    second = slots[at]
    if second == first:
        second = slots[(at + 1) % len(slots)]
    one, other = (standing.tally(table.backends[place]) for place in (first, second))
    if one.full != other.full:
        return second if one.full else first
    better = other.active * table.weights[first] < one.active * table.weights[second]
    return second if better else first


def _least(delay: Callable[[int], tuple[int, int]]) -> _Picker:
    """A picker of the backend with the least `delay`.

    `delay` gives for a number of open flows a rank, compared first, and a load, which is divided by
    the weight. Full backends come last. Of equals the one that was not chosen for longest is taken,
    then the first.
    """

    def pick(table: ServiceTable, standing: Standing, data: bytes, secret: bytes) -> int:
        tallies = [standing.tally(backend) for backend in table.backends]
        delays = [delay(tally.active) for tally in tallies]
        least = 0
        for index in range(1, len(tallies)):
            # Compared as exact fractions: rounded ones could be equal where these are not.
            (rank, load), (best_rank, best_load) = delays[index], delays[least]
            tally, best = tallies[index], tallies[least]
            mine = (tally.full, rank, load * table.weights[least], tally.turn)
            if mine < (best.full, best_rank, best_load * table.weights[index], best.turn):
                least = index
        return least

    return pick


_PICKERS: Final[dict[Scheduler, _Picker]] = {
    Scheduler.RR: _pick_by_cycle,
    Scheduler.LC: _least(lambda active: (0, active)),
    Scheduler.SED: _least(lambda active: (0, active + 1)),
    Scheduler.NQ: _least(lambda active: (1, active + 1) if active else (0, 0)),
    Scheduler.P2C: _pick_of_two,
    Scheduler.SOURCE: _pick_by_hash,
    Scheduler.MAGLEV: _pick_by_hash,
    Scheduler.HASH: _pick_by_hash,
}


def _not_full(table: ServiceTable, standing: Standing, data: bytes, secret: bytes) -> int | None:
    """The first backend that is not full, from a place drawn by chance on; None: all are full."""
    hashing = table.scheduler in HASHES
    draw = siphash(secret, data + b"\0" if hashing else standing.picks.to_bytes(8, "little"))
    count = len(table.backends)
    places = ((draw + step) % count for step in range(count))
    return next((p for p in places if not standing.tally(table.backends[p]).full), None)


def stay(table: ServiceTable, tally: Tally) -> Chosen | None:
    """The backend of `tally`, which a client stays with; None where it takes no new flows."""
    if tally.backend not in table.backends:
        return None
    return Chosen(tally.backend, tally, table.mode_at(table.backends.index(tally.backend)))


class Schedulers:
    """The standings of all services, and the choice by them."""

    def __init__(self) -> None:
        self.standings: Final[dict[ServiceKey, Standing]] = {}

    def pick(self, table: ServiceTable, data: bytes, secret: bytes) -> Chosen | None:
        """The backend of a new flow of a service, by the bytes to hash and the key of the hash.
        None where it has no backends, or all are full."""
        chosen = self.peek(table, data, secret)
        if chosen is not None:
            standing = self._standing(table.key)
            standing.picks += 1
            chosen.tally.turn = standing.picks
        return chosen

    def peek(self, table: ServiceTable, data: bytes, secret: bytes) -> Chosen | None:
        """What `pick` would choose; no pick is counted."""
        if not table.backends:
            return None
        standing = self._standing(table.key)
        place: int | None = _PICKERS[table.scheduler](table, standing, data, secret)
        if place is not None and standing.tally(table.backends[place]).full:
            place = _not_full(table, standing, data, secret)
        if place is None:
            return None
        tally = standing.tally(table.backends[place])
        return Chosen(table.backends[place], tally, table.mode_at(place))

    def adapt(self, tables: Tables) -> None:
        """Let services and their backends be those of `tables`."""
        kept = {table.key: table for table in tables.all_services}
        for key in self.standings.keys() | kept.keys():
            self._standing(key).adapt(kept.get(key))
        self._forget(kept)

    def counts(self) -> dict[tuple[ServiceKey, Endpoint], Count]:
        """What was counted for each backend that belongs to its service or has flows."""
        return {
            (key, backend): tally.count()
            for key, standing in self.standings.items()
            for backend, tally in standing.tallies.items()
            if tally.flows or backend in standing.members
        }

    def tally(self, service: ServiceKey, backend: Endpoint) -> Tally | None:
        """The tally of a backend of a service, if there is one."""
        standing = self.standings.get(service)
        return standing.tallies.get(backend) if standing else None

    def resume(self, service: ServiceKey, picks: int) -> None:
        """Go on from the number of picks that an earlier process came to."""
        if service in self.standings:
            self.standings[service].picks = picks

    def _standing(self, key: ServiceKey) -> Standing:
        return self.standings.setdefault(key, Standing(key))

    def _forget(self, kept: Container[ServiceKey]) -> None:
        """Forget services that are not `kept` and have no tallies left."""
        for key, standing in list(self.standings.items()):
            if key not in kept and not standing.tallies:
                del self.standings[key]
