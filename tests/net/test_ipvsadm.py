"""A script made for IPVS sets up a balancer without services; real requests are served."""

import shlex
from pathlib import Path

import pytest

from netns import nat
from netns.host import PKTLB_READY, Host, pktlb_command
from netns.lab import Lab

SCRIPT = """\
ipvsadm -A -t 10.0.1.100:80 -s wrr
ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 3
ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.12:8080 -m -w 1
ipvsadm -A -t 10.0.1.100:81
ipvsadm -a -t 10.0.1.100:81 -r 10.0.2.13:8080 -m
"""


class Ipvsadm:
    """The command in a host."""

    def __init__(self, host: Host, socket: Path) -> None:
        self._host, self._socket = host, f"PKTLB_SOCKET={socket}"

    def start(self) -> None:
        run = (
            "env",
            self._socket,
            *pktlb_command("run", "--interface", "wan", "--interface", "lan"),
        )
        self._host.start(*run, ready=PKTLB_READY)

    def __call__(self, line: str, check: bool = True) -> list[str]:
        words = shlex.split(line.removeprefix("ipvsadm "))
        command = ("env", self._socket, *pktlb_command("ipvsadm", *words))
        return self._host.run(*command, check=check).stdout.splitlines()


@pytest.mark.net
def test_a_script_for_ipvs_sets_up_a_balancer(tmp_path: Path) -> None:
    with Lab("ipvsadm") as lab:
        nat.build(lab)
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        ipvsadm = Ipvsadm(lab.hosts["gw"], tmp_path / "s")
        ipvsadm.start()
        for line in SCRIPT.splitlines():
            assert ipvsadm(line) == []
        assert answers(lab, 80, 8) == "aaaaaabb"
        assert answers(lab, 81, 2) == "cc"
        listed = [line.split() for line in ipvsadm("-L -n --stats")]
        assert ["TCP", "10.0.1.100:80", "8"] in [words[:3] for words in listed]
        assert ["->", "10.0.2.11:8080", "6"] in [words[:3] for words in listed]
        assert ipvsadm("-S -n -t 10.0.1.100:80", check=False) == []
        saved = ipvsadm("-S -n")
        assert saved[1] == "-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 3"
        ipvsadm("-e -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 0")
        assert answers(lab, 80, 3) == "bbb"
        ipvsadm("-C")
        assert lab.hosts["client"].run("curl", "-s", "http://10.0.1.100/", check=False).returncode


def answers(lab: Lab, port: int, count: int) -> str:
    """The first letters of the servers' answers, sorted."""
    url = f"http://10.0.1.100:{port}/"
    answers = [lab.hosts["client"].run("curl", "-sf", "-m", "10", url).stdout for _ in range(count)]
    return "".join(sorted(answer[0] for answer in answers))
