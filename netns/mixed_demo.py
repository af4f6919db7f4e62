"""The trials of mixed families: the same of an IPv4 and of an IPv6 VIP, over backends of both."""

import re
from collections.abc import Iterator
from typing import Final

from netns.stage import Stage, client_address
from netns.topology import address_of
from netns.trial import Trial

REQUESTS: Final = 12
SPREAD: Final = 48
"Connections; enough that no server of four is left out by chance."
SOURCES: Final = range(21, 37)
"The last parts of more addresses of the client."

DOWNLOAD: Final = 4_000_000
UPLOAD: Final = 1_000_000
SHARE_OF_ACKS: Final = 0.1
"Acknowledgements are far below a tenth of a download; the download itself is far above."

NARROWEST: Final = "1460"
"Bytes of a packet that fits all tunnels: 1500 less the 40 of an outer IPv6 header."
PATH_MTU: Final = re.compile(r"\bmtu (\d+)")


class MixedDemo(Stage):
    """Every backend for both VIPs, and large transfers, which the tunnel makes narrow."""

    def trials_proper(self) -> Iterator[Trial]:
        urls = self.topology.urls
        with self.balancing("rr"):
            for url in urls:
                yield self.round_robin(url)
            for url in urls:
                yield self.downloads(url)
                yield self.uploads(url)
        with self.balancing("source"):
            for url in urls:
                yield self.source(url)
        with self.balancing("maglev"):
            for url in urls:
                yield self.maglev(url)

    def round_robin(self, url: str) -> Trial:
        answers = self.ask(REQUESTS, url)
        share = REQUESTS // len(self.servers)
        complaint = self.wrong(answers, dict.fromkeys(self.servers, share), client_address(url))
        return Trial("rr", f"{REQUESTS} requests to {vip(url)}", answers, complaint)

    def downloads(self, url: str) -> Trial:
        """One download from each server; none crosses the balancer."""
        balancer = self.lab.hosts[self.topology.balancer]
        before = balancer.counters("eth0")
        count = len(self.servers)
        whole = self.download(url, DOWNLOAD, count)
        after = balancer.counters("eth0")
        crossed = max(after[key] - before[key] for key in ("rx_bytes", "tx_bytes"))
        complaint = ""
        if not whole:
            complaint = "a download is not what was sent"
        elif crossed > DOWNLOAD * count * SHARE_OF_ACKS:
            complaint = "the replies crossed the balancer"
        size = count * DOWNLOAD // 1_000_000
        what = f"{family(url)}: {size} MB down, {crossed // 1000} kB crossed {balancer}"
        return Trial("rr", what, complaint=complaint)

    def uploads(self, url: str) -> Trial:
        """One upload to each server; the client has to learn the size that fits the tunnels."""
        count = len(self.servers)
        whole = self.upload(url, UPLOAD, count)
        route = self.client.run("ip", "route", "get", vip(url)).stdout
        learned = "".join(PATH_MTU.findall(route)) or "not known"
        complaint = ""
        if not whole:
            complaint = "an upload did not arrive as it was sent"
        elif learned != NARROWEST:
            complaint = f"the client should have learned that {NARROWEST} bytes fit"
        what = f"{family(url)}: {count * UPLOAD // 1_000_000} MB up, path MTU now {learned}"
        return Trial("rr", what, complaint=complaint)

    def source(self, url: str) -> Trial:
        """A client's address stays with its server, in each family; several are spread."""
        prefix = client_address(url)[:-1]
        clients = [f"{prefix}{last}" for last in SOURCES]
        for address in clients:
            self.client.address("eth0", f"{address}/{64 if ':' in address else 24}")
        answers = [it for address in clients for it in self.ask(2, url, address)]
        pairs = {(answer.client, answer.server) for answer in answers}
        complaint = ""
        if {client for client, _ in pairs} != set(clients):
            complaint = "the servers did not see the clients' addresses"
        elif len(pairs) != len(clients):
            complaint = "a client was sent to more than one server"
        elif len({server for _, server in pairs}) == 1:
            complaint = "all clients were sent to one server"
        return Trial("source", f"{len(clients)} clients, 2 requests each", answers, complaint)

    def maglev(self, url: str) -> Trial:
        """Connections spread by their 5-tuple: about evenly, and over all servers."""
        answers = self.ask(SPREAD, url)
        missed = set(self.servers) - {answer.server for answer in answers}
        complaint = f"{', '.join(sorted(missed))} got none" if missed else ""
        return Trial("maglev", f"{SPREAD} requests to {vip(url)}", answers, complaint)


def family(url: str) -> str:
    """The family of the address in a URL, for people."""
    return "IPv6" if "[" in url else "IPv4"


def vip(url: str) -> str:
    """The address in a URL."""
    return address_of(url.removeprefix("http://"))
