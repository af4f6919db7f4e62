"""Lives out of seeds, each led by both planes to its end."""

from tests.differential.step import Step
from tests.differential.story import Life
from tests.differential.traffic import Traffic
from tests.differential.twins import DifferenceError, Pair, Twins

STEPS = 2000
"Steps of one life: long enough for tables to fill, short enough to make a story of it."


def run(seed: int, pair: Pair, steps: int = STEPS) -> dict[str, int]:
    """Lead one life; returns the counts of the reference. Raises `DifferenceError` with the
    story of the first difference."""
    traffic = Traffic(seed)
    tables, limits = traffic.scene.tables(), traffic.scene.limits
    taken: list[Step] = []
    try:
        return lead(traffic, Twins(pair, tables, limits), taken, steps)
    except DifferenceError as found:
        story = Life(pair, tables, limits).tell(taken, found)
        raise DifferenceError(f"seed {seed}, step {len(taken)}; shortened:\n{story}") from None


def lead(traffic: Traffic, twins: Twins, taken: list[Step], steps: int) -> dict[str, int]:
    """Take so many steps of a life, or a few more, and append each to `taken` before it is
    taken."""
    while len(taken) < steps or traffic.busy:
        step = traffic.next(twins.reference.flows)
        taken.append(step)
        traffic.learn(step, twins.take(step))
    twins.look()
    return {reason.name: count for reason, count in twins.reference.counts.items()}
