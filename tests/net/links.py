"""One link with the balancer and other machines on it, and frames about its VIP."""

import json
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from netns.host import Host
from netns.lab import Lab
from netns.process import Process
from netns.topology import Topology
from pktlb.host import arp, nd
from tests.net.topologies import BALANCER, ONE_ARMED, in_ipv6, ipv6_of

ETH_P_ALL = 3
TOPOLOGIES = {"ipv4": ONE_ARMED, "ipv6": in_ipv6(ONE_ARMED)}


@dataclass(frozen=True, slots=True)
class OneLink:
    """The hosts `gw` (the balancer), `router`, `a`, `b` and `c` on one switch."""

    lab: Lab
    topology: Topology

    @property
    def gw(self) -> Host:
        return self.lab.hosts["gw"]

    @property
    def other(self) -> Host:
        """A machine that has nothing to do with the service."""
        return self.lab.hosts["router"]

    @property
    def witness(self) -> Host:
        """A machine whose table of neighbours is looked at."""
        return self.lab.hosts["a"]

    @property
    def gw_address(self) -> str:
        """The balancer's own."""
        return ipv6_of(BALANCER) if self.topology.ipv6 else BALANCER

    @property
    def vip(self) -> str:
        return self.topology.vip.rpartition(":")[0].strip("[]")

    @property
    def packed(self) -> bytes:
        family = socket.AF_INET6 if ":" in self.vip else socket.AF_INET
        return socket.inet_pton(family, self.vip)

    def mac_of(self, host: Host) -> str:
        return host.macs["lan" if host.name == "router" else "eth0"]

    def balance(self, *more: str) -> Process:
        return self.gw.pktlb(*self.topology.run_arguments("rr"), *more)

    def use_vip(self, is_used: bool = True) -> None:
        """Have the other machine use the VIP, or give it up."""
        bits = 8 * len(self.packed)
        how = ["nodad"] if is_used and bits == 128 else []
        verb = "add" if is_used else "del"
        self.other.run("ip", "address", verb, f"{self.vip}/{bits}", "dev", "lan", *how)

    def has_vip(self) -> bool:
        return f" {self.vip}/" in self.gw.run("ip", "address", "show", "dev", "eth0").stdout

    def send(self, frames: Iterable[bytes]) -> None:
        """Put frames on the link, from the other machine."""
        with self.other.enter():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with raw:
            raw.bind(("lan", 0))
            for frame in frames:
                raw.send(frame)

    def claims(self, mac: str) -> tuple[bytes, ...]:
        """The frames in which a machine with this MAC claims the VIP."""
        packed = bytes.fromhex(mac.replace(":", ""))
        if len(self.packed) == 4:
            return arp.announcements(self.packed, packed)
        return (nd.announcement(self.packed, packed, False),)

    def probe(self, mac: str) -> bytes:
        """The frame in which a machine with this MAC asks whether the VIP is free."""
        ask = arp.probe if len(self.packed) == 4 else nd.probe
        return ask(self.packed, bytes.fromhex(mac.replace(":", "")))

    def neighbour(self) -> str:
        """The MAC of the VIP in the table of a witness; empty where there is none."""
        said = self.witness.run("ip", "-json", "neighbour", "show", self.vip, "dev", "eth0").stdout
        entries = json.loads(said or "[]")
        return str(entries[0].get("lladdr", "")) if entries else ""

    @contextmanager
    def announcements(self) -> Iterator[Callable[[], list[bytes]]]:
        """A look at the announcements of the VIP that have come to the witness from now on."""
        frames: list[bytes] = []
        with self.witness.enter():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with raw:
            raw.setblocking(False)

            def look() -> list[bytes]:
                with suppress(BlockingIOError):
                    while True:
                        frame = raw.recv(2048)
                        claim = arp.claim(frame) or nd.claim(frame)
                        if claim and claim.address == self.packed and not claim.is_probe:
                            frames.append(frame)
                return frames

            yield look

    def mislead(self, mac: str) -> None:
        """Give the witness a MAC of the VIP, to be trusted for a while."""
        self.witness.run("ip", "neighbour", "replace", self.vip, "lladdr", mac, "dev", "eth0",
                         "nud", "reachable")  # fmt: skip


@contextmanager
def one_link(family: str) -> Iterator[OneLink]:
    """The link, with nothing at work."""
    topology = TOPOLOGIES[family]
    with topology.laboratory() as lab:
        topology.build(lab)
        yield OneLink(lab, topology)
        tracebacks = [p.stderr for p in lab.processes if "Traceback" in p.stderr]
        assert not tracebacks, tracebacks[0]
