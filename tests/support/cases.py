"""A case: one sentence, tables, a packet, and the outcome that it must have."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Reason
from tests.support.gateway import Gateway, MakePlane
from tests.support.packets import WORLDS, Packet, World


@dataclass(frozen=True)
class Case:
    """`given` after `before` ends in `reason` and in the frames of `expect`, byte for byte."""

    sentence: str
    tables: Tables
    given: Packet | Frame
    reason: Reason
    expect: Sequence[Packet | Frame] = ()
    before: Sequence[Packet | Frame] = ()
    "Packets that arrive before; their outcomes are not compared."
    limits: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.sentence

    def check(self, engine: MakePlane) -> None:
        gateway = Gateway(engine, self.tables, **self.limits)
        for earlier in self.before:
            gateway.receive(earlier)
        gateway.expect(self.given, self.reason, *self.expect)


def both(cases: Callable[[World], Iterable[Case]]) -> list[Any]:
    """A table of cases in each family, for `pytest.mark.parametrize`."""
    return [pytest.param(case, id=f"{world}: {case}") for world in WORLDS for case in cases(world)]


each_world = pytest.mark.parametrize("world", WORLDS, ids=str)
"A test in both families."
