"""The README's commands work as they stand there, in the topologies that it draws."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netns import dsr, nat, tunnel
from netns.host import Host, pktlb_command
from netns.lab import Lab
from netns.process import ROOT, Process
from netns.topology import Topology

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.M | re.S)


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)^## ", README, re.M | re.S)
    assert found, f"README.md has no section {title}"
    return found[1]


class Reader:
    """Follows a section of the README, block by block."""

    def __init__(self, lab: Lab, topology: Topology) -> None:
        self._lab = lab
        self._topology = topology
        self._balancer: Process | None = None
        self.answers: list[str] = []

    def do(self, role: str, commands: str) -> None:
        roles: dict[str, Callable[[str], None]] = {
            "backend": self._on_each_backend, "balancer": self._balance, "client": self._ask,
        }  # fmt: skip
        roles[role](commands.replace("\\\n", " ").strip())

    def _on_each_backend(self, commands: str) -> None:
        for name in self._topology.backends:
            self._run(self._lab.hosts[name], commands)

    def _balance(self, commands: str) -> None:
        if self._balancer:
            assert self._balancer.stop() == 0
        self._balancer = self._run(self._lab.hosts[self._topology.balancer], commands)

    def _ask(self, commands: str) -> None:
        self.answers += [
            self._lab.hosts["client"].run("sh", "-ec", commands).stdout for _ in range(8)
        ]

    @staticmethod
    def _run(host: Host, commands: str) -> Process | None:
        if not commands.startswith("pktlb "):
            host.run("sh", "-ec", commands)
            return None
        return host.start(*pktlb_command(*shlex.split(commands)[1:]), ready="pktlb: ready")


@pytest.mark.net
@pytest.mark.parametrize(
    ("title", "topology", "served_by"),
    [
        ("NAT", nat.TOPOLOGY, {"a": 2 + 8, "b": 4, "c": 2}),
        ("DSR", dsr.TOPOLOGY, None),
        ("Tunnel", tunnel.TOPOLOGY, None),
    ],
    ids=["nat", "dsr", "tunnel"],
)
def test_each_mode_works_as_the_readme_says(
    title: str, topology: Topology, served_by: dict[str, int] | None
) -> None:
    with Lab(topology.mode) as lab:
        topology.build(lab)
        for name in topology.backends:
            lab.hosts[name].serve(topology.server_port)
        reader = Reader(lab, topology)
        blocks = BLOCK.findall(section(title))
        assert {role for role, _ in blocks} == {"balancer", "backend", "client"}
        for role, commands in blocks:
            reader.do(role, commands)
        names = [answer.split()[0] for answer in reader.answers]
        assert set(names) <= set(topology.backends)
        if served_by:
            assert {name: names.count(name) for name in served_by} == served_by


@pytest.mark.net
@pytest.mark.parametrize("mode", ["nat", "dsr", "tunnel"])
def test_the_walk_shows_each_hop(mode: str) -> None:
    command = [sys.executable, str(ROOT / "netns" / f"{mode}.py"), "walk"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "SYN: the client asks for a connection" in done.stdout
    assert "SYN-ACK: the server agrees" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.load
@pytest.mark.net
def test_pktlb_installs_into_an_environment_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "pktlb", source / "pktlb")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    bin_ = tmp_path / "venv" / "bin"
    install = [str(bin_ / "pip"), "install", "-q", "--disable-pip-version-check", str(source)]
    subprocess.run(install, check=True, timeout=110)
    for arguments in (["--version"], ["run", "--help"], ["decap", "--help"]):
        done = subprocess.run([str(bin_ / "pktlb"), *arguments], capture_output=True, check=True)
        assert done.stdout.startswith((b"pktlb ", b"usage: pktlb "))


def commands_in_prose(start: str) -> list[str]:
    """The commands that the README names in passing and that begin with these words."""
    found = re.findall(rf"`({re.escape(start)}[^`]*)`", README)
    assert found, f"README.md does not name {start}"
    return found


@pytest.mark.net
def test_what_a_killed_pktlb_leaves_can_be_taken_away_by_hand() -> None:
    with Lab("nat") as lab:
        nat.build(lab)
        gw = lab.hosts["gw"]
        before = gw.state()
        gw.pktlb(*nat.TOPOLOGY.run_arguments("rr")).kill()
        assert gw.state() != before
        for command in (*commands_in_prose("nft delete"), *commands_in_prose("ip address del")):
            gw.run("sh", "-ec", command)
        assert gw.state() == before
