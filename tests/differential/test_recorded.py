"""Recorded traffic of each mode, with its times, through both planes."""

from collections import Counter

import pytest

from pktlb.model import Reason, Verdict
from tests.differential.engines import ENGINES
from tests.differential.recording import DATA, Recording
from tests.differential.step import Expiry
from tests.differential.twins import Twins

NAMES = ["dsr", "nat", "nat-snat", "tunnel"]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_traffic_ends_alike_in_both_planes(name: str) -> None:
    recording = Recording.read(name)
    twins = Twins(ENGINES, recording.tables, recording.limits)
    reasons: Counter[Reason] = Counter()
    verdicts: Counter[Verdict] = Counter()
    for arrival in recording.arrivals():
        outcome = twins.take(arrival)
        assert outcome is not None
        twins.take(Expiry(arrival.now, 2))
        reasons[outcome.reason] += 1
        verdicts[outcome.reason.verdict] += 1
    twins.look()
    assert verdicts[Verdict.SEND] > 0.8 * verdicts.total(), reasons
    assert reasons[Reason.OPENED] >= 18
    assert (reasons[Reason.RETURNED] > 100) == name.startswith("nat")
    assert not reasons[Reason.FRAGMENT_LOST]
    assert twins.take(Expiry(arrival.now + 1000, 1000)) is None
    assert not len(twins.reference.flows)


def test_no_recording_is_left_out() -> None:
    assert sorted(file.stem for file in DATA.glob("*.json")) == NAMES
