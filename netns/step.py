"""The steps that build a laboratory: each can be done, and each can be written as a command.

A step is a value that says what should be. `apply` asks the kernel for it over netlink, `shell`
is the line a person would type for the same; the two stand next to each other on purpose.
"""

import shlex
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from netns.errors import RefusedError
from netns.kernel import Kernel
from netns.waiting import wait_until

OFFLOADS = ("tso", "gso", "gro", "tx", "rx")
"Words of ethtool: segmentation and checksums by the device, and joining of received segments."

IFA_F_NODAD = 0x02
"linux/if_addr.h: no duplicate address detection."

LINK_TIMEOUT = 5.0
"Seconds in which a cable must be usable."


class Step(Protocol):
    """One thing that a laboratory does to the machine."""

    def apply(self, kernel: Kernel) -> None:
        """Do it."""

    def shell(self) -> str:
        """The command that does the same."""


@dataclass(frozen=True, slots=True)
class AddHost:
    """A host: a network namespace with its loopback interface up."""

    namespace: str

    def apply(self, kernel: Kernel) -> None:
        kernel.add_namespace(self.namespace)
        kernel.netlink(self.namespace).link("set", index=1, state="up")

    def shell(self) -> str:
        return f"ip netns add {self.namespace}\nip -n {self.namespace} link set dev lo up"


@dataclass(frozen=True, slots=True)
class AddBridge:
    """A bridge that switches frames and does nothing else: no spanning tree, no snooping."""

    namespace: str
    ifname: str
    mac: str

    def apply(self, kernel: Kernel) -> None:
        kernel.netlink(self.namespace).link(
            "add",
            kind="bridge",
            ifname=self.ifname,
            address=self.mac,
            state="up",
            br_stp_state=0,
            br_mcast_snooping=0,
        )

    def shell(self) -> str:
        return (
            f"ip -n {self.namespace} link add name {self.ifname} address {self.mac} type bridge"
            f" stp_state 0 mcast_snooping 0\n"
            f"ip -n {self.namespace} link set dev {self.ifname} up"
        )


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable."""

    namespace: str
    ifname: str
    mac: str
    bridge: str = ""
    "The bridge that this end is a port of, if it is one."


@dataclass(frozen=True, slots=True)
class AddCable:
    """A veth pair with one end in each of two namespaces, both up."""

    left: End
    right: End
    left_index: int
    """The interface number of the left end. The right end must have another: with equal numbers the
    kernel does not know that these are two ends, and may notice a second late that they are up."""
    mtu: int

    def apply(self, kernel: Kernel) -> None:
        near, far = (
            {"ifname": end.ifname, "address": end.mac, "mtu": self.mtu}
            for end in (self.left, self.right)
        )
        kernel.netlink(self.left.namespace).link(
            "add",
            kind="veth",
            index=self.left_index,
            peer={**far, "net_ns_fd": self.right.namespace},
            **near,
        )
        for end in (self.left, self.right):
            master = {"master": kernel.index(end.namespace, end.bridge)} if end.bridge else {}
            index = kernel.index(end.namespace, end.ifname)
            kernel.netlink(end.namespace).link("set", index=index, state="up", **master)
        for end in (self.left, self.right):
            up = partial(kernel.is_up, end.namespace, end.ifname)
            wait_until(up, LINK_TIMEOUT, f"{end.ifname} in {end.namespace} is up")

    def shell(self) -> str:
        left, right = (
            f"name {end.ifname} address {end.mac} mtu {self.mtu}" for end in (self.left, self.right)
        )
        lines = [
            f"ip -n {self.left.namespace} link add {left} index {self.left_index}"
            f" type veth peer {right} netns {self.right.namespace}",
        ]
        for end in (self.left, self.right):
            master = f" master {end.bridge}" if end.bridge else ""
            lines.append(f"ip -n {end.namespace} link set dev {end.ifname}{master} up")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class AddAddress:
    """An address with its prefix length on an interface.

    An IPv6 address is used at once (nodad): no other host of a laboratory has it.
    """

    namespace: str
    ifname: str
    address: str

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address

    def apply(self, kernel: Kernel) -> None:
        index = kernel.index(self.namespace, self.ifname)
        address, _, length = self.address.partition("/")
        flags = {"flags": IFA_F_NODAD} if self.is_ipv6 else {}
        kernel.netlink(self.namespace).addr(
            "add", index=index, address=address, prefixlen=int(length), **flags
        )

    def shell(self) -> str:
        nodad = " nodad" if self.is_ipv6 else ""
        return f"ip -n {self.namespace} address add {self.address} dev {self.ifname}{nodad}"


@dataclass(frozen=True, slots=True)
class AddRoute:
    """A route to a prefix by way of a neighbour, which may be of the other family (RFC 5549)."""

    namespace: str
    destination: str
    "A prefix, or `default`: of IPv4, or `::/0` of IPv6."
    via: str
    ifname: str = ""
    "The interface, where the neighbour's address does not tell it: fe80::1 is on every link."

    def apply(self, kernel: Kernel) -> None:
        on = {"oif": kernel.index(self.namespace, self.ifname)} if self.ifname else {}
        family = socket.AF_INET6 if ":" in self.destination else socket.AF_INET
        way = socket.AF_INET6 if ":" in self.via else socket.AF_INET
        via = {"gateway": self.via} if way == family else {"via": {"family": way, "addr": self.via}}
        destination = {} if self.destination == "::/0" else {"dst": self.destination}
        kernel.netlink(self.namespace).route("add", family=family, **destination, **via, **on)

    def shell(self) -> str:
        foreign = ":" in self.via and ":" not in self.destination
        command, via = ("ip -4", f"inet6 {self.via}") if foreign else ("ip", self.via)
        on = f" dev {self.ifname}" if self.ifname else ""
        return f"{command} -n {self.namespace} route add {self.destination} via {via}{on}"


@dataclass(frozen=True, slots=True)
class AddRules:
    """Rules of nftables, as a file for nft has them."""

    namespace: str
    rules: str

    @property
    def nft(self) -> str:
        return f"ip netns exec {self.namespace} nft -f -"

    def apply(self, kernel: Kernel) -> None:
        argv = self.nft.split()
        done = subprocess.run(argv, input=self.rules, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RefusedError(f"{self.nft}: {done.stderr.strip()}")

    def shell(self) -> str:
        return f"{self.nft} <<'END'\n{self.rules.strip()}\nEND"


@dataclass(frozen=True, slots=True)
class SetSysctls:
    """Settings of the network stack of one namespace."""

    namespace: str
    settings: Mapping[str, str]

    def apply(self, kernel: Kernel) -> None:
        for key, value in self.settings.items():
            kernel.write_sysctl(self.namespace, key, value)

    def shell(self) -> str:
        settings = " ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"ip netns exec {self.namespace} sysctl -qw {settings}"


@dataclass(frozen=True, slots=True)
class SetOffloads:
    """Segmentation, joining and checksums by the device: all on or all off."""

    namespace: str
    ifname: str
    on: bool

    def argv(self) -> list[str]:
        state = "on" if self.on else "off"
        switches = [word for offload in OFFLOADS for word in (offload, state)]
        return ["ip", "netns", "exec", self.namespace, "ethtool", "-K", self.ifname, *switches]

    def apply(self, kernel: Kernel) -> None:
        done = subprocess.run(self.argv(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RefusedError(f"ethtool -K {self.ifname}: {done.stderr.strip()}")

    def shell(self) -> str:
        return shlex.join(self.argv())
