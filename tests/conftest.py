"""What all tests share: the planes that they run on, how hard hypothesis tries, and what a test
shows below the results."""

import os

import pytest
from hypothesis import HealthCheck, settings

from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.native.dataplane import NativeDataplane
from tests.support.gateway import MakePlane

ENGINES: dict[str, MakePlane] = {"python": Dataplane, "native": NativeDataplane}
"The plane of each engine; every one passes every test."

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
    """Makes the plane of an engine from tables and limits."""
    return ENGINES[request.param]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show each property `shown` of the tests once. Reports carry properties from the processes of
    xdist, and what a test prints stays there."""
    lines = {
        str(text): None
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == "shown"
    }
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.line(line)
