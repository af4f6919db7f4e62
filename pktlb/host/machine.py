"""What the kernel knows, as plain values: links, addresses, routes, neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

LOOPBACK6: Final = bytes([*bytes(15), 1])


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    mac: bytes
    "6 bytes; empty where the link is not Ethernet."
    mtu: int
    up: bool
    tagged: bool = False
    "A VLAN interface whose frames keep their tag (reorder_hdr off): none of them is IP."


class Address(NamedTuple):
    """An address of this machine, packed."""

    address: bytes
    prefix: int
    "Length of the prefix that is reached directly through the link."
    link: int


class Route(NamedTuple):
    """The way that the kernel takes to an address."""

    link: int
    gateway: bytes | None
    "None where the address is on the link itself."
    source: bytes
    "Address of this machine that packets on this way come from."
    local: bool
    "The address is this machine's own, or a broadcast or multicast address."
    mtu: int | None
    "Bytes; None where the route sets no limit of its own."


class Neighbour(NamedTuple):
    """What is known of a machine on a link."""

    mac: bytes
    "6 bytes; empty where it is not known."
    failed: bool
    "The machine was asked and did not answer."
    fixed: bool = False
    "Set by hand: the kernel never asks."


class Listener(NamedTuple):
    """A socket of this machine that waits for connections or datagrams."""

    proto: int
    address: bytes
    "4 or 16 bytes; all zero: every address of the machine."
    port: int
    takes_ipv4: bool
    "An IPv6 socket that is for IPv4 as well."
    holder: str
    'Its process, such as "sshd, pid 812", or its user, such as "uid 33".'

    def hears(self, address: bytes) -> bool:
        """Whether packets to this address of the machine reach it."""
        if len(self.address) == len(address):
            return self.address == address or not any(self.address)
        return self.takes_ipv4 and not any(self.address)


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that was read at one time. The links of addresses and routes are in `links`."""

    links: Mapping[int, Link]
    addresses: Sequence[Address]
    routes: Mapping[bytes, Route]
    "By destination; a destination without an entry cannot be reached."
    neighbours: Mapping[tuple[int, bytes], Neighbour]
    "What is known of each neighbour, by its link and address."
    own_ports: range = range(0)
    "Ports that the kernel chooses for its own connections."

    def link_named(self, name: str) -> Link | None:
        return next((link for link in self.links.values() if link.name == name), None)

    def without(self, name: str) -> "Machine":
        """The machine without the addresses of the link `name`."""
        link = self.link_named(name)
        rest = [a for a in self.addresses if link is None or a.link != link.index]
        return replace(self, addresses=rest)

    def broadcasts(self) -> frozenset[bytes]:
        """The directed broadcast addresses of the networks that the machine is in. A network of one
        or two addresses has none (RFC 3021), nor has IPv6."""
        return frozenset(
            (int.from_bytes(each.address, "big") | (1 << 32 - each.prefix) - 1).to_bytes(4, "big")
            for each in self.addresses
            if len(each.address) == 4 and each.prefix < 31
        )

    def networks(self) -> "Machine":
        """The machine without addresses whose prefix is the address itself: they tell nothing about
        what can be reached directly, and there may be many."""
        near = [a for a in self.addresses if a.prefix < 8 * len(a.address)]
        return replace(self, addresses=near)

    def connected(self, address: bytes) -> int | None:
        """The link whose prefix holds `address` (the longest such prefix), or None."""
        near = [a for a in self.addresses if a.prefix < 8 * len(address) and _covers(a, address)]
        return max(near, key=lambda a: a.prefix).link if near else None

    def is_edge(self, address: bytes) -> bool:
        """Whether `address` stands for one of the machine's networks, not for a host: the network's
        own address, which in IPv6 is any router's (RFC 4291, section 2.6.1), or the broadcast
        address."""
        size = 8 * len(address)
        for network in self.addresses:
            if network.prefix < size - 1 and _covers(network, address):
                last = (1 << (size - network.prefix)) - 1
                host = int.from_bytes(address, "big") & last
                return host == 0 or (host == last and size == 32)
        return False


def is_global(address: bytes) -> bool:
    """Whether an address is neither a loopback nor a link-local one. IPv4 link-local addresses
    count as global."""
    if len(address) == 4:
        return address[0] != 127
    return address != LOOPBACK6 and not (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def _covers(network: Address, address: bytes) -> bool:
    if len(network.address) != len(address):
        return False
    shift = 8 * len(address) - network.prefix
    return (
        int.from_bytes(network.address, "big") >> shift == int.from_bytes(address, "big") >> shift
    )
