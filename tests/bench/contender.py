"""Who is compared: what each one starts on a gateway, and where its clients have to dial."""

import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from netns.host import PKTLB_READY, pktlb_command
from netns.process import ROOT, Process
from netns.waiting import wait_until
from tests.bench import core, proxy
from tests.bench.stage import IPV4, IPV6, PORT, Net, Stage

FORWARDING: Final = "plain forwarding"
NFTABLES: Final = "nftables DNAT"
HAPROXY: Final = "HAProxy"
NGINX: Final = "nginx stream"
NATIVE: Final = "pktlb native"
PYTHON: Final = "pktlb python"
BUSY_POLL: Final = f"{NATIVE}, busy-poll"
TWO_WORKERS: Final = f"{NATIVE}, 2 workers"
ENGINES: Final = {"native": NATIVE, "python": PYTHON}
OVER_IPV6: Final = ", IPv6"
"Behind the name of who does the same over IPv6."

MAX_FLOWS: Final = 1 << 20
CLOSED_S: Final = 10
"For how long a closed connection is remembered; the same for all that remember connections."


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared."""

    name: str
    start: Callable[[Stage, Net], Process | None]
    "Makes it work on a stage's gateway; the process, if it is one."
    net: Net = IPV4
    direct: bool = False
    "The client dials a server, not the VIP."

    @property
    def address(self) -> str:
        """What the client dials."""
        return self.net.servers[0] if self.direct else self.net.vip


def nothing(stage: Stage, net: Net) -> None:
    """Plain forwarding: the kernel does it by itself."""


def dnat(stage: Stage, net: Net) -> None:
    """nftables with conntrack: a new connection goes to the next server in turn."""
    servers = ", ".join(f"{i} : {address} . {PORT}" for i, address in enumerate(net.servers))
    stage.gateway.address(stage.wan, f"{net.vip}/{net.host}")
    stage.gateway.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", str(CLOSED_S))
    chain = "{ type nat hook prerouting priority dstnat; }"
    family = net.family
    rule = f"dnat {family} to numgen inc mod {len(net.servers)} map {{ {servers} }}"
    which = f"{family} daddr {net.vip} meta l4proto {{ tcp, udp }} th dport {PORT}"
    for line in (
        f"add table {family} balance",
        f"add chain {family} balance prerouting {chain}",
        f"add rule {family} balance prerouting {which} {rule}",
    ):
        stage.gateway.run("nft", line)


def through_haproxy(stage: Stage, net: Net) -> Process:
    return _proxy(stage, net, proxy.haproxy(stage, net))


def through_nginx(stage: Stage, net: Net) -> Process:
    return _proxy(stage, net, proxy.nginx(stage, net))


def _proxy(stage: Stage, net: Net, argv: list[str]) -> Process:
    stage.gateway.address(stage.wan, f"{net.vip}/{net.host}")
    process = stage.gateway.start(*core.on(core.BALANCER, *argv))
    wait_until(lambda: _listens(stage, net, process), core.PATIENCE, f"{process} listens")
    return process


def _listens(stage: Stage, net: Net, process: Process) -> bool:
    if process.status is not None:
        process.wait_for("a word about that")  # fails with what it has complained about
    return bool(stage.gateway.run("ss", "-Hltn", "src", net.end(net.vip)).stdout)


@dataclass(frozen=True, slots=True)
class Pktlb:
    """How pktlb is run."""

    engine: str
    mode: str = "nat"
    proto: str = "udp"
    scheduler: str = "rr"
    workers: int = 1
    more: tuple[str, ...] = ()
    cores: tuple[int, ...] = (core.BALANCER,)

    def __call__(self, stage: Stage, net: Net) -> Process:
        argv = [
            *("run", "--engine", self.engine, "--mode", self.mode, "--scheduler", self.scheduler),
            *("--max-flows", str(MAX_FLOWS), "--timeout", f"fin={CLOSED_S}", *self.more),
        ]
        if self.engine == "native":
            argv += ["--workers", str(self.workers)]
        argv += ["--vip", f"{net.end(net.vip)}/{self.proto}"]
        for address in net.servers:
            argv += ["--backend", net.end(address)]
        cores = ",".join(map(str, self.cores))
        command = ["taskset", "-c", cores, *pktlb_command(*argv)]
        return stage.gateway.start(*command, ready=PKTLB_READY)


def engines() -> tuple[str, ...]:
    """The engines that this pktlb has, as its command line tells."""
    command = pktlb_command("run", "--help")
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    found = re.search(r"--engine {([^}]*)}", text)
    offered = found[1].split(",") if found else ()
    return tuple(engine for engine in ENGINES if engine in offered)


def pktlbs(engines_: Iterable[str], proto: str, scheduler: str = "rr") -> list[Contender]:
    """pktlb in NAT mode with each of its engines."""
    return [
        Contender(ENGINES[engine], Pktlb(engine, proto=proto, scheduler=scheduler))
        for engine in engines_
    ]


def in_pairs(contenders: Iterable[Contender]) -> list[Contender]:
    """Each, and right after it the same over IPv6: the two are compared."""
    return [
        each for it in contenders for each in (it, replace(it, name=it.name + OVER_IPV6, net=IPV6))
    ]


PLAIN: Final = Contender(FORWARDING, nothing, direct=True)
DNAT: Final = Contender(NFTABLES, dnat)
PROXIES: Final = (Contender(HAPROXY, through_haproxy), Contender(NGINX, through_nginx))
