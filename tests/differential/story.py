"""A life in which two planes differ, made as short as possible and put in words."""

from collections.abc import Sequence
from time import monotonic
from typing import Final

from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.tables import Tables
from tests.differential.step import Step, tell, tell_limits, tell_tables
from tests.differential.twins import DifferenceError, Pair, Twins

PATIENCE_S: Final = 15.0
"How long a story is made shorter before it is told as it is."


class Life:
    """The start of a life, from which its steps can be taken again: tables, limits and planes."""

    def __init__(self, pair: Pair, tables: Tables, limits: Limits) -> None:
        self._pair = pair
        self._tables = tables
        self._limits = limits

    def tell(self, steps: Sequence[Step], found: DifferenceError) -> str:
        """The shortest story of a difference that can be found, step by step."""
        short = self.shortened(steps)
        twins = Twins(self._pair, self._tables, self._limits, every=1)
        lines = [f"limits: {tell_limits(self._limits)}", f"first {tell_tables(self._tables)}"]
        try:
            for number, step in enumerate(short, 1):
                lines.append(f"{number}. {tell(step)}")
                outcome = twins.take(step)
                twins.look()
                lines.append(f"   -> {said(outcome)}")
        except DifferenceError as difference:
            return "\n".join([*lines, str(difference)])
        return "\n".join([*lines, "this time nothing differed, but before:", str(found)])

    def shortened(self, steps: Sequence[Step]) -> list[Step]:
        """Leave out steps that the difference does not need: halves first, single steps last."""
        until = monotonic() + PATIENCE_S
        end = self.parts_at(steps)
        if end is None:
            return list(steps)
        kept = list(steps[:end])
        size = len(kept) // 2
        while size and monotonic() < until:
            at, before = 0, len(kept)
            while at < len(kept) and monotonic() < until:
                fewer = kept[:at] + kept[at + size :]
                shorter = self.parts_at(fewer)
                if shorter is None:
                    at += size
                else:
                    kept = fewer[:shorter]
            size = size // 2 if len(kept) == before or size > 1 else size
        return kept

    def parts_at(self, steps: Sequence[Step]) -> int | None:
        """The number of these steps after which the planes differ; None: they do not."""
        twins = Twins(self._pair, self._tables, self._limits, every=1)
        for number, step in enumerate(steps, 1):
            try:
                twins.take(step)
            except DifferenceError:
                return number
        return None


def said(outcome: Outcome | None) -> str:
    return f"{outcome.reason.name}, {len(outcome.frames)} frames" if outcome else "done"
