"""A firewall sandwich: two balancers with the same machines between them, and their arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from netns.topology import Topology

SYMMETRIC: Final = "5-tuple,symmetric"


@dataclass(frozen=True, slots=True)
class Sandwich(Topology):
    """Its `backends` are the machines in the middle, by their addresses on the clients' side."""

    far_balancer: str = ""
    "The balancer on the servers' side; `balancer` is on the clients'."
    far_backends: Mapping[str, str] | None = None
    "The machines in the middle, by their addresses on the servers' side."
    interfaces: Mapping[str, str] | None = None
    "By balancer, the interface whose frames are spread."

    def runs(self) -> dict[str, list[str]]:
        return {host: self.spread(host) for host in (self.balancer, self.far_balancer)}

    def spread(self, host: str, hash_on: str = SYMMETRIC, interface: str = "") -> list[str]:
        """The arguments of pktlb on one side."""
        backends = self.backends if host == self.balancer else self.far_backends or {}
        interface = interface or (self.interfaces or {})[host]
        arguments = ["run", "--mode", self.mode, "--vip", self.vip, "--interface", interface]
        arguments += ["--scheduler", "hash", "--hash", hash_on]
        for name, address in backends.items():
            arguments += ["--backend", f"{address},name={name}"]
        return arguments
