"""The trials of L2: firewalls that keep state see both directions of whatever they pass."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

from netns.lab import Lab
from netns.sandwich import SYMMETRIC, Sandwich
from netns.stage import EACH_ALONE, Stage, client_address, pktlb_on
from netns.topology import address_of
from netns.trial import Answer, Trial, last_part
from netns.waiting import wait_until

CONNECTIONS: Final = 36
"Enough that no firewall of three is left out by chance."
EACH: Final = 3
"Requests of a client that stays with its firewall."
SOURCES: Final = range(21, 33)
"The last parts of more addresses of a client."

TRANSFER: Final = 4_000_000
PULLED: Final = "fw2"
NOTICED: Final = 20.0
"Seconds in which both sides must notice that a firewall is gone; six are usual."

COUNTER: Final = re.compile(r"counter (\w+) \{\s+packets (\d+)")

HIDE: Final = """\
table inet hide {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "rear" masquerade
    }
}
"""
"Rules of a firewall that puts its own address in the place of its clients': it gets all replies."


class L2Demo(Stage):
    """Two balancers in step, then one that chooses by MAC or address, with two arms or one."""

    def __init__(self, lab: Lab, topology: Sandwich) -> None:
        super().__init__(lab, topology)
        self.sandwich = topology
        self.touched = [topology.balancer, topology.far_balancer]
        self.firewalls = [lab.hosts[name] for name in topology.backends]

    def trials_proper(self) -> Iterator[Trial]:
        with self.spreading(*self.touched):
            for url in self.topology.urls:
                yield self.connections(url)
            yield self.pings()
            yield self.transfers()
            yield self.pulled()
        for firewall in self.firewalls:
            firewall.rules(HIDE)
        with self.spreading("left", hash_on="mac"):
            yield self.by_mac()
        with self.spreading("left", hash_on="source"):
            yield self.by_source("client", "10.0.1")
        with self.spreading("left", hash_on="source", interface="front"):
            yield self.by_source("guest", "10.0.2")

    @contextmanager
    def spreading(
        self, *hosts: str, hash_on: str = SYMMETRIC, interface: str = ""
    ) -> Iterator[None]:
        """Run pktlb on balancers for the length of a `with` block."""
        with ExitStack() as stack:
            for host in hosts:
                arguments = self.sandwich.spread(host, hash_on, interface)
                stack.enter_context(self.running(pktlb_on(host, arguments)))
            yield

    def connections(self, url: str) -> Trial:
        self.count()
        answers = self.ask(CONNECTIONS, url)
        opened, complaint = self.judged(CONNECTIONS)
        if not complaint and {answer.client for answer in answers} != {client_address(url)}:
            complaint = "the server did not see the client's address"
        idle = [name for name in self.servers if not opened[name]]
        if idle:
            complaint = complaint or f"{' and '.join(idle)} got none"
        what = f"{CONNECTIONS} connections to {address_of(url.removeprefix('http://'))}"
        return Trial("5-tuple", what, answers, complaint, opened)

    def pings(self) -> Trial:
        """Pings of both families: all packets of a ping are one flow."""
        self.count()
        for target in self.topology.dialled:
            self.client.run("ping", "-c", "3", "-i", "0.1", "-W", "2", target.strip("[]"))
        opened, complaint = self.judged(len(self.topology.dialled))
        return Trial("5-tuple", "ping, both families", complaint=complaint, passed=opened)

    def transfers(self) -> Trial:
        """A download and an upload, each through one firewall both ways."""
        self.count()
        whole = [self.download(url, TRANSFER) for url in self.topology.urls]
        whole += [self.upload(url, TRANSFER) for url in self.topology.urls]
        opened, complaint = self.judged(len(whole))
        complaint = complaint if all(whole) else "what arrived is not what was sent"
        what = f"{TRANSFER // 1_000_000} MB down and up, both families"
        return Trial("5-tuple", what, complaint=complaint, passed=opened)

    def pulled(self) -> Trial:
        """A firewall whose cables are pulled gets no new connections."""
        self.plug(PULLED, "down")
        quick = ("curl", "--silent", "--fail", "--fail-early", "--max-time", "1", *EACH_ALONE)
        asked = [*quick, *[self.topology.url] * CONNECTIONS]

        def noticed() -> bool:
            return self.client.run(*asked, check=False).returncode == 0

        wait_until(noticed, NOTICED, f"both sides do without {PULLED}")
        self.count()
        answers = self.ask(CONNECTIONS)
        opened, complaint = self.judged(CONNECTIONS)
        self.plug(PULLED, "up")
        what = f"{CONNECTIONS} connections, {PULLED} unplugged"
        return Trial("5-tuple", what, answers, complaint, opened)

    def by_mac(self) -> Trial:
        """A machine keeps its firewall, whatever it asks for and in whichever family."""
        self.count()
        answers = {
            name: [it for url in self.topology.urls for it in self.ask_from(host, EACH, url)]
            for name, host in self.lab.hosts.items()
            if name.startswith("client")
        }
        return self.kept("mac", f"{len(answers)} clients, {EACH} requests of each family", answers)

    def by_source(self, name: str, network: str) -> Trial:
        """An address keeps its firewall."""
        host = self.lab.hosts[name]
        sources = [f"{network}.{last}" for last in SOURCES]
        for source in sources:
            host.address("eth0", f"{source}/24")
        self.count()
        answers = {it: self.ask_from(host, EACH, self.topology.url, it) for it in sources}
        arms = "one arm" if name == "guest" else "two arms"
        what = f"{len(answers)} clients, {EACH} requests each, {arms}"
        return self.kept("source", what, answers)

    def kept(self, hash_on: str, what: str, answers: Mapping[str, list[Answer]]) -> Trial:
        """Whether each client had one firewall, and not all of them the same."""
        each = [it for given in answers.values() for it in given]
        opened, complaint = self.judged(len(each))
        used = [{last_part(it.client) for it in given} for given in answers.values()]
        if any(len(one) > 1 for one in used):
            complaint = complaint or "a client was sent to more than one firewall"
        elif len(set.union(*used)) == 1:
            complaint = complaint or "all clients were sent to one firewall"
        return Trial(hash_on, what, each, complaint, opened)

    def count(self) -> dict[str, dict[str, int]]:
        """The counters of the firewalls since the last call."""
        return {
            it.name: {
                name: int(packets)
                for name, packets in COUNTER.findall(it.run("nft", "reset", "counters").stdout)
            }
            for it in self.firewalls
        }

    def judged(self, expected: int) -> tuple[dict[str, int], str]:
        """New connections by firewall, and what is wrong about them: each must be on one only."""
        counts = self.count()
        opened = {name: each["opened"] for name, each in counts.items()}
        astray = [name for name, each in counts.items() if each["strays"]]
        complaint = ""
        if astray:
            complaint = f"{' and '.join(astray)} got packets of connections that began elsewhere"
        elif sum(opened.values()) != expected:
            complaint = f"{expected} connections made {sum(opened.values())} in the firewalls"
        return opened, complaint

    def plug(self, name: str, state: str) -> None:
        """Pull a firewall's cables out of the switches, or put them back."""
        for switch in ("front", "rear"):
            self.lab.hosts[switch].run("ip", "link", "set", name, state)
