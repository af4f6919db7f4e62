"""A mutant: the reference with one name of the datapath replaced while one of its methods runs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.datapath.tables import Tables


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

    def dump(self, now: float, with_ports: bool = True) -> bytes:
        with self._mutant.at_work():
            return super().dump(now, with_ports)

    def load(self, data: bytes, now: float) -> int:
        with self._mutant.at_work():
            return super().load(data, now)

    def kill(self, keys: Iterable[FlowKey]) -> int:
        with self._mutant.at_work():
            return super().kill(keys)
