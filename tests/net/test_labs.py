"""The laboratories themselves: demonstrations, two side by side, and the commands they print."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from netns import dsr, l2, mixed, nat, tunnel
from netns.host import Host
from netns.lab import Lab
from netns.table import COLUMNS
from tests.net.conftest import MODES
from tests.net.world import World, serving

LABS = {module.TOPOLOGY.kind: module for module in (nat, dsr, tunnel, mixed, l2)}
BEYOND_MODES = {"mixed": mixed.TOPOLOGY, "l2": l2.TOPOLOGY}
each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.mark.load
@pytest.mark.parametrize("kind", LABS)
def test_a_demonstration_passes(kind: str) -> None:
    done = command(kind, "demo")
    assert done.stdout.splitlines()[-1] == f"{kind}: PASS", done.stdout + done.stderr
    assert done.returncode == 0


WALKS = {
    "mixed": ["IPv4 in IPv4", "IPv4 in IPv6", "IPv6 in IPv4", "IPv6 in IPv6"],
    "l2": ["IPv4", "IPv6"],
}


@pytest.mark.parametrize("kind", WALKS)
def test_a_walk_shows_each_kind_of_packet(kind: str) -> None:
    """From the client to the server, in lines that fit a terminal."""
    done = command(kind, "walk")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= COLUMNS
    for family in WALKS[kind]:
        _, told, scene = done.stdout.partition(f"SYN, {family}: ")
        assert told, done.stdout
        scene = scene.partition("\n\n")[0]
        inner, _, outer = family.partition(" in ")
        assert ("[fd01::2]:" if inner == "IPv6" else " 10.0.1.2:") in scene
        assert scene.count(" inner\n") == scene.count(" outer\n") == (4 if outer else 0)
        if outer:
            assert ("*fd02::1 " if outer == "IPv6" else "*10.0.2.1 ") in scene
            assert "*unwrapped" in scene.splitlines()[-1]


@each_mode
def test_two_laboratories_of_a_kind_live_side_by_side(mode: str) -> None:
    """Both have the same names, addresses and VIPs, and do not disturb each other."""
    with serving(MODES[mode]) as left, serving(MODES[mode]) as right:
        left.balance()
        right.balance(weights={"a": 0, "b": 0, "c": 1})
        assert left.answers(6) == {"a": 2, "b": 2, "c": 2}
        assert right.answers(6) == {"c": 6}


@each_mode
def test_the_printed_commands_build_a_network_that_works(mode: str, tmp_path: Path) -> None:
    """The commands use the name of an empty laboratory, which takes all of it down later."""
    script = command(mode, "up", "--print").stdout
    printed_name = f"{mode}-lab-"
    assert script.count(printed_name) > 20
    with Lab(mode) as lab, (tmp_path / "log").open("w") as log:
        typed = ["sh", "-c", script.replace(printed_name, f"{lab.name}-")]
        subprocess.run(typed, stdout=log, stderr=log, check=True, timeout=30)
        topology = MODES[mode]
        for number, name in enumerate(("client", topology.balancer)):
            lab.hosts[name] = Host(lab, name, number)
        world = World(lab, topology)
        world.balance()
        world.serves_again(10, "the servers are up")
        assert world.answers(6) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize("kind", BEYOND_MODES)
def test_a_laboratory_stays_up_until_it_is_taken_down(kind: str) -> None:
    tag = secrets.token_hex(4)
    try:
        done = command(kind, "up", "--name", tag)
        assert done.stdout.startswith(f"{kind}-{tag} is up."), done.stderr
        done = command(kind, "exec", "--name", tag, "client", "ip", "-br", "address")
        assert "10.0.1.2/24 fd01::2/64" in done.stdout
    finally:
        done = command(kind, "down", "--name", tag)
    assert done.stdout == f"{kind}-{tag} is gone.\n"


@pytest.mark.parametrize("kind", BEYOND_MODES)
def test_the_printed_commands_build_a_network_of_both_families(kind: str, tmp_path: Path) -> None:
    script = command(kind, "up", "--print").stdout
    topology = BEYOND_MODES[kind]
    network = script.partition("# what runs on the backends")[0]
    with topology.laboratory() as lab, (tmp_path / "log").open("w") as log:
        typed = ["sh", "-c", network.replace(f"{kind}-lab-", f"{lab.name}-")]
        subprocess.run(typed, stdout=log, stderr=log, check=True, timeout=30)
        for target in ("10.0.3.12", "fd03::13"):
            client = Host(lab, "client", 0)
            client.run("ping", "-c", "1", "-W", "5", target)


def command(kind: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run netns/KIND.py as a reader would."""
    argv = [sys.executable, str(LABS[kind].__file__), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
