"""Choose the backend of a new flow: index what control has prepared, and keep count.

The policy (cycles, Maglev tables) is made on the control side, see `pktlb.policy`.
"""

from collections.abc import Callable
from typing import Final

from pktlb.datapath.flow import Tally
from pktlb.datapath.frame import Frame
from pktlb.datapath.keys import FlowKey
from pktlb.datapath.siphash import siphash
from pktlb.datapath.tables import ServiceKey, ServiceTable, Tables
from pktlb.model import Endpoint, HashFields, HashOn, Scheduler


class Standing:
    """What a scheduler remembers of one service from pick to pick."""

    def __init__(self) -> None:
        self.picks = 0
        self.tallies: dict[Endpoint, Tally] = {}

    def tally(self, backend: Endpoint) -> Tally:
        """The count of a backend; one that was never seen starts with none."""
        return self.tallies.setdefault(backend, Tally())

    def forget(self, keep: tuple[Endpoint, ...]) -> None:
        """Drop the counts of backends that are not in `keep` and have no flow left."""
        kept = set(keep)
        self.tallies = {b: t for b, t in self.tallies.items() if t.active or b in kept}


_Picker = Callable[[ServiceTable, Standing, bytes, bytes], int]
"Of a service, its standing, what of the packet is hashed, and the key of the hash."


def hashed(fields: HashOn, key: FlowKey, frame: Frame) -> bytes:
    """What of a packet a scheduler hashes."""
    size = (len(key) - 5) // 2
    if fields.fields is HashFields.MAC:
        return bytes(frame.data[6:12])
    if fields.fields is HashFields.SOURCE:
        return _masked(key[:size], fields.prefix4 if size == 4 else fields.prefix6)
    with_ports = fields.fields is HashFields.FIVE_TUPLE
    here = key[:size] + (key[-5:-3] if with_ports else b"")
    there = key[size : 2 * size] + (key[-3:-1] if with_ports else b"")
    if fields.symmetric and there < here:
        here, there = there, here
    return here + there + (key[-1:] if with_ports else b"")


def _masked(address: bytes, prefix: int) -> bytes:
    bits = 8 * len(address)
    kept = int.from_bytes(address, "big") >> (bits - prefix) << (bits - prefix)
    return kept.to_bytes(len(address), "big")


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
    loads = [standing.tally(table.backends[place]).active for place in (first, second)]
    better = loads[1] * table.weights[first] < loads[0] * table.weights[second]
    return second if better else first


def _least(delay: Callable[[int], tuple[int, int]]) -> _Picker:
    """A picker of the least `delay`, which a number of flows gives: idle or not, then what is to be
    divided by the weight. Among equals the longest not chosen, then the first."""

    def pick(table: ServiceTable, standing: Standing, data: bytes, secret: bytes) -> int:
        tallies = [standing.tally(backend) for backend in table.backends]
        delays = [delay(tally.active) for tally in tallies]
        least = 0
        for index in range(1, len(tallies)):
            # Compared as exact fractions: floats would tie where none is.
            (rank, load), (best_rank, best_load) = delays[index], delays[least]
            mine = (rank, load * table.weights[least], tallies[index].turn)
            if mine < (best_rank, best_load * table.weights[index], tallies[least].turn):
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


class Schedulers:
    """The standings of all services, and the pick."""

    def __init__(self) -> None:
        self._standings: dict[ServiceKey, Standing] = {}

    def pick(
        self, table: ServiceTable, data: bytes, secret: bytes
    ) -> tuple[Endpoint, Tally] | None:
        """The backend of a new flow and its tally, or None where no backend takes flows."""
        if not table.backends:
            return None
        standing = self._standings.setdefault(table.key, Standing())
        backend = table.backends[_PICKERS[table.scheduler](table, standing, data, secret)]
        standing.picks += 1
        tally = standing.tally(backend)
        tally.turn = standing.picks
        return backend, tally

    def adapt(self, tables: Tables) -> None:
        """Forget what belongs to services and backends that are gone."""
        kept = {table.key: table for table in tables.all_services}
        for key, standing in list(self._standings.items()):
            table = kept.get(key)
            standing.forget(table.backends if table else ())
            if table is None and not standing.tallies:
                del self._standings[key]
