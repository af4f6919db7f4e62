"""Choose the backend of a new flow: index what control has prepared, and keep count.

The policy (cycles, Maglev tables) is made on the control side, see `pktlb.policy`.
"""

from collections.abc import Callable
from typing import Final

from pktlb.datapath.flow import Tally
from pktlb.datapath.packet import EndpointKey, FlowKey, source
from pktlb.datapath.siphash import siphash
from pktlb.datapath.tables import ServiceTable, Tables
from pktlb.model import Endpoint, Scheduler


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


def _pick_by_cycle(table: ServiceTable, standing: Standing, key: FlowKey, secret: bytes) -> int:
    return table.slots[standing.picks % len(table.slots)]


def _pick_by_source(table: ServiceTable, standing: Standing, key: FlowKey, secret: bytes) -> int:
    return table.slots[siphash(secret, source(key).address) % len(table.slots)]


def _pick_least(table: ServiceTable, standing: Standing, key: FlowKey, secret: bytes) -> int:
    """Fewest active flows per weight; then the longest not chosen; then the first."""
    tallies = [standing.tally(backend) for backend in table.backends]
    # Active counts over weights, compared as exact fractions: floats would tie where none is.
    least = 0
    for index in range(1, len(tallies)):
        mine = tallies[index].active * table.weights[least]
        best = tallies[least].active * table.weights[index]
        if mine < best or (mine == best and tallies[index].turn < tallies[least].turn):
            least = index
    return least


_PICKERS: Final[dict[Scheduler, Callable[[ServiceTable, Standing, FlowKey, bytes], int]]] = {
    Scheduler.RR: _pick_by_cycle,
    Scheduler.LC: _pick_least,
    Scheduler.SOURCE: _pick_by_source,
}


class Schedulers:
    """The standings of all services, and the pick."""

    def __init__(self) -> None:
        self._standings: dict[EndpointKey, Standing] = {}

    def pick(
        self, table: ServiceTable, key: FlowKey, secret: bytes
    ) -> tuple[Endpoint, Tally] | None:
        """The backend of a new flow and its tally, or None where no backend takes flows."""
        if not table.backends:
            return None
        standing = self._standings.setdefault(table.key, Standing())
        backend = table.backends[_PICKERS[table.scheduler](table, standing, key, secret)]
        standing.picks += 1
        tally = standing.tally(backend)
        tally.turn = standing.picks
        return backend, tally

    def adapt(self, tables: Tables) -> None:
        """Forget what belongs to services and backends that are gone."""
        for key, standing in list(self._standings.items()):
            table = tables.services.get(key)
            standing.forget(table.backends if table else ())
            if table is None and not standing.tallies:
                del self._standings[key]
