"""A topology as data: its hosts, their roles, and the programs that run on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netns.host import PKTLB_READY, SERVER_READY, Host, pktlb_command, server_command
from netns.lab import Lab
from netns.table import command


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs on one of the hosts as long as the laboratory is up."""

    host: str
    argv: list[str]
    ready: str
    "What it prints when it does its work."


@dataclass(frozen=True, slots=True)
class Topology:
    """A laboratory that shows one mode of pktlb."""

    mode: str
    "The flag --mode of pktlb."
    drawing: str
    build: Callable[[Lab], None]
    "Lays out hosts, cables, addresses and routes."
    balancer: str
    "The host in which pktlb runs."
    legs: tuple[tuple[str, str], ...]
    "Interfaces on the way from the client to the backends, as (host, interface)."
    vip: str
    backends: Mapping[str, str]
    "Backends by name; each runs a server. The address, as the flag --backend wants it."
    server_port: int = 80
    direct_return: bool = False
    "Whether replies go from the backend to the client, past the balancer."
    decap: bool = False
    "Whether a backend has to unwrap what the balancer sends it."
    snat: str = ""
    "An address for --snat, if the mode has that."
    name: str = ""
    "The first part of the laboratory's name, if not the mode."
    ipv6: bool = False
    "Whether there is IPv6 in it, beside IPv4."
    more_vips: tuple[str, ...] = ()
    "Further VIPs with the same backends."
    dialled: tuple[str, ...] = ()
    "What the client dials, if not the VIPs."
    serving: tuple[str, ...] = ()
    "The hosts that serve, if not the backends."

    @property
    def kind(self) -> str:
        """The first part of the laboratory's name."""
        return self.name or self.mode

    @property
    def vips(self) -> tuple[str, ...]:
        return (self.vip, *self.more_vips)

    @property
    def urls(self) -> list[str]:
        """What the client asks for: one URL for each VIP."""
        return [f"http://{target}" for target in self.dialled or self.vips]

    @property
    def url(self) -> str:
        return self.urls[0]

    def laboratory(self, tag: str = "", *, rehearse: bool = False) -> Lab:
        """A new laboratory for this topology, still empty."""
        return Lab(self.kind, tag, ipv6=self.ipv6, rehearse=rehearse)

    def run_arguments(
        self, scheduler: str, weights: Mapping[str, int] | None = None, snat: str = ""
    ) -> list[str]:
        """The arguments with which pktlb balances in this topology."""
        arguments = ["run", "--mode", self.mode, "--scheduler", scheduler]
        for vip in self.vips:
            arguments += ["--vip", vip]
            for name, address in self.backends.items():
                weight = f",weight={weights[name]}" if weights else ""
                arguments += ["--backend", address + weight]
        return arguments + (["--snat", snat] if snat else [])

    def runs(self) -> dict[str, list[str]]:
        """The arguments of pktlb on every balancer."""
        return {self.balancer: self.run_arguments("rr")}

    def introduction(self) -> str:
        """The drawing, and what is typed where."""
        typed = {host: [["pktlb", *arguments]] for host, arguments in self.runs().items()}
        typed["client"] = [["curl", url] for url in self.urls]
        told = [
            "\n".join([f"on {host}:", *(command(argv, indent=4) for argv in commands)])
            for host, commands in typed.items()
        ]
        return "\n".join([self.drawing.strip(), "", *told, ""])

    def servers(self) -> list[Program]:
        """The programs that serve."""
        listen = f"{'[::]' if self.ipv6 else '0.0.0.0'}:{self.server_port}"
        hosts = self.serving or self.backends
        return [Program(name, server_command(name, listen), SERVER_READY) for name in hosts]

    def decapsulators(self) -> list[Program]:
        """The programs that unwrap on the backends, in a tunnel."""
        vips = [word for vip in self.vips for word in ("--vip", address_of(vip))]
        argv = pktlb_command("decap", *vips)
        return [Program(name, argv, PKTLB_READY) for name in self.backends if self.decap]

    def client(self, lab: Lab) -> Host:
        return lab.hosts["client"]


def address_of(end: str) -> str:
    """The address in what clients dial: 10.0.1.100 of 10.0.1.100:80, fd01::100 of [fd01::100]:80.

    A bare address of either family is what it is.
    """
    if end.startswith("["):
        return end[1:].partition("]")[0]
    return end if end.count(":") > 1 else end.partition(":")[0]
