"""Engines that are wrong in one thing each: what a comparison has to find.

A mutant is the reference with one name of the datapath replaced for as long as it is at work.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pktlb.datapath import checksum, flow, fragment, icmp, pipeline, schedule, segment, snat
from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import FlowKey, source
from pktlb.datapath.pipeline import Dataplane, Limits, Outcome
from pktlb.datapath.schedule import Standing
from pktlb.datapath.siphash import siphash
from pktlb.datapath.tables import ServiceTable, Tables
from pktlb.datapath.tcp import ONE_WAY, TWO_WAY, State
from pktlb.model import Scheduler
from tests.differential.scene import EIGHTH


@dataclass(frozen=True)
class Mutant:
    """What is wrong, and where: `name` of `place` is `value` instead."""

    sentence: str
    place: Any
    name: str
    value: Any

    def __str__(self) -> str:
        return self.sentence

    @contextmanager
    def at_work(self) -> Iterator[None]:
        right = vars(self.place)[self.name]  # as it stands there: a static method stays one
        setattr(self.place, self.name, self.value)
        try:
            yield
        finally:
            setattr(self.place, self.name, right)

    def engine(self, tables: Tables, limits: Limits) -> Dataplane:
        return _Wrong(self, tables, limits)


class _Wrong(Dataplane):
    def __init__(self, mutant: Mutant, tables: Tables, limits: Limits) -> None:
        self._mutant = mutant
        with mutant.at_work():
            super().__init__(tables, limits)

    def handle(self, frame: Frame, now: float) -> Outcome:
        with self._mutant.at_work():
            return super().handle(frame, now)

    def swap(self, tables: Tables) -> None:
        with self._mutant.at_work():
            super().swap(tables)

    def expire(self, now: float, most: int = 256) -> int:
        with self._mutant.at_work():
            return super().expire(now, most)


_find, _expire = flow.FlowTable.find, flow.FlowTable.expire
_deltas, _adapt = flow._deltas, schedule.Schedulers.adapt


def _other_picker(
    scheduler: Scheduler, pick: Callable[[ServiceTable, Standing, FlowKey, bytes], int]
) -> dict[Scheduler, Any]:
    return {**schedule._PICKERS, scheduler: pick}


def _give_back_first(self: snat.SourcePorts, backend: Any, endpoint: Any) -> None:
    self._pools[backend].returned.appendleft(endpoint)


UNREACHED: Final = {
    ("ONE_WAY", state) for state in (State.SYN_RECEIVED, State.CLIENT_FIN, State.BACKEND_FIN)
}
"States that only a backend's packets, or another table, lead to."

MUTANTS: Final = [
    Mutant("ports are left out of the checksum", flow, "_deltas",
           lambda key, reverse: (_deltas(key, reverse)[0],) * 2),
    Mutant("a datagram that was not summed gets a checksum", checksum, "update_udp",
           checksum.update),
    Mutant("a UDP sum of 0 is sent as 0", checksum, "update_udp",
           lambda check, by: check and checksum.update(check, by)),
    Mutant("a partial checksum is taken for a full one", checksum, "update_partial",
           checksum.update),
    Mutant("the TTL is not in the header checksum", checksum, "TTL_DELTA", 0),
    Mutant("flows live an eighth of a second longer", flow.FlowTable, "find",
           lambda self, key, now: _find(self, key, now - EIGHTH)),
    Mutant("flows live an eighth of a second less", flow.FlowTable, "find",
           lambda self, key, now: _find(self, key, now + EIGHTH)),
    Mutant("expiry is an eighth of a second late", flow.FlowTable, "expire",
           lambda self, now, most: _expire(self, now - EIGHTH, most)),
    Mutant("expiry takes one too many", flow.FlowTable, "expire",
           lambda self, now, most: _expire(self, now, most + 1)),
    Mutant("a full table makes no room", flow.FlowTable, "make_room",
           lambda self, now: len(self) < self._capacity),
    Mutant("round robin begins with the second", schedule, "_PICKERS",
           _other_picker(Scheduler.RR, lambda table, standing, key, secret:
                         table.slots[(standing.picks + 1) % len(table.slots)])),
    Mutant("least connections forget who has waited", schedule, "_PICKERS",
           _other_picker(Scheduler.LC, lambda table, standing, key, secret: min(
               range(len(table.backends)),
               key=lambda i: standing.tally(table.backends[i]).active / table.weights[i]))),
    Mutant("the source's port is hashed as well", schedule, "_PICKERS",
           _other_picker(Scheduler.SOURCE, lambda table, standing, key, secret: table.slots[
               siphash(secret, source(key).address + key[-5:-3]) % len(table.slots)])),
    Mutant("gone services leave their counts behind", schedule.Schedulers, "adapt",
           lambda self, tables: None),
    Mutant("PSH stays on each piece", segment, "PSH", 0),
    Mutant("FIN stays on each piece", segment, "FIN", 0),
    Mutant("CWR stays on each piece", segment, "CWR", 0),
    Mutant("a frame with the ECN bit cannot be cut", segment, "GSO_ECN", 0),
    Mutant("no option is in later fragments", fragment, "_COPIED", 0),
    Mutant("ICMP quotes one byte less", icmp, "_QUOTE", icmp._QUOTE - 1),
    Mutant("the pool gives out first what came back last", snat.SourcePorts, "give_back",
           _give_back_first),
    Mutant("what came back rests less", snat, "REST", snat.REST - 1),
    Mutant("one port fewer is tried", pipeline, "_CLASH_TRIES", 63),
    Mutant("no flow moves to another backend", pipeline, "_MOVABLE", frozenset()),
    Mutant("a closed flow holds its port", Dataplane, "_reopens",
           staticmethod(lambda flow, view: False)),
    Mutant("the longest tunnelled packet is a byte shorter", pipeline, "_LONGEST", 0xFFFE),
    *(
        Mutant(f"{name} misses {state.name}, {event.name}", pipeline, name,
               {each: to for each, to in table.items() if each != (state, event)})
        for name, table in (("TWO_WAY", TWO_WAY), ("ONE_WAY", ONE_WAY))
        for state, event in table
        if (name, state) not in UNREACHED
    ),
]  # fmt: skip
