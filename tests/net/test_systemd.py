"""The unit that `pktlb install-unit` writes, under a real systemd: it forbids nothing needed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netns import nat
from netns.process import ROOT
from netns.topology import Topology
from netns.waiting import wait_until
from pktlb.host.unit import CAPABILITIES, DEFAULT, Unit
from tests.net.systemd import Manager, booted
from tests.net.world import World, serving

PKTLB = os.path.join(sys.prefix, "bin", "pktlb")
EVEN = {"a": 2, "b": 2, "c": 2}
BITS = {"CAP_NET_ADMIN": 1 << 12, "CAP_NET_RAW": 1 << 13}
SERVICE = "pktlb.service"


CONFIG = f"/run/systemd/system/{Path(Unit(PKTLB).config_file).name}"
"A directory beside the units, which each user may read."
DROP_IN = f"{SERVICE}.d/laboratory.conf"


def in_the_laboratory(log: Path, more: str = "") -> str:
    """The drop-in of a test: where the service logs, and no other services."""
    output = f"StandardOutput=append:{log}\nStandardError=append:{log}\n"
    return f"[Unit]\nDefaultDependencies=no\n[Service]\n{output}WatchdogSec=5\n{more}"


def way_to_this_python() -> str:
    """Settings that let the service read Python and this source, if these are in a home."""
    places = " ".join(sorted({sys.base_prefix, sys.prefix, str(ROOT)}))
    return f"ProtectHome=tmpfs\nBindReadOnlyPaths={places}\n"


def configuration(topology: Topology) -> str:
    """The topology's service as a configuration file."""
    service = f'[[service]]\nvip = "{topology.vip}"\nmode = "{topology.mode}"\n'
    backends = (f'[[service.backend]]\naddress = "{it}"\n' for it in topology.backends.values())
    return service + "".join(backends)


def limits_can_be_raised() -> bool:
    """Whether root may use real-time priorities here; without that LimitRTPRIO= has no effect."""
    raised = ("prlimit", "--rtprio=1:1", "true")
    return subprocess.run(raised, check=False, capture_output=True).returncode == 0


@contextmanager
def as_a_service(world: World, directory: Path, more: str = "") -> Iterator[tuple[Manager, Path]]:
    log = directory / "log"
    units = {
        SERVICE: Unit(PKTLB, config=CONFIG).render(),
        DROP_IN: in_the_laboratory(log, way_to_this_python() + more),
        Path(CONFIG).name: configuration(world.topology),
    }
    with booted(world.balancer, directory, units) as manager:
        yield manager, log


def test_the_service_runs_with_two_capabilities_and_no_other_right(tmp_path: Path) -> None:
    """It has a user of its own, a sandbox and real-time priority, and leaves the host as it was."""
    with serving(nat.TOPOLOGY) as world, as_a_service(world, tmp_path) as (manager, log):
        world.balancer.sysctl("net.ipv4.conf.default.rp_filter", "1")
        before = world.balancer.state()
        started = manager.run("systemctl", "start", SERVICE, check=False)
        assert started.returncode == 0, log.read_text()
        assert world.answers(6) == EVEN
        status = manager.status_of(SERVICE)
        assert "0" not in status["Uid"].split()
        wanted = sum(BITS[name] for name in CAPABILITIES)
        assert {int(status[key], 16) for key in ("CapBnd", "CapEff", "CapAmb")} == {wanted}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        said = log.read_text()
        assert "capabilities" not in said  # there were none to give up
        assert re.search("^pktlb: ready ", said, re.M)
        assert ("real time" in said) != limits_can_be_raised()
        rp_filter = ("sysctl", "-n", "net.ipv4.conf.pktlb.rp_filter")
        assert world.balancer.run(*rp_filter).stdout == "0\n"
        manager.systemctl("stop", SERVICE)
        assert manager.show(SERVICE, "Result") == "success"
        assert world.balancer.state() == before
        assert manager.run("ls", "-d", "/run/pktlb").stdout == "/run/pktlb\n"


def test_systemd_reloads_and_restarts_the_service_over_the_control_socket(tmp_path: Path) -> None:
    """A bad file fails the reload and changes nothing; the service goes on over a restart."""
    with serving(nat.TOPOLOGY) as world, as_a_service(world, tmp_path) as (manager, log):
        manager.systemctl("start", SERVICE)
        pid = manager.show(SERVICE, "MainPID")
        manager.run("sed", "-i", 's/\\.12:8080"/&\\ndrain = true/', CONFIG)
        manager.systemctl("reload", SERVICE)
        assert set(world.answers(6)) == {"a", "c"}
        manager.run("sh", "-c", f"echo nonsense >>{CONFIG}")
        assert manager.run("systemctl", "reload", SERVICE, check=False).returncode == 1
        assert set(world.answers(6)) == {"a", "c"}
        socket = f"PKTLB_SOCKET=/run/pktlb/{DEFAULT}.sock"
        assert manager.run("stat", "-c", "%a", socket.partition("=")[2]).stdout == "660\n"
        manager.run("sed", "-i", "/nonsense/d", CONFIG)
        manager.run("env", socket, PKTLB, "restart")
        wait_until(lambda: log.read_text().count("pktlb: ready") == 2, 10, "the next one serves")
        assert set(world.answers(6)) == {"a", "c"}
        assert "meanwhile" not in log.read_text()  # nor was the bridge refused
        assert "frames wait" not in log.read_text()
        assert manager.show(SERVICE, "MainPID") == pid
        assert manager.show(SERVICE, "ActiveState") == "active"


def test_connections_go_on_over_a_restart_of_the_service(tmp_path: Path) -> None:
    """The next process has the same sockets and flows; a stop then takes everything away."""
    with serving(nat.TOPOLOGY) as world, as_a_service(world, tmp_path) as (manager, log):
        before = world.balancer.state()
        manager.systemctl("start", SERVICE)
        pid = manager.show(SERVICE, "MainPID")
        download = world.client.start(
            "curl", "--silent", "--show-error", "--fail", "--max-time", "60", "--limit-rate", "1M",
            "--output", "/dev/null", "--write-out", "%{size_download}",
            f"{world.url}/bytes/14000000",
        )  # fmt: skip
        for again in (1, 2):
            manager.systemctl("restart", SERVICE)
            assert log.read_text().count("flows taken over") == again
        assert manager.show(SERVICE, "MainPID") != pid
        assert download.status is None
        assert world.answers(6) == EVEN
        manager.run("sh", "-c", f"echo nonsense >>{CONFIG}")
        manager.systemctl("restart", SERVICE)
        assert "going on with the configuration of before" in log.read_text()
        assert world.answers(6) == EVEN
        wait_until(lambda: download.status is not None, 30, "the download ends")
        assert download.stdout == "14000000"
        manager.systemctl("stop", SERVICE)
        assert world.balancer.state() == before


def test_systemd_starts_the_service_again_after_a_crash(tmp_path: Path) -> None:
    """CAP_SYS_NICE shows that the sandbox permits real-time priority, where LimitRTPRIO= may have
    no effect."""
    more = "AmbientCapabilities=CAP_SYS_NICE\nCapabilityBoundingSet=CAP_SYS_NICE\n"
    with serving(nat.TOPOLOGY) as world, as_a_service(world, tmp_path, more) as (manager, log):
        before = world.balancer.state()
        manager.systemctl("start", SERVICE)
        manager.systemctl("kill", "--kill-whom=main", "--signal=KILL", SERVICE)
        wait_until(lambda: manager.show(SERVICE, "NRestarts") == "1", 20, "it is started again")
        wait_until(lambda: manager.show(SERVICE, "ActiveState") == "active", 20, "it is ready")
        assert world.answers(6) == EVEN
        assert "real time" not in log.read_text()
        manager.systemctl("stop", SERVICE)
        assert world.balancer.state() == before


def test_the_service_names_a_right_that_it_lacks(tmp_path: Path) -> None:
    """So the unit grants each right, and a drop-in that takes one away is noticed."""
    less = "Restart=no\nAmbientCapabilities=\nAmbientCapabilities=CAP_NET_ADMIN\n"
    with serving(nat.TOPOLOGY) as world, as_a_service(world, tmp_path, less) as (manager, log):
        assert manager.run("systemctl", "start", SERVICE, check=False).returncode == 1
        assert manager.show(SERVICE, "ExecMainStatus") == "3"
        assert "(needs CAP_NET_RAW" in log.read_text()
