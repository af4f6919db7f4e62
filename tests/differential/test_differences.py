"""The comparison itself: it finds each wrong plane, and its story is short."""

import re

import pytest

from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.model import OF_DECAP, Reason
from tests.differential.mutant import Mutant
from tests.differential.mutants import MUTANTS
from tests.differential.refusals import REFUSALS
from tests.differential.soak import STEPS, lead, run
from tests.differential.traffic import Traffic
from tests.differential.twins import DifferenceError, Pair, Twins
from tests.differential.wrong_tracks import TRACKS

LIVES = 200
"Seeds within which each mutant has to be found; most are found with the first one."


def finds(mutant: Mutant, seed: int) -> bool:
    traffic = Traffic(seed)
    pair = Pair(Dataplane, mutant.engine)
    twins = Twins(pair, traffic.scene.tables(), traffic.scene.limits)
    try:
        lead(traffic, twins, [], STEPS)
    except DifferenceError:
        return True
    return False


@pytest.mark.load
@pytest.mark.parametrize("mutant", [*MUTANTS, *REFUSALS, *TRACKS], ids=str)
def test_a_wrong_plane_is_found(mutant: Mutant) -> None:
    assert any(finds(mutant, seed) for seed in range(LIVES))


def test_traffic_reaches_every_reason_and_the_reference_equals_itself() -> None:
    reached = {reason for seed in range(24) for reason, n in _counts(seed).items() if n}
    assert reached == {reason.name for reason in Reason if reason not in OF_DECAP}


def _counts(seed: int) -> dict[str, int]:
    return run(seed, Pair(Dataplane, Dataplane))


def test_the_story_of_a_difference_is_short_and_says_what_happened() -> None:
    with pytest.raises(DifferenceError) as caught:
        run(0, Pair(Dataplane, MUTANTS[0].engine))
    story = str(caught.value)
    assert story.startswith("seed 0, step ")
    assert "limits: max_flows" in story
    assert "1. at " in story
    assert "3. at " not in story, "one packet is enough to tell"
    assert re.search(r"reference: [A-Z_]+, [0-9]+ frames", story)
    assert "Ether(" in story
