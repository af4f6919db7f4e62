"""A stage for trials: a built laboratory, programs that run for a while, and requests."""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from netns.errors import LabError
from netns.host import PKTLB_READY, Host, pktlb_command
from netns.lab import Lab
from netns.process import Process
from netns.server import blocks, sha256_of_bytes
from netns.topology import Program, Topology
from netns.trial import Answer, Trial, parse

CURL: Final = ("curl", "--silent", "--show-error", "--fail", "--max-time", "10")
EACH_ALONE: Final = ("--header", "Connection: close")
"Every request over a connection of its own."

LAST_WORDS: Final = 20
"Lines of a program's standard error that are shown when a trial fails."

CLIENT4: Final = "10.0.1.2"
CLIENT6: Final = "fd01::2"


class Stage:
    """A laboratory of one topology in which trials are made."""

    def __init__(self, lab: Lab, topology: Topology) -> None:
        self.lab = lab
        self.topology = topology
        self.client = topology.client(lab)
        self.servers = list(topology.backends)
        self.touched = [topology.balancer, *(self.servers if topology.decap else [])]
        "The hosts where pktlb runs, which must leave them as they were."

    def trials(self) -> Iterator[Trial]:
        """All of them, one after the other; the last one compares the hosts with before."""
        before = self.states()
        with ExitStack() as stack:
            for program in self.topology.decapsulators():
                stack.enter_context(self.running(program))
            yield from self.trials_proper()
        changed = [name for name, state in self.states().items() if state != before[name]]
        complaint = f"{' and '.join(changed)}: not as before pktlb ran" if changed else ""
        yield Trial("", f"after stop: {', '.join(self.touched)} as before", complaint=complaint)

    def trials_proper(self) -> Iterator[Trial]:
        """The trials that differ from topology to topology."""
        raise NotImplementedError

    @contextmanager
    def balancing(
        self, scheduler: str, weights: Mapping[str, int] | None = None, snat: str = ""
    ) -> Iterator[None]:
        """Have pktlb run for the length of a `with` block; it must end well."""
        arguments = self.topology.run_arguments(scheduler, weights, snat)
        with self.running(pktlb_on(self.topology.balancer, arguments)):
            yield

    @contextmanager
    def running(self, program: Program) -> Iterator[None]:
        """Have a program run for the length of a `with` block; it must end well."""
        process = self.lab.hosts[program.host].start(*program.argv, ready=program.ready)
        try:
            yield
        except LabError:
            print(*process.stderr.splitlines()[-LAST_WORDS:], sep="\n", file=sys.stderr)
            raise
        if (status := process.stop()) != 0:
            raise LabError(f"{process} ended with status {status}: {process.stderr.strip()}")

    def ask(self, count: int, url: str = "", address: str = "") -> list[Answer]:
        """Send requests from a client address, each over a connection of its own."""
        url = url or self.topology.url
        return self.ask_from(self.client, count, url, address or client_address(url))

    def ask_from(self, host: Host, count: int, url: str, address: str = "") -> list[Answer]:
        """Send requests from any host, each over a connection of its own."""
        bound = ("--interface", address) if address else ()
        curl = host.run(*CURL, *bound, *EACH_ALONE, *[url] * count, check=False)
        answers = parse(curl.stdout)
        if len(answers) != count:
            complaint = (curl.stderr or curl.stdout).partition("\n")[0]
            raise LabError(f"{count} requests got {len(answers)} answers: {complaint}")
        return answers

    def download(self, url: str, size: int, count: int = 1) -> bool:
        """Whether so many downloads, each over its own connection, arrive as they were sent."""
        files = [self.lab.new_file(self.client, "download") for _ in range(count)]
        pairs = [word for file in files for word in ("-o", str(file), f"{url}/bytes/{size}")]
        self.client.run(*CURL, *EACH_ALONE, *pairs)
        return all(sha256(file) == sha256_of_bytes(size) for file in files)

    def upload(self, url: str, size: int, count: int = 1) -> bool:
        """Whether so many uploads, each over its own connection, arrive as they were sent."""
        file = self.lab.new_file(self.client, "upload")
        file.write_bytes(b"".join(blocks(size)))
        puts = ["--upload-file", str(file), f"{url}/upload"] * count
        got = self.client.run(*CURL, *EACH_ALONE, *puts).stdout.split()
        return got == [sha256_of_bytes(size)] * count

    def hold(self) -> Process:
        """Open a connection that stays open; the first byte of an answer has come on return."""
        url = f"{self.topology.url}/slow/60"
        return self.client.start("curl", "-sNi", "--max-time", "60", url, ready="\r\n\r\n.")

    def wrong(self, answers: list[Answer], counts: Mapping[str, int], saw: str = CLIENT4) -> str:
        """A complaint about these answers; empty if servers and clients are as expected."""
        trial = Trial("", "", answers)
        if trial.counts != Counter(counts):
            expected = ", ".join(f"{name} {count}" for name, count in counts.items())
            return f"expected {expected}"
        if trial.clients_seen != [saw]:
            return f"the servers saw {', '.join(trial.clients_seen)} instead of {saw}"
        return ""

    def states(self) -> dict[str, str]:
        return {name: self.lab.hosts[name].state() for name in self.touched}


def pktlb_on(host: str, arguments: list[str]) -> Program:
    """pktlb as a program of a host."""
    return Program(host, pktlb_command(*arguments), PKTLB_READY)


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def client_address(url: str) -> str:
    """The client's own address of the URL's family."""
    return CLIENT6 if "[" in url else CLIENT4
