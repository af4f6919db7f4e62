"""What the three topologies have in common, as data: who is who, and which programs run where."""

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
    """A laboratory in which one mode of pktlb is at home."""

    mode: str
    "The mode, which is also the first part of the laboratory's name."
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
    "An address for --snat, where the mode knows such a thing."

    @property
    def url(self) -> str:
        return f"http://{self.vip}"

    def run_arguments(
        self, scheduler: str, weights: Mapping[str, int] | None = None, snat: str = ""
    ) -> list[str]:
        """The arguments with which pktlb balances in this topology."""
        arguments = ["run", "--mode", self.mode, "--scheduler", scheduler, "--vip", self.vip]
        for name, address in self.backends.items():
            weight = f",weight={weights[name]}" if weights else ""
            arguments += ["--backend", address + weight]
        return arguments + (["--snat", snat] if snat else [])

    def introduction(self) -> str:
        """The drawing, and what is typed where."""
        run = command(["pktlb", *self.run_arguments("rr")], indent=4)
        curl = command(["curl", self.url], indent=4)
        return f"{self.drawing.strip()}\n\non {self.balancer}:\n{run}\non client:\n{curl}\n"

    def servers(self) -> list[Program]:
        """The programs that serve on the backends."""
        listen = f"0.0.0.0:{self.server_port}"
        return [Program(name, server_command(name, listen), SERVER_READY) for name in self.backends]

    def decapsulators(self) -> list[Program]:
        """The programs that unwrap on the backends, in a tunnel."""
        argv = pktlb_command("decap", "--vip", self.vip.partition(":")[0])
        return [Program(name, argv, PKTLB_READY) for name in self.backends if self.decap]

    def client(self, lab: Lab) -> Host:
        return lab.hosts["client"]
