"""The laboratories themselves: demonstrations, two side by side, and the commands they print."""

import subprocess
import sys
from pathlib import Path

import pytest

from netns import dsr, nat, tunnel
from netns.host import Host
from netns.lab import Lab
from tests.net.conftest import MODES
from tests.net.world import World, serving

SCRIPTS = {module.TOPOLOGY.mode: str(module.__file__) for module in (nat, dsr, tunnel)}
each_mode = pytest.mark.parametrize("mode", MODES)


@each_mode
def test_the_demonstration_passes(mode: str) -> None:
    done = command(mode, "demo")
    assert done.stdout.splitlines()[-1] == f"{mode}: PASS", done.stdout + done.stderr
    assert done.returncode == 0


@each_mode
def test_two_of_a_kind_live_side_by_side(mode: str) -> None:
    """The same names, addresses and VIPs, and neither hears of the other."""
    with serving(MODES[mode]) as left, serving(MODES[mode]) as right:
        left.balance()
        right.balance(weights={"a": 0, "b": 0, "c": 1})
        assert left.who(6) == {"a": 2, "b": 2, "c": 2}
        assert right.who(6) == {"c": 6}


@each_mode
def test_the_printed_commands_build_a_network_that_works(mode: str, tmp_path: Path) -> None:
    """Typed in, but under the name of an empty laboratory, which takes all of it down later."""
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
        assert world.who(6) == {"a": 2, "b": 2, "c": 2}


def command(mode: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run netns/MODE.py as a reader would."""
    argv = [sys.executable, SCRIPTS[mode], *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
