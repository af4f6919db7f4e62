"""The demonstration: real requests, each scheduler, and a check of everything that is shown."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from netns.errors import LabError, RefusedError
from netns.host import PKTLB_READY, pktlb_command
from netns.lab import Lab
from netns.process import Process
from netns.table import Cell, Colour, header, line, paint
from netns.topology import Program, Topology

CLIENT: Final = "10.0.1.2"
MORE_CLIENTS: Final = [f"10.0.1.{number}" for number in range(21, 37)]
REQUESTS: Final = 12
WEIGHTS: Final = (3, 2, 1)
HELD: Final = 2
DOWNLOAD: Final = 4_000_000
SHARE_OF_ACKS: Final = 0.1
"Acknowledgements are far below a tenth of a download; the download itself is far above."

CURL: Final = ("curl", "--silent", "--show-error", "--fail", "--max-time", "10")
ANSWER: Final = re.compile(r"(\w+) ([\d.]+):\d+ -> ")
HOLDER: Final = re.compile(r"Server: (\w+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server wrote back."""

    server: str
    client: str
    "The client's address, as the server saw it."


@dataclass(frozen=True, slots=True)
class Trial:
    """One line of the demonstration."""

    scheduler: str
    what: str
    answers: list[Answer] = field(default_factory=list)
    complaint: str = ""
    "What is wrong about it, if anything is."

    @property
    def counts(self) -> Counter[str]:
        return Counter(answer.server for answer in self.answers)

    @property
    def clients_seen(self) -> list[str]:
        return sorted({answer.client for answer in self.answers})


class Demo:
    """A laboratory of one topology in which trials are made."""

    def __init__(self, lab: Lab, topology: Topology) -> None:
        self.lab = lab
        self.topology = topology
        self.client = topology.client(lab)
        self.servers = list(topology.backends)

    def trials(self) -> Iterator[Trial]:
        """All of them, one after the other; the last one compares the hosts with before."""
        touched = [self.topology.balancer, *(self.servers if self.topology.decap else [])]
        before = self.states(touched)
        with ExitStack() as stack:
            for program in self.topology.decapsulators():
                stack.enter_context(self.running(program))
            with self.balancing("rr"):
                yield self.round_robin()
                if self.topology.direct_return:
                    yield self.way_back()
            yield self.weighted_round_robin()
            yield self.least_connections()
            yield self.source()
            if self.topology.snat:
                yield self.source_nat()
        changed = [name for name, state in self.states(touched).items() if state != before[name]]
        complaint = f"{' and '.join(changed)}: not as before pktlb ran" if changed else ""
        yield Trial("", f"after stop: {', '.join(touched)} as before", complaint=complaint)

    def round_robin(self) -> Trial:
        answers = self.ask(REQUESTS)
        share = REQUESTS // len(self.servers)
        complaint = self.wrong(answers, dict.fromkeys(self.servers, share))
        return Trial("rr", f"{REQUESTS} requests", answers, complaint)

    def weighted_round_robin(self) -> Trial:
        weights = dict(zip(self.servers, WEIGHTS, strict=True))
        with self.balancing("rr", weights):
            answers = self.ask(REQUESTS)
        share = REQUESTS // sum(WEIGHTS)
        complaint = self.wrong(answers, {name: weights[name] * share for name in weights})
        told = ":".join(map(str, WEIGHTS))
        return Trial("rr", f"{REQUESTS} requests, weights {told}", answers, complaint)

    def least_connections(self) -> Trial:
        """Who holds a long connection gets no short one while another holds none."""
        with self.balancing("lc"):
            held = [self.hold() for _ in range(HELD)]
            names = sorted({name for curl in held for name in HOLDER.findall(curl.stdout)})
            answers = self.ask(REQUESTS)
            for curl in held:
                curl.stop()
        idle = [name for name in self.servers if name not in names]
        complaint = "" if len(idle) == 1 else f"{HELD} connections are both held by {names}"
        complaint = complaint or self.wrong(answers, {idle[0]: REQUESTS})
        what = f"{REQUESTS} requests, while {' and '.join(names)} hold one"
        return Trial("lc", what, answers, complaint)

    def source(self) -> Trial:
        """A client address stays with its server; different ones spread."""
        for address in MORE_CLIENTS:
            self.client.address("eth0", f"{address}/24")
        with self.balancing("source"):
            answers = [it for address in MORE_CLIENTS for it in self.ask(3, address)]
        pairs = {(answer.client, answer.server) for answer in answers}
        complaint = ""
        if {client for client, _ in pairs} != set(MORE_CLIENTS):
            complaint = "the servers did not see the clients' addresses"
        elif len(pairs) != len(MORE_CLIENTS):
            complaint = "a client was sent to more than one server"
        elif len({server for _, server in pairs}) == 1:
            complaint = "all clients were sent to one server"
        return Trial("source", f"{len(MORE_CLIENTS)} clients, 3 requests each", answers, complaint)

    def source_nat(self) -> Trial:
        snat = self.topology.snat
        with self.balancing("rr", snat=snat):
            answers = self.ask(REQUESTS)
        share = REQUESTS // len(self.servers)
        complaint = self.wrong(answers, dict.fromkeys(self.servers, share), saw=snat)
        return Trial("rr", f"{REQUESTS} requests, --snat {snat}", answers, complaint)

    def way_back(self) -> Trial:
        """A download must not show in the counters of the balancer's interface."""
        balancer = self.lab.hosts[self.topology.balancer]
        before = balancer.counters("eth0")
        self.client.run(*CURL, "-o", "/dev/null", f"{self.topology.url}/bytes/{DOWNLOAD}")
        after = balancer.counters("eth0")
        crossed = max(after[key] - before[key] for key in ("rx_bytes", "tx_bytes"))
        what = f"{DOWNLOAD // 1000} kB downloaded, {crossed // 1000} kB crossed {balancer}"
        complaint = "" if crossed < DOWNLOAD * SHARE_OF_ACKS else "the reply crossed the balancer"
        return Trial("rr", what, complaint=complaint)

    @contextmanager
    def balancing(
        self, scheduler: str, weights: Mapping[str, int] | None = None, snat: str = ""
    ) -> Iterator[None]:
        """Have pktlb run for the length of a `with` block; it must end well."""
        argv = pktlb_command(*self.topology.run_arguments(scheduler, weights, snat))
        with self.running(Program(self.topology.balancer, argv, PKTLB_READY)):
            yield

    @contextmanager
    def running(self, program: Program) -> Iterator[None]:
        """Have a program run for the length of a `with` block; it must end well."""
        process = self.lab.hosts[program.host].start(*program.argv, ready=program.ready)
        try:
            yield
        except LabError:
            print(process.stderr, end="", file=sys.stderr)
            raise
        if (status := process.stop()) != 0:
            raise LabError(f"{process} ended with status {status}: {process.stderr.strip()}")

    def ask(self, count: int, address: str = CLIENT) -> list[Answer]:
        """Send requests from a client address, each over a connection of its own."""
        urls = [self.topology.url] * count
        header = ("--header", "Connection: close")
        lines = self.client.run(*CURL, "--interface", address, *header, *urls).stdout
        answers = [Answer(*match) for match in ANSWER.findall(lines)]
        if len(answers) != count:
            raise LabError(f"{count} requests got {len(answers)} answers: {lines}")
        return answers

    def hold(self) -> Process:
        """Open a connection that stays open; the first byte of an answer has come on return."""
        url = f"{self.topology.url}/slow/60"
        return self.client.start("curl", "-sNi", "--max-time", "60", url, ready="\r\n\r\n.")

    def wrong(self, answers: list[Answer], counts: Mapping[str, int], saw: str = CLIENT) -> str:
        """What is not as it should be about these answers; empty if all is."""
        trial = Trial("", "", answers)
        if trial.counts != Counter(counts):
            expected = ", ".join(f"{name} {count}" for name, count in counts.items())
            return f"expected {expected}"
        if trial.clients_seen != [saw]:
            return f"the servers saw {', '.join(trial.clients_seen)} instead of {saw}"
        return ""

    def states(self, names: list[str]) -> dict[str, str]:
        return {name: self.lab.hosts[name].state() for name in names}


class Sheet:
    """The table that the trials make."""

    def __init__(self, servers: list[str]) -> None:
        self.servers = servers
        self.widths = [10, 46, *[-4 for _ in servers], 2, 18, 4]

    def title(self) -> str:
        return header(["scheduler", "asked", *self.servers, "", "servers saw", ""], self.widths)

    def row(self, trial: Trial) -> str:
        counts = [str(trial.counts[name]) if trial.answers else "" for name in self.servers]
        seen = trial.clients_seen
        told = f"{seen[0]} …{seen[-1].rpartition('.')[2]}" if len(seen) > 1 else "".join(seen)
        cells = [Cell(text) for text in (trial.scheduler, trial.what, *counts, "", told)]
        verdict = Cell("FAIL", Colour.BAD) if trial.complaint else Cell("ok", Colour.GOOD)
        return line([*cells, verdict], self.widths)


def demonstrate(topology: Topology) -> int:
    """Show the mode at work; return the exit status."""
    print(topology.introduction())
    try:
        complaints = run_trials(topology)
    except RefusedError:
        raise
    except LabError as error:
        complaints = [str(error)]
    if complaints:
        print(paint(f"{topology.mode}: FAIL: {complaints[0]}", Colour.BAD))
        return 1
    print(paint(f"{topology.mode}: PASS", Colour.GOOD))
    return 0


def run_trials(topology: Topology) -> list[str]:
    """Make every trial in a laboratory of its own and print it; return what went wrong."""
    complaints = []
    sheet = Sheet(list(topology.backends))
    with Lab(topology.mode) as lab:
        topology.build(lab)
        for program in topology.servers():
            lab.hosts[program.host].start(*program.argv, ready=program.ready)
        print(sheet.title())
        for trial in Demo(lab, topology).trials():
            print(sheet.row(trial), flush=True)
            if trial.complaint:
                complaints.append(f"{trial.scheduler} {trial.what}: {trial.complaint}".strip())
    return complaints
