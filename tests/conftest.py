"""What all tests share: the engines they run on, and how hard hypothesis tries."""

import os

import pytest
from hypothesis import HealthCheck, settings

from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.native.dataplane import NativeDataplane
from tests.support.gateway import MakePlane

ENGINES: dict[str, MakePlane] = {"python": Dataplane, "native": NativeDataplane}
"Every engine passes every test; another one needs only a line here."

settings.register_profile(
    "pktlb",
    max_examples=100,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pktlb")


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> MakePlane:
    """Makes an engine of given tables and limits."""
    return ENGINES[request.param]
