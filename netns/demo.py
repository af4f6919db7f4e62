"""The demonstration: real requests, each scheduler, and a check of everything that is shown."""

import re
from collections.abc import Iterator
from typing import Final

from netns.errors import LabError, RefusedError
from netns.stage import CURL, Stage
from netns.table import Colour, paint
from netns.topology import Topology
from netns.trial import Sheet, Trial

MORE_CLIENTS: Final = [f"10.0.1.{number}" for number in range(21, 37)]
REQUESTS: Final = 12
WEIGHTS: Final = (3, 2, 1)
HELD: Final = 2
DOWNLOAD: Final = 4_000_000
SHARE_OF_ACKS: Final = 0.1
"Acknowledgements are far below a tenth of a download; the download itself is far above."

HOLDER: Final = re.compile(r"Server: (\w+)")


class Demo(Stage):
    """The trials of one mode with all of its schedulers."""

    def trials_proper(self) -> Iterator[Trial]:
        with self.balancing("rr"):
            yield self.round_robin()
            if self.topology.direct_return:
                yield self.way_back()
        yield self.weighted_round_robin()
        yield self.least_connections()
        yield self.source()
        if self.topology.snat:
            yield self.source_nat()

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
        """A server with a long connection gets no short one while another server has none."""
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
        """A client's address stays with its server; several addresses are spread."""
        for address in MORE_CLIENTS:
            self.client.address("eth0", f"{address}/24")
        with self.balancing("source"):
            answers = [
                it for address in MORE_CLIENTS for it in self.ask(3, self.topology.url, address)
            ]
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


def demonstrate(topology: Topology, kind: type[Stage]) -> int:
    """Show the mode at work; return the exit status."""
    print(topology.introduction())
    try:
        complaints = run_trials(topology, kind)
    except RefusedError:
        raise
    except LabError as error:
        complaints = [str(error)]
    if complaints:
        print(paint(f"{topology.kind}: FAIL: {complaints[0]}", Colour.BAD))
        return 1
    print(paint(f"{topology.kind}: PASS", Colour.GOOD))
    return 0


def run_trials(topology: Topology, kind: type[Stage]) -> list[str]:
    """Make every trial in a laboratory of its own and print it; return what went wrong."""
    complaints = []
    sheet = Sheet(list(topology.backends))
    with topology.laboratory() as lab:
        topology.build(lab)
        for program in topology.servers():
            lab.hosts[program.host].start(*program.argv, ready=program.ready)
        print(sheet.title())
        for trial in kind(lab, topology).trials():
            print(sheet.row(trial), flush=True)
            if trial.complaint:
                complaints.append(f"{trial.scheduler} {trial.what}: {trial.complaint}".strip())
    return complaints
