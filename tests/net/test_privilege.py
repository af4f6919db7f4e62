"""Started as root, pktlb holds what it needs and nothing else, and does all its work with that."""

import grp
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import nat, tunnel
from netns.host import pktlb_command
from netns.lab import Lab
from netns.process import Process
from netns.waiting import wait_until
from pktlb.host.privilege import NAMES
from tests.net.world import World, serving

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
EVEN = {"a": 2, "b": 2, "c": 2}
GROUP = "daemon"
DRAINED = ('.12:8080"', '.12:8080"\ndrain = true')
OTHER = 12345
"A user of no name."


def limits_can_be_raised() -> bool:
    """Whether root may here; else real time takes a capability."""
    raised = ("prlimit", "--rtprio=1:1", "true")
    return subprocess.run(raised, check=False, capture_output=True).returncode == 0


NEEDED = ["CAP_NET_ADMIN", "CAP_NET_RAW", *([] if limits_can_be_raised() else ["CAP_SYS_NICE"])]


def mask(names: list[str]) -> int:
    return sum(1 << NAMES.index(name) for name in names)


def sets(status: str) -> tuple[set[int], str]:
    """The values of the five sets, and whether there are no new privileges."""
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {int(said[key], 16) for key in SETS}, said["NoNewPrivs"]


def expect(process: Process, names: list[str]) -> None:
    """Each thread of a process holds these capabilities alone."""
    tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
    assert tasks
    for task in tasks:
        assert sets((task / "status").read_text()) == ({mask(names)}, "1"), task


def with_recorded_nft(lab: Lab) -> tuple[str, Path]:
    """A PATH on which each `nft` first writes down its rights, and the file with them."""
    directory = lab.directory / "bin"
    directory.mkdir()
    record = lab.directory / "nft-status"
    script = directory / "nft"
    script.write_text(
        f'#!/bin/sh\ncat /proc/self/status >>{record}\nexec {shutil.which("nft")} "$@"\n'
    )
    script.chmod(0o755)
    return f"PATH={directory}:{os.environ['PATH']}", record


@pytest.fixture
def file(tmp_path: Path) -> Path:
    backends = "".join(
        f'[[service.backend]]\naddress = "{end}"\n' for end in nat.TOPOLOGY.backends.values()
    )
    path = tmp_path / "pktlb.toml"
    path.write_text(
        f'[balancer]\ncontrol_group = "{GROUP}"\nrealtime = true\n'
        f'[[service]]\nvip = "{nat.TOPOLOGY.vip}"\nmode = "nat"\n{backends}'
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def world() -> Iterator[World]:
    with serving(nat.TOPOLOGY) as world:
        yield world


def change(file: Path, before: str, after: str) -> None:
    file.write_text(file.read_text().replace(before, after))


def ready_again(process: Process, times: int = 2) -> None:
    wait_until(lambda: process.stdout.count("pktlb: ready") == times, 15, "it has restarted")


def test_it_works_on_with_what_it_needs(world: World, file: Path, lab_engine: str) -> None:
    """Reload, guard, interfaces, restart and the group of the control socket, in real time."""
    gw = world.balancer
    before = gw.state()
    path, record = with_recorded_nft(world.lab)
    if lab_engine == "python":
        change(file, "realtime = true", 'engine = "python"')
    command = pktlb_command("run", "-c", str(file))
    process = gw.start("env", path, *command, ready="pktlb: ready")
    expect(process, NEEDED)
    assert world.answers(6) == EVEN
    control = Path(gw.environment["PKTLB_SOCKET"]).stat()
    assert (control.st_uid, stat.S_IMODE(control.st_mode)) == (0, 0o660)
    assert control.st_gid == grp.getgrnam(GROUP).gr_gid
    assert json.loads(gw.ask("status", "--json").stdout)["capabilities"] == NEEDED
    assert f"\nholds {', '.join(NEEDED)}\n" in gw.ask("status").stdout
    change(file, *DRAINED)
    gw.ask("reload")
    assert set(world.answers(6)) == {"a", "c"}
    for times in (2, 3):
        assert "restarted" in gw.ask("restart").stdout
        ready_again(process, times)
        expect(process, NEEDED)
        assert set(world.answers(6)) == {"a", "c"}
    gw.run("nft", "flush", "ruleset")
    process.wait_for("the nftables table netdev pktlb was changed; putting it back")
    gw.run("ip", "link", "del", "pktlb")
    process.wait_for("the TUN device pktlb was deleted; making it anew")
    gw.ask(
        "service", "add", "--vip", "10.0.1.101:80", "--mode", "nat", "--backend", "10.0.2.11:8080"
    )
    assert {each.server for each in world.ask(2, "http://10.0.1.101")} == {"a"}
    assert set(world.answers(6)) == {"a", "c"}
    assert process.stop() == 0
    assert gw.state() == before
    assert "may not run in real time" not in process.stderr
    children = record.read_text().split("Name:\t")[1:]
    assert children
    assert {(frozenset(found), nnp) for found, nnp in map(sets, children)} == {
        (frozenset({mask(NEEDED)}), "1")
    }


@pytest.mark.parametrize("mode", ["0600", "0644"])
def test_the_file_of_another_user_is_read_again(world: World, file: Path, mode: str) -> None:
    """Root could read it at the start; so it can at a reload and at a restart."""
    gw = world.balancer
    private = world.lab.directory / "private"
    private.mkdir(0o700)
    moved = private / "pktlb.toml"
    shutil.copy(file, moved)
    moved.chmod(int(mode, 8))
    for path in (moved, private):
        os.chown(path, OTHER, OTHER)
    process = gw.pktlb("run", "-c", str(moved))
    process.wait_for(f"CAP_DAC_READ_SEARCH is kept for {moved}")
    expect(process, sorted([*NEEDED, "CAP_DAC_READ_SEARCH"]))
    change(moved, *DRAINED)
    gw.ask("reload")
    assert set(world.answers(6)) == {"a", "c"}
    gw.ask("restart")
    ready_again(process)
    expect(process, sorted([*NEEDED, "CAP_DAC_READ_SEARCH"]))
    assert process.stop() == 0


def test_decap_holds_the_two_capabilities_of_the_network() -> None:
    with Lab("rights") as lab:
        tunnel.build(lab)
        process = lab.hosts["a"].start(
            *pktlb_command("decap", "--vip", "10.0.1.100"), ready="pktlb: ready"
        )
        expect(process, ["CAP_NET_ADMIN", "CAP_NET_RAW"])
        assert process.stop() == 0
