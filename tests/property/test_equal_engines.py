"""Both engines, led through the same lives by chance, do the same; `make soak` goes on longer."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.differential.engines import ENGINES
from tests.differential.soak import run

SEEDS = (*range(24), 26)
"Together these reach every branch of the reference engine and its rarest bounds."


@pytest.mark.parametrize("seed", SEEDS)
def test_known_seeds_lead_both_engines_the_same_way(seed: int) -> None:
    run(seed, ENGINES)


@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, (1 << 64) - 1))
def test_any_seed_leads_both_engines_the_same_way(seed: int) -> None:
    """Nothing is shrunk here but the story itself: one seed has nothing to do with the next."""
    run(seed, ENGINES)
