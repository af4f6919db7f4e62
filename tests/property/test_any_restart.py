"""Lives in which planes start anew, from their own dump or from that of the other kind."""

import pytest

from pktlb.engine.datapath import memory, pin, snat
from pktlb.engine.datapath.pipeline import Dataplane
from tests.differential.engines import ENGINES
from tests.differential.mutant import Mutant
from tests.differential.step import Restart, Step
from tests.differential.story import Life
from tests.differential.traffic import Traffic
from tests.differential.twins import DifferenceError, Pair, Twins

STEPS = 900
EVERY = 150
"Steps from one start to the next."
SEEDS = (*range(4), 19, 50, 54)
"The last three meet full backends, and pins whose flows have ended."
LIVES = 60
"Seeds within which each wrong plane has to be found."

WRONG = [
    Mutant("no client stays with its backend", pin.Pins, "restore", lambda *all: None),
    Mutant("pins do not know their flows", pin.Pins, "refer", lambda self, pin: None),
    Mutant("endpoints in use are given out", snat.SourcePorts, "settle", lambda self: None),
    Mutant("no endpoint is known again", snat.SourcePorts, "claim", lambda *all: False),
    Mutant("all loaded flows have just been seen", memory.Loader, "_age", lambda self, seen: 0),
    Mutant("single datagrams are flows for good", memory, "SINGLE", 0),
]
"Each dumps or loads something wrong."


def run(seed: int, pair: Pair, tell: bool = True) -> None:
    """Lead one life; returns the story of the first difference, if there is one."""
    traffic = Traffic(seed)
    tables, limits = traffic.scene.tables(), traffic.scene.limits
    twins = Twins(pair, tables, limits)
    taken: list[Step] = []
    try:
        while len(taken) < STEPS or traffic.busy:
            step = traffic.next(twins.reference.flows)
            taken.append(step)
            traffic.learn(step, twins.take(step))
            if len(taken) % EVERY == 0 and not traffic.busy:
                taken.append(Restart(traffic.now, crossed=len(taken) % (2 * EVERY) > 0))
                twins.take(taken[-1])
        twins.look()
    except DifferenceError as found:
        if not tell:
            raise
        story = Life(pair, tables, limits).tell(taken, found)
        raise DifferenceError(f"seed {seed}, step {len(taken)}; shortened:\n{story}") from None


@pytest.mark.parametrize("seed", SEEDS)
def test_both_engines_go_the_same_way_over_restarts(seed: int) -> None:
    run(seed, ENGINES)


def finds(mutant: Mutant, seed: int) -> bool:
    try:
        run(seed, Pair(Dataplane, mutant.engine), tell=False)
    except DifferenceError:
        return True
    return False


@pytest.mark.parametrize("mutant", WRONG, ids=str)
def test_a_plane_that_dumps_or_loads_wrongly_is_found(mutant: Mutant) -> None:
    assert any(finds(mutant, seed) for seed in range(LIVES))
