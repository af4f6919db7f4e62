"""Fixtures of the tests in namespaces: the three modes, each with its servers running."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import dsr, nat, tunnel
from netns.host import ENGINE
from netns.server import blocks
from tests.net.world import World, serving

HERE = Path(__file__).parent
MODES = {module.TOPOLOGY.mode: module.TOPOLOGY for module in (nat, dsr, tunnel)}

ENGINES = {
    "native": "--engine native",
    "python": "--engine python",
    "workers": "--engine native --workers 3",
}
ANY_ENGINE = {
    "test_announcing",
    "test_bridge",
    "test_caveats",
    "test_guard",
    "test_ipvsadm",
    "test_many_changes",
    "test_mtu_page",
    "test_next_hops",
    "test_placement",
    "test_services_page",
    "test_systemd",
    "test_systemd_page",
    "test_command_line",
    "test_configuration_file",
    "test_conflicts",
    "test_decap",
    "test_decap_beside_the_kernel",
    "test_labs",
    "test_readme",
    "test_operating_guide",
    "test_operating_page",
    "test_pending",
    "test_removal",
    "test_restart",
    "test_sentry",
    "test_stuck_ring",
    "test_workers",
}
"Modules about control, which is the same for each engine; all others run on each engine."
PATIENT = {
    "test_beside_the_kernel",
    "test_both_families",
    "test_choices",
    "test_disturbances",
    "test_flushes",
    "test_http",
    "test_interfaces",
    "test_l2",
    "test_lifecycle",
    "test_path_mtu",
    "test_removed",
    "test_schedulers",
    "test_strange_frames",
    "test_transfers",
    "test_udp",
}
"Modules that take long with the reference engine, which `make load` runs."
SPREAD = {"test_fragments_on_the_wire", "test_http", "test_transfers", "test_udp"}
"Modules that also run with several workers."


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module not in ANY_ENGINE:
        engines = [name for name in ENGINES if name != "workers" or module in SPREAD]
        metafunc.parametrize("lab_engine", engines, indirect=True)


def is_left_to_long_runs(item: pytest.Item) -> bool:
    """Modules about sockets and signals; other tests compare the engines frame by frame."""
    call = getattr(item, "callspec", None)
    name = call.params.get("lab_engine") if call else None
    return name == "workers" or (name == "python" and item.path.stem in PATIENT)


@pytest.fixture(autouse=True)
def lab_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of each pktlb that the test starts.

    It is for all tests: without autouse, a test that does not name it would run on one engine only.
    """
    name = str(getattr(request, "param", ""))
    monkeypatch.setenv(ENGINE, ENGINES.get(name, ""))
    return name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need root; PKTLB_NEED_NET=1 turns the skip into failures."""
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.net)
        if is_left_to_long_runs(item):
            item.add_marker(pytest.mark.load)
        if os.geteuid() != 0 and os.environ.get("PKTLB_NEED_NET") != "1":
            item.add_marker(pytest.mark.skip(reason="network namespaces need root"))


@pytest.fixture(params=MODES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The topology of each mode."""
    with serving(MODES[request.param]) as world:
        yield world


@pytest.fixture(params=["dsr", "tunnel"])
def direct_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The modes in which backends answer the client past the balancer."""
    with serving(MODES[request.param]) as world:
        yield world


@pytest.fixture
def nat_world() -> Iterator[World]:
    with serving(nat.TOPOLOGY) as world:
        yield world


@pytest.fixture
def dsr_world() -> Iterator[World]:
    with serving(dsr.TOPOLOGY) as world:
        yield world


@pytest.fixture
def tunnel_world() -> Iterator[World]:
    with serving(tunnel.TOPOLOGY) as world:
        yield world


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the test writes a configuration."""
    return tmp_path / "pktlb.toml"


@pytest.fixture(scope="module")
def payload(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A file for uploads, of as many bytes as SIZE of the module says. It is removed at the end,
    which pytest would not do."""
    file = tmp_path_factory.mktemp("upload") / "payload"
    with file.open("wb") as out:
        out.writelines(blocks(request.module.SIZE))
    yield file
    file.unlink()
