"""What tests of the control socket share."""

from collections.abc import Iterator

import pytest

from tests.support.server import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of a balancer that is not there, for all tests of a module."""
    with running(str(tmp_path_factory.mktemp("s") / "pktlb.sock")) as found:
        yield found
