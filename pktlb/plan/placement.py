"""From what was asked for and what the machine is like to what should exist. Pure functions.

`place` says where things go, once, at the start; `lay_out` makes the datapath's tables, again each
time that the machine changes. What cannot be is a `ConfigError` that names the setting.
"""

from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.engine.datapath.limits import SOURCE_PORTS
from pktlb.engine.wire.filter import EVERYTHING, NOTHING, Program, Side
from pktlb.errors import ConfigError
from pktlb.host.guard import Guard
from pktlb.host.machine import Link, Machine, Route, is_global
from pktlb.host.neighbours import Way
from pktlb.model import Mode, Vip, format_address
from pktlb.plan.footprint import (
    backend_addresses,
    bridged_addresses,
    dialled,
    reply_ends,
    return_ends,
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where pktlb reads and sends, and which addresses the machine needs."""

    ports: tuple[Link, ...]
    addresses: tuple[tuple[bytes, int], ...]
    "VIPs and SNAT addresses that the machine lacks, with the interface each goes to."
    device_addresses: tuple[bytes, ...]
    "IPv4 address of the device through which the kernel is given packets back, if it has any."
    ipv6: bool
    "Whether IPv6 packets are given back."
    own_ports: range
    "Ports that stay with the kernel's own connections."
    spread: frozenset[int] = frozenset()
    "Ports whose frames are for `--vip any`, where there is one; others are sent to only."

    @property
    def names(self) -> frozenset[str]:
        """Of the interfaces."""
        return frozenset(link.name for link in self.ports)

    @property
    def read(self) -> tuple[Link, ...]:
        """Those that are not sent to only."""
        return tuple(p for p in self.ports if not self.spread or p.index in self.spread)


class Known(NamedTuple):
    """What has had its place before. A way that is lost for a while must not hold up all else."""

    backends: frozenset[bytes] = frozenset()
    ports: tuple[Link, ...] = ()
    homes: Mapping[bytes, int] = MappingProxyType({})
    "The interface of each address that was added."


NOBODY: Final = Known()


def place(config: Config, machine: Machine, known: Known = NOBODY) -> Placement:
    """Decide on interfaces and addresses."""
    backends = backend_addresses(config.services)
    lost = {a for a in backends if a in known.backends and _is_lost(machine.routes.get(a))}
    _check_ways(config.services, machine, lost)
    vips = dict.fromkeys(s.vip.address for s in config.services if not s.vip.any)
    owners = {a.address: a.link for a in reversed(machine.addresses)}
    networks = machine.networks()
    there = {**known.homes, **owners}
    homes = {vip: _vip_link(config, networks, vip, there.get(vip)) for vip in vips}
    ways = [machine.routes[address].link for address in backends if address not in lost]
    for address in config.snat:
        homes[address] = there.get(address) or _snat_link(networks, address, ways)
    named = [_link_named(machine, name, "interface") for name in config.interfaces]
    spread = named if any(service.vip.any for service in config.services) else []
    indexes = [*named, *ways] if spread else named or [*(homes[vip] for vip in vips), *ways]
    open_ports = [port.index for port in known.ports if port.index in machine.links]
    if lost and not named:
        indexes += open_ports
    ports = tuple(
        machine.links[index] if index in open_ports else _usable(machine.links[index])
        for index in dict.fromkeys(indexes)
    )
    wanted = [(a, link) for a, link in homes.items() if a not in owners]
    _check_ways_read([a for a in backends if a not in lost], machine, ports)
    if config.snat and not set(SOURCE_PORTS) - set(machine.own_ports):
        raise ConfigError(
            "snat: expected ports that are left for it, but net.ipv4.ip_local_port_range "
            f"is {machine.own_ports.start} {machine.own_ports.stop - 1}"
        )
    return Placement(
        ports=ports,
        addresses=tuple(wanted),
        device_addresses=_addresses_of_device(machine, vips, spread),
        ipv6=bool(spread) or any(len(vip) == 16 for vip in vips),
        own_ports=machine.own_ports,
        spread=frozenset(spread),
    )


def _addresses_of_device(
    machine: Machine, vips: Iterable[bytes], spread: Sequence[int]
) -> tuple[bytes, ...]:
    """One is enough: the first VIP, or whatever there is where none but `any` is."""
    found = next((vip for vip in vips if len(vip) == 4), None)
    if not found and spread:
        found = speaker(machine, spread[0], 4)
    return (found,) if found else ()


def guard(config: Config, placement: Placement, strays: Sequence[Service] = ()) -> Guard:
    """What the kernel has to be kept away from; `strays` may still send, but are not dialled."""
    senders = (*config.services, *strays)
    return Guard(
        devices=tuple(link.name for link in placement.read),
        services=dialled(config.services),
        replies=reply_ends(senders),
        returns=return_ends(senders),
        snat=config.snat,
        own_ports=placement.own_ports,
        owned=placement.addresses,
        forwarded=bool(placement.spread),
    )


def filters(placement: Placement, compiled: Sequence[Program]) -> dict[int, Sequence[Program]]:
    """What the raw sockets of each port must be given, see `pktlb.engine.wire.filter`;
    `compiled` is for the `wanted_ends`."""
    if placement.spread:
        programs = {True: [EVERYTHING], False: [NOTHING]}
        return {port.index: programs[port.index in placement.spread] for port in placement.ports}
    return {port.index: compiled for port in placement.ports}


def wanted_ends(config: Config, strays: Sequence[Service] = ()) -> dict[Side, frozenset[Vip]]:
    """Of the packets that the datapath has to see."""
    senders = (*config.services, *strays)
    return {
        Side.SOURCE: reply_ends(senders) | return_ends(senders),
        Side.DESTINATION: dialled(config.services),
    }


def speaker(
    machine: Machine, link: int, size: int,
    added: Container[bytes] = (), vips: Container[bytes] = (),
) -> bytes | None:  # fmt: skip
    """An address from which the machine itself speaks on a link: one of the link, or of any."""
    usable = [
        a
        for a in machine.addresses
        if len(a.address) == size and is_global(a.address) and a.address not in added
        if a.link == link or a.address not in vips
    ]
    first = min(usable, key=lambda a: a.link != link, default=None)
    return first.address if first else None


def way_to(machine: Machine, address: bytes) -> Way | None:
    """Link and address of the next machine on the way to `address`."""
    route = machine.routes.get(address)
    if route is None or route.local or not route.source or route.link not in machine.links:
        return None
    return route.link, route.gateway or address


def _check_ways(services: Sequence[Service], machine: Machine, lost: Set[bytes]) -> None:
    """Each address once; only where one is wrong somebody has to be named."""
    ways = {address: machine.routes.get(address) for address in backend_addresses(services)}
    bad = {address for address, route in ways.items() if not _is_way(route)} - lost
    bad |= bridged_addresses(services) & {a for a, route in ways.items() if route and route.gateway}
    for service in services if bad else ():
        for backend in service.backends:
            if backend.endpoint.address in bad:
                _check_way(service, backend, ways[backend.endpoint.address])


def _is_lost(route: Route | None) -> bool:
    return route is None or not route.source


def _is_way(route: Route | None) -> bool:
    return route is not None and bool(route.source) and not route.local


def _check_way(service: Service, backend: Backend, route: Route | None) -> None:
    what = f"backend {backend.endpoint}"
    if route is None:
        raise ConfigError(f"{what}: expected an address that this machine has a route to")
    if not route.source:
        raise ConfigError(f"{what}: expected this machine to have an address on the way to it")
    if route.local:
        raise ConfigError(f"{what}: expected another machine's address, this is one of our own")
    if service.mode_of(backend) is Mode.DSR and route.gateway:
        raise ConfigError(
            f"{what}: expected a backend on the same link in mode dsr, "
            f"this one is behind {format_address(route.gateway)} (mode tunnel can reach it)"
        )


def _vip_link(config: Config, machine: Machine, vip: bytes, owner: int | None) -> int:
    """Where the VIP lives: where it is, where it was told to, or where its network is."""
    if machine.is_edge(vip):
        raise ConfigError(
            f"vip {format_address(vip)}: expected the address of a host, "
            "this is a network's own or its broadcast address"
        )
    if config.vip_interface:
        return _link_named(machine, config.vip_interface, "vip_interface")
    home = owner or machine.connected(vip)
    if home is None:
        raise ConfigError(
            f"vip {format_address(vip)}: no interface has an address in its network; "
            "expected a vip_interface (--vip-interface IF)"
        )
    if not machine.links[home].mac and not config.interfaces:
        raise ConfigError(
            f"vip {format_address(vip)}: lives on {machine.links[home].name}; "
            "expected interfaces (--interface IF), each that clients or backends are behind"
        )
    return home


def _snat_link(machine: Machine, address: bytes, ways: Sequence[int]) -> int:
    """Where the backends will ask for it."""
    home = machine.connected(address) or next(iter(ways), None)
    if home is None:
        raise ConfigError(
            f"snat {format_address(address)}: no interface has an address in its network; "
            "expected one, or a backend on the way to which it is used"
        )
    return home


def _link_named(machine: Machine, name: str, what: str) -> int:
    link = machine.link_named(name)
    if link is None:
        there = ", ".join(sorted(link.name for link in machine.links.values()))
        raise ConfigError(f"{what} {name}: expected an interface of this machine ({there})")
    return _usable(link, what).index


def _usable(link: Link, what: str = "interface") -> Link:
    if not link.mac or link.name == "lo":
        raise ConfigError(f"{what} {link.name}: expected an Ethernet interface")
    if not link.up:
        raise ConfigError(f"{what} {link.name}: expected an interface that is up")
    return link


def _check_ways_read(
    backends: Sequence[bytes], machine: Machine, ports: Sequence[Link]
) -> None:  # fmt: skip
    """A backend behind an interface that is not opened could not be sent to."""
    opened = {link.index for link in ports}
    for address in backends:
        link = machine.routes[address].link
        if link not in opened:
            raise ConfigError(
                f"backend {format_address(address)}: is reached through "
                f"{machine.links[link].name}, which is not among the interfaces"
            )
