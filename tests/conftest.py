"""What all tests share: the engines they run on, and how hard hypothesis tries."""

import os

import pytest
from hypothesis import HealthCheck, settings

from pktlb.datapath.pipeline import Dataplane
from pktlb.native.dataplane import NativeDataplane
from tests.gateway import Engine

ENGINES: dict[str, Engine] = {"python": Dataplane, "native": NativeDataplane}
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
def engine(request: pytest.FixtureRequest) -> Engine:
    """Makes an engine of given tables and limits."""
    return ENGINES[request.param]
