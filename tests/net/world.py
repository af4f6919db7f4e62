"""A laboratory with its servers running, and the questions that tests ask of it."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from netns.host import Host, Switch, pktlb_command
from netns.lab import Lab
from netns.process import Process
from netns.topology import Program, Topology
from netns.waiting import wait_until

CLIENT: Final = "10.0.1.2"
CURL: Final = ("curl", "--silent", "--show-error", "--fail", "--max-time", "30")
EACH_ALONE: Final = ("--header", "Connection: close")
"Every request over a connection of its own."

_END: Final = r"\[?([\da-f:.]+?)\]?:(\d+)"
ANSWER: Final = re.compile(rf"^(\w+) {_END} -> {_END}$", re.MULTILINE)
HELD: Final = re.compile(r"Server: (\w+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server writes back to `GET /`."""

    server: str
    client: str
    client_port: int
    address: str
    "The server's own end of the connection, as it sees it."
    port: int


def ask(host: Host, *arguments: str) -> Any:
    """The JSON that a command of pktlb prints on this host."""
    return json.loads(host.ask(*arguments, "--json").stdout)


@dataclass(frozen=True, slots=True)
class World:
    """A laboratory of one topology; the balancer is started by the test."""

    lab: Lab
    topology: Topology

    @property
    def client(self) -> Host:
        return self.lab.hosts["client"]

    @property
    def balancer(self) -> Host:
        return self.lab.hosts[self.topology.balancer]

    @property
    def backends(self) -> list[Host]:
        return [self.lab.hosts[name] for name in self.topology.backends]

    @property
    def url(self) -> str:
        return self.topology.url

    @property
    def vip(self) -> tuple[str, int]:
        """Address and port of the first VIP, for sockets."""
        return self.vips[0]

    @property
    def vips(self) -> list[tuple[str, int]]:
        """All VIPs, for sockets; one of each family if there are both."""
        ends = [vip.rpartition(":") for vip in self.topology.vips]
        return [(address.strip("[]"), int(port)) for address, _, port in ends]

    def arguments(
        self, *more: str, scheduler: str = "rr", weights: Mapping[str, int] | None = None
    ) -> list[str]:
        """The arguments of pktlb for this topology, and `more`."""
        return [*self.topology.run_arguments(scheduler, weights), *more]

    def balance(
        self, *more: str, scheduler: str = "rr", weights: Mapping[str, int] | None = None
    ) -> Process:
        """Start pktlb; it is ready on return."""
        return self.balancer.pktlb(*self.arguments(*more, scheduler=scheduler, weights=weights))

    def try_pktlb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a pktlb that ends by itself; if it does not, it is stopped (status 124)."""
        return self.balancer.run("timeout", "8", *pktlb_command(*arguments), check=False)

    def ask(self, count: int = 1, url: str = "", *options: str) -> list[Answer]:
        """Send requests one after the other, each over its own connection; all must be answered."""
        urls = [url or self.url] * count
        answers = parse(self.client.run(*CURL, *EACH_ALONE, *options, *urls).stdout)
        assert len(answers) == count
        return answers

    def answers(self, count: int, url: str = "", *options: str) -> Counter[str]:
        """By server, how many of so many requests it answers."""
        return Counter(answer.server for answer in self.ask(count, url, *options))

    def download(self, size: int, url: str = "") -> str:
        """The SHA-256 of so many bytes, as they arrive at the client."""
        line = f"{' '.join(CURL)} {url or self.url}/bytes/{size} | sha256sum"
        return self.client.run("sh", "-c", line).stdout.split()[0]

    def upload(self, file: Path, url: str = "") -> str:
        """The SHA-256 of a file, as the server got it."""
        put = ("--upload-file", str(file), f"{url or self.url}/upload")
        return self.client.run(*CURL, *put).stdout.strip()

    def hold(self, seconds: int = 60) -> tuple[Process, str]:
        """A connection that stays open, and the server that has it; the answer has begun."""
        url = f"{self.url}/slow/{seconds}"
        curl = self.client.start("curl", "-sNi", "--max-time", "90", url, ready="\r\n\r\n.")
        return curl, HELD.findall(curl.stdout)[0]

    def hang_up(self) -> None:
        """Wait until each connection is over on both ends, so that no packet is under way."""
        query = ("ss", "-Htn", "state", "connected", "exclude", "time-wait")

        def all_over() -> bool:
            return not any(host.run(*query).stdout for host in (self.client, *self.backends))

        wait_until(all_over, 10, "all connections are over")

    def serves_again(self, timeout: float, what: str, in_a_row: int = 6) -> None:
        """Wait until so many requests in a row are answered (each is given one second)."""
        # without --fail-early, the status would be that of the last one
        quick = ("curl", "-s", "--fail", "--fail-early", "--max-time", "1", *EACH_ALONE)

        def all_answered() -> bool:
            return self.client.run(*quick, *[self.url] * in_a_row, check=False).returncode == 0

        wait_until(all_answered, timeout, what)


def balance_tcp_and_udp(world: World, *more: str) -> Process:
    """Start pktlb with the topology's services, each of both protocols."""
    vips = world.topology.vips
    return world.balancer.pktlb(
        *(f"{word}/any" if word in vips else word for word in world.arguments(*more))
    )


def with_flags(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Arguments with more flags for all services, in front of the first service."""
    at = arguments.index("--vip")
    return [*arguments[:at], *flags, *arguments[at:]]


def parse(text: str) -> list[Answer]:
    """The answers in what curl printed."""
    return [
        Answer(server, client, int(client_port), address, int(port))
        for server, client, client_port, address, port in ANSWER.findall(text)
    ]


@contextmanager
def serving(
    topology: Topology,
    prepare: Callable[[Lab], None] = lambda lab: None,
    without: Sequence[str] = (),
) -> Iterator[World]:
    """The topology built and prepared, and its servers running on all backends but some."""
    with topology.laboratory() as lab:
        topology.build(lab)
        prepare(lab)
        programs = [*topology.decapsulators(), *topology.servers()]
        start_all(lab, [program for program in programs if program.host not in without])
        yield World(lab, topology)
        tracebacks = [p.stderr for p in lab.processes if "Traceback" in p.stderr]
        assert not tracebacks, tracebacks[0]


def start_all(lab: Lab, programs: Sequence[Program]) -> None:
    """Start programs side by side; all are ready on return."""
    started = [(lab.hosts[p.host].start(*p.argv), p.ready) for p in programs]
    for process, ready in started:
        process.wait_for(ready)


def switch_offloads(lab: Lab, on: bool) -> None:
    """All offloads of all hosts' interfaces."""
    for host in lab.hosts.values():
        for ifname in host.macs:
            if not (isinstance(host, Switch) and ifname == host.bridge):
                host.offloads(ifname, on)
