"""Who is compared: what each one starts on a gateway, and where its clients have to dial."""

import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from netns.host import PKTLB_READY, pktlb_command
from netns.process import ROOT, Process
from netns.waiting import wait_until
from tests.bench import core, proxy
from tests.bench.stage import PORT, SERVERS, VIP, Stage

FORWARDING: Final = "plain forwarding"
NFTABLES: Final = "nftables DNAT"
HAPROXY: Final = "HAProxy"
NGINX: Final = "nginx stream"
NATIVE: Final = "pktlb native"
PYTHON: Final = "pktlb python"
BUSY_POLL: Final = f"{NATIVE}, busy-poll"
TWO_WORKERS: Final = f"{NATIVE}, 2 workers"
ENGINES: Final = {"native": NATIVE, "python": PYTHON}

MAX_FLOWS: Final = 1 << 20
CLOSED_S: Final = 10
"For how long a closed connection is remembered; the same for all that remember connections."


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared."""

    name: str
    start: Callable[[Stage], Process | None]
    "Makes it work on a stage's gateway; the process, if it is one."
    address: str = VIP
    "What the client dials."


def nothing(stage: Stage) -> None:
    """Plain forwarding: the kernel does it by itself."""


def dnat(stage: Stage) -> None:
    """nftables with conntrack: a new connection goes to the next server in turn."""
    servers = ", ".join(f"{i} : {address} . {PORT}" for i, address in enumerate(SERVERS))
    stage.gateway.address(stage.wan, f"{VIP}/32")
    stage.gateway.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", str(CLOSED_S))
    chain = "{ type nat hook prerouting priority dstnat; }"
    rule = f"dnat ip to numgen inc mod {len(SERVERS)} map {{ {servers} }}"
    for line in (
        "add table ip balance",
        f"add chain ip balance prerouting {chain}",
        f"add rule ip balance prerouting ip daddr {VIP} meta l4proto {{ tcp, udp }} "
        f"th dport {PORT} {rule}",
    ):
        stage.gateway.run("nft", line)


def through_haproxy(stage: Stage) -> Process:
    return _proxy(stage, proxy.haproxy(stage))


def through_nginx(stage: Stage) -> Process:
    return _proxy(stage, proxy.nginx(stage))


def _proxy(stage: Stage, argv: list[str]) -> Process:
    stage.gateway.address(stage.wan, f"{VIP}/32")
    process = stage.gateway.start(*core.on(core.BALANCER, *argv))
    wait_until(lambda: _listens(stage, process), core.PATIENCE, f"{process} listens")
    return process


def _listens(stage: Stage, process: Process) -> bool:
    if process.status is not None:
        process.wait_for("a word about that")  # fails with what it has complained about
    return bool(stage.gateway.run("ss", "-Hltn", "src", f"{VIP}:{PORT}").stdout)


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

    def __call__(self, stage: Stage) -> Process:
        argv = [
            *("run", "--engine", self.engine, "--mode", self.mode, "--scheduler", self.scheduler),
            *("--max-flows", str(MAX_FLOWS), "--timeout", f"fin={CLOSED_S}", *self.more),
        ]
        if self.engine == "native":
            argv += ["--workers", str(self.workers)]
        argv += ["--vip", f"{VIP}:{PORT}/{self.proto}"]
        for address in SERVERS:
            argv += ["--backend", f"{address}:{PORT}"]
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


PLAIN: Final = Contender(FORWARDING, nothing, SERVERS[0])
DNAT: Final = Contender(NFTABLES, dnat)
PROXIES: Final = (Contender(HAPROXY, through_haproxy), Contender(NGINX, through_nginx))
