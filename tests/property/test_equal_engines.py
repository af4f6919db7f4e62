"""Both planes do the same in lives out of random seeds; `make soak` leads more of them."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pktlb.engine.datapath.frame import NO_OFFLOAD
from pktlb.engine.datapath.limits import Limits
from pktlb.model import Mode, Reason
from tests.differential.engines import ENGINES
from tests.differential.soak import run
from tests.differential.step import Arrival
from tests.differential.twins import CLOCK, Twins
from tests.support.gateway import service, tables
from tests.support.packets import LAN, client, tcp, vip

SEEDS = (*range(24), 37)
"Together these seeds reach every branch of the reference, and its rarest bounds."


@pytest.mark.parametrize("seed", SEEDS)
def test_known_seeds_lead_both_planes_the_same_way(seed: int) -> None:
    run(seed, ENGINES)


@pytest.mark.load
@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, (1 << 64) - 1))
def test_any_seed_leads_both_planes_the_same_way(seed: int) -> None:
    """Hypothesis does not shrink seeds: they are independent. The story is shortened."""
    run(seed, ENGINES)


def test_the_first_error_just_before_the_clock_wraps_is_within_the_limit() -> None:
    twins = Twins(ENGINES, tables(service(Mode.NAT)), Limits(secret=bytes(16)))
    expired = bytes(tcp(client(), vip(), "S", ttl=1))
    for _ in range(41):
        twins.take(Arrival((CLOCK - 1000) / 1000, LAN, expired, NO_OFFLOAD))
    twins.look()
    assert twins.reference.counts[Reason.TTL_EXPIRED] == 40
