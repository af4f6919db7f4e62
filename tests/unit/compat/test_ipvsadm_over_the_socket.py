"""A link named `ipvsadm` to pktlb: a real process asks over a real socket."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pktlb.config.config import Config
from pktlb.config.conflicts import check_together
from pktlb.config.file import read
from pktlb.control.operator import FlowView
from pktlb.control.server import serving
from pktlb.model import Endpoint, Mode, OnRemove, Vip
from pktlb.plan.change import Change
from tests.support.operator import FakeOperator

VIP = Endpoint(bytes([10, 0, 1, 100]), 80)
SERVER = Endpoint(bytes([10, 0, 2, 11]), 8080)


class Balancer(FakeOperator):
    """Refuses contradictions, as the daemon does."""

    async def apply(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        return await super().apply(check_together(wanted, self.config))

    async def read_file(self, text: str | None) -> Config:
        return self.file if text is None else read(text, "request")


class Link:
    """The command ipvsadm, and the balancer that it asks."""

    def __init__(self, folder: Path, balancer: Balancer) -> None:
        self.balancer = balancer
        self._folder = folder
        for name in ("ipvsadm", "ipvsadm-save", "ipvsadm-restore"):
            (folder / name).symlink_to(Path(sys.executable).parent / "pktlb")
        self._env = {**os.environ, "PKTLB_SOCKET": str(folder / "s")}

    def __call__(self, *words: str, stdin: str = "", status: int = 0, name: str = "ipvsadm") -> str:
        done = subprocess.run(
            [self._folder / name, *words], input=stdin, env=self._env, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout


@pytest.fixture
def ipvsadm(tmp_path: Path) -> Iterator[Link]:
    balancer = Balancer(Config((), control=str(tmp_path / "s")))
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serving(balancer, balancer.config):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield Link(tmp_path, balancer)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


RULES = """\
-A -t 10.0.1.100:80 -s mh -p 360
-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 1
-a -t 10.0.1.100:80 -r 10.0.2.12:80 -i -w 5 -x 1000 -y 500
-A -u [fd01::100]:53 -s rr -o
-a -u [fd01::100]:53 -r [fd02::11]:53 -g -w 1
"""


def test_services_are_restored_changed_listed_and_cleared(ipvsadm: Link) -> None:
    assert ipvsadm("-R", stdin=RULES) == ""
    assert ipvsadm("-S", "-n") == RULES
    ipvsadm("-e", "-t", "10.0.1.100:80", "-r", "10.0.2.12", "-i", "-w", "0")
    ipvsadm("-E", "-t", "10.0.1.100:80", "-s", "wlc")
    ipvsadm("-d", "-u", "[fd01::100]:53", "-r", "[fd02::11]:53")
    assert ipvsadm("-Ln") == (
        "IP Virtual Server version 1.2.1 (size=262144)\n"
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
        "TCP  10.0.1.100:80 wlc\n"
        "  -> 10.0.2.11:8080               Masq    1      2          1         \n"
        "  -> 10.0.2.12:80                 Tunnel  0      2          1         \n"
        "UDP  [fd01::100]:53 rr ops\n"
    )
    ipvsadm("-Z")
    assert ipvsadm.balancer.zeroed == 1
    ipvsadm("-C")
    assert ipvsadm.balancer.config.services == ()


def test_links_named_save_and_restore_do_so(ipvsadm: Link) -> None:
    assert ipvsadm(name="ipvsadm-restore", stdin=RULES) == ""
    assert ipvsadm("-n", name="ipvsadm-save") == RULES
    assert "10.0.1.100:http " in ipvsadm(name="ipvsadm-save")
    assert ipvsadm("-h", name="ipvsadm-save").startswith("usage: ")
    assert "expected one command" in ipvsadm("-C", name="ipvsadm-restore", status=2)


def test_a_refused_command_ends_with_the_words_and_status_of_ipvsadm(ipvsadm: Link) -> None:
    ipvsadm("-R", stdin=RULES)
    assert ipvsadm("-A", "-t", "10.0.1.100:80", status=1) == "Service already exists\n"
    twice = ("-a", "-t", "10.0.1.100:80", "-r", "10.0.2.11:8080", "-m")
    assert ipvsadm(*twice, status=1) == "Destination already exists\n"
    assert ipvsadm("-D", "-t", "10.0.1.1:80", status=1) == "No such service\n"
    other = ("-a", "-t", "10.0.1.100:80", "-r", "fd02::1", "-m")
    assert "IPv4 address" in ipvsadm(*other, status=2)
    assert "expected a service" in ipvsadm("-A", status=2)


def test_connections_and_timeouts_are_listed_as_by_ipvsadm(ipvsadm: Link) -> None:
    ipvsadm("-R", stdin=RULES)
    client = Endpoint(bytes([10, 0, 1, 2]), 40312)
    web = FlowView(6, client, VIP, "", SERVER, Mode.NAT, "established", 100.4, None)
    ipvsadm.balancer.table = [web, replace(web, proto=17, state="datagrams")]
    assert ipvsadm("-Lnc", "-t", "10.0.1.100:80").splitlines()[2:] == [
        "TCP 13:19  ESTABLISHED 10.0.1.2:40312     10.0.1.100:80      10.0.2.11:8080"
    ]
    assert len(ipvsadm("-Lnc").splitlines()) == 4
    ipvsadm("--set", "600", "0", "0")
    assert ipvsadm("-L", "--timeout") == "Timeout (tcp tcpfin udp): 600 120 300\n"
    assert ipvsadm.balancer.config.services[0].vip == Vip(VIP.address, 80, 80, (6,))


def test_a_command_without_a_balancer_says_so(tmp_path: Path) -> None:
    link = Link(tmp_path, Balancer())
    assert link("-Ln", status=1).startswith("no pktlb runs here")
