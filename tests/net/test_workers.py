"""Workers at full load: control goes on, and frames that the kernel will not take are counted."""

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from netns.host import PKTLB_READY, Host, pktlb_command
from netns.process import Process
from netns.waiting import wait_until
from tests.net.world import World

FLOOD = """
import socket, sys, time
to, until = (sys.argv[1], int(sys.argv[2])), time.monotonic() + float(sys.argv[3])
senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(16)]
print("sending", flush=True)
while time.monotonic() < until:
    for sender in senders:
        for _ in range(16):
            sender.sendto(b"flood", to)
"""
LONG_S = "20"
"Seconds of a flood; no test waits for its end."


def flood(world: World, port: int) -> Process:
    command = (sys.executable, "-c", FLOOD, world.vip[0], str(port), LONG_S)
    return world.client.start(*command, ready="sending")


def balance(world: World, *more: str) -> Process:
    """Services of HTTP and, at a port without a server, of UDP."""
    address, _ = world.vip
    backends = [at.partition(":")[0] for at in world.topology.backends.values()]
    service = ["--vip", f"{address}:9/udp"]
    for backend in backends:
        service += ["--backend", f"{backend}:9"]
    return world.balance(*service, "--engine", "native", *more)


def explained(balancer: Process) -> list[int]:
    """The frames handled, in each answer to SIGUSR1."""
    return [int(frames) for frames in re.findall(r"flows=\d+ frames=(\d+)", balancer.stderr)]


def answered(balancer: Process, count: int) -> None:
    wait_until(lambda: len(explained(balancer)) >= count, 10, "pktlb answers SIGUSR1")


def sink(host: Host) -> None:
    """Drop datagrams to the port, so that the backend answers with no ICMP."""
    host.run("nft", "add table netdev sink")
    hook = "{ type filter hook ingress device eth0 priority 0; }"
    host.run("nft", f"add chain netdev sink sink {hook}")
    host.run("nft", "add rule netdev sink sink udp dport 9 drop")


def test_control_answers_and_connections_open_under_a_flood(nat_world: World) -> None:
    for backend in nat_world.backends:
        sink(backend)
    balancer = balance(nat_world, "--workers", "2")
    for _ in range(2):
        flood(nat_world, 9)
    for turn in range(1, 4):
        balancer.send_signal(signal.SIGUSR1)
        answered(balancer, turn)
    assert explained(balancer)[2] > explained(balancer)[0], "frames moved meanwhile"
    assert nat_world.ask(3)
    assert balancer.stop() == 0


@pytest.mark.load
def test_a_backend_that_is_lost_under_a_flood_gets_no_more_connections(nat_world: World) -> None:
    for backend in nat_world.backends:
        sink(backend)
    balancer = balance(nat_world)
    flood(nat_world, 9)
    nat_world.lab.hosts["a"].run("ip", "link", "set", "eth0", "down")
    wait_until(lambda: "10.0.2.11 cannot be reached" in balancer.stderr, 30, "a is missed")
    assert nat_world.answers(6).keys() == {"b", "c"}
    assert balancer.stop() == 0


@pytest.mark.parametrize(
    ("flags", "real_time"),
    [((), 2), (("--realtime",), 2), (("--no-realtime",), 0), (("--busy-poll", "200"), 0)],
)
def test_workers_run_before_ordinary_threads_unless_they_poll(
    nat_world: World, flags: Sequence[str], real_time: int
) -> None:
    balancer = nat_world.balance("--engine", "native", "--workers", "2", *flags)
    tasks = [int(task.name) for task in Path(f"/proc/{balancer.pid}/task").iterdir()]
    policies = Counter(os.sched_getscheduler(task) for task in tasks)
    assert policies[os.SCHED_FIFO] == real_time
    assert os.sched_getscheduler(balancer.pid) == os.SCHED_OTHER
    assert nat_world.answers(6) == {"a": 2, "b": 2, "c": 2}


def test_without_the_privilege_workers_run_as_ordinary_threads_unless_told_not_to(
    nat_world: World,
) -> None:
    plain = ("setpriv", "--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice")
    command = pktlb_command(*nat_world.arguments("--engine", "native"))
    refused = nat_world.balancer.run(*plain, *command, "--realtime", check=False)
    assert refused.returncode == 3
    assert "a worker cannot start: Operation not permitted" in refused.stderr
    balancer = nat_world.balancer.start(*plain, *command, ready=PKTLB_READY)
    assert nat_world.answers(3) == {"a": 1, "b": 1, "c": 1}
    assert "workers may not run in real time" in balancer.stderr
