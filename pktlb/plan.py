"""From what was asked for and what the machine is like to what should exist. Pure functions.

`place` says where things go, once, at the start; `lay_out` makes the datapath's tables, again each
time that the machine changes. What cannot be is a `ConfigError` that names the flag.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pktlb.config import Config
from pktlb.datapath.packet import EndpointKey, endpoint_key
from pktlb.datapath.pipeline import SOURCE_PORTS
from pktlb.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.errors import ConfigError
from pktlb.host.guard import Guard
from pktlb.host.machine import Link, Machine, Route
from pktlb.host.neighbours import Way
from pktlb.model import Backend, Endpoint, Mode, Proto, Scheduler, Service, format_address
from pktlb.policy import maglev_table, weighted_cycle
from pktlb.wire.filter import Match, Side

HASH_KEY: Final = b"pktlb maglev key"
"Not a secret: balancers that stand in for each other must choose alike."

_Policy = tuple[Scheduler, tuple[bytes, ...], tuple[int, ...]]
"Scheduler, names of the backends, weights."


@dataclass(frozen=True, slots=True)
class Placement:
    """Where pktlb reads, and which addresses the machine needs."""

    ports: tuple[Link, ...]
    addresses: tuple[tuple[bytes, int], ...]
    "VIPs and SNAT addresses that the machine lacks, with the interface each goes to."
    vips: tuple[bytes, ...]
    own_ports: range
    "Ports that stay with the kernel's own connections."

    @property
    def names(self) -> frozenset[str]:
        """Of the interfaces."""
        return frozenset(link.name for link in self.ports)


def backend_addresses(config: Config) -> list[bytes]:
    """Each backend's address once."""
    return list({b.endpoint.address: None for s in config.services for b in s.backends})


def place(config: Config, machine: Machine) -> Placement:
    """Decide on interfaces and addresses."""
    for service in config.services:
        for backend in service.backends:
            _check_way(service, backend, machine.routes.get(backend.endpoint.address))
    vips = tuple({service.vip.address: None for service in config.services})
    homes = {vip: _vip_link(config, machine, vip) for vip in vips}
    ways = [machine.routes[address].link for address in backend_addresses(config)]
    for address in config.snat:
        homes[address] = machine.owner(address) or _snat_link(machine, address, ways)
    named = [_link_named(machine, name, "--interface") for name in config.interfaces]
    indexes = named or [*(homes[vip] for vip in vips), *ways]
    ports = tuple(_usable(machine.links[index]) for index in dict.fromkeys(indexes))
    wanted = [(a, link) for a, link in homes.items() if machine.owner(a) is None]
    _check_ways_read(config, machine, ports)
    if config.snat and not set(SOURCE_PORTS) - set(machine.own_ports):
        raise ConfigError(
            "--snat: expected ports that are left for it, but net.ipv4.ip_local_port_range "
            f"is {machine.own_ports.start} {machine.own_ports.stop - 1}"
        )
    return Placement(ports, tuple(wanted), vips, machine.own_ports)


def guard(config: Config, placement: Placement) -> Guard:
    """What the kernel has to be kept away from."""
    return Guard(
        devices=[link.name for link in placement.ports],
        services=[(service.proto, service.vip) for service in config.services],
        replies=_reply_ends(config),
        snat=config.snat,
        own_ports=placement.own_ports,
        owned=placement.addresses,
    )


def matches(config: Config) -> list[Match]:
    """What the raw sockets must be given."""
    return [
        *(Match(Side.DESTINATION, service.proto, *service.vip) for service in config.services),
        *(Match(Side.SOURCE, proto, *end) for proto, end in _reply_ends(config)),
    ]


def lay_out(
    config: Config,
    placement: Placement,
    machine: Machine,
    macs: Mapping[Way, bytes],
    before: Tables | None = None,
) -> Tables:
    """The datapath's tables; what is as it was `before` is not worked out again."""
    opened = {port.index for port in placement.ports}
    hops = {}
    for address in backend_addresses(config):
        hop = next_hop(machine, address, macs)
        if hop is not None and hop.port in opened:
            hops[address] = hop
    ports = {
        port.index: PortInfo(machine.links[port.index].mac, machine.links[port.index].mtu)
        for port in placement.ports
        if port.index in machine.links
    }
    known = {_policy(table): table.slots for table in before.services.values()} if before else {}
    return Tables(
        services={_key(s): _service_table(s, hops, known) for s in config.services},
        replies=frozenset(endpoint_key(*end) for end in _reply_ends(config)),
        snat=frozenset(config.snat),
        hops=hops,
        ports=ports,
        hash_key=HASH_KEY,
        own=frozenset(address.address for address in machine.addresses),
        own_ports=placement.own_ports,
    )


def way_to(machine: Machine, address: bytes) -> Way | None:
    """Link and address of the next machine on the way to `address`."""
    route = machine.routes.get(address)
    if route is None or route.local or not route.source or route.link not in machine.links:
        return None
    return route.link, route.gateway or address


def next_hop(machine: Machine, address: bytes, macs: Mapping[Way, bytes]) -> NextHop | None:
    """How a frame reaches `address`; None as long as that is not known."""
    way = way_to(machine, address)
    if way is None or way not in macs:
        return None
    link, route = machine.links[way[0]], machine.routes[address]
    mtu = min(link.mtu, route.mtu or link.mtu)
    return NextHop(link.index, macs[way] + link.mac, mtu, route.source)


def _reply_ends(config: Config) -> list[tuple[Proto, Endpoint]]:
    """Whose packets may be replies that have to be translated: the backends' in NAT mode."""
    nat = [service for service in config.services if service.mode is Mode.NAT]
    return sorted({(service.proto, b.endpoint) for service in nat for b in service.backends})


def _key(service: Service) -> EndpointKey:
    return endpoint_key(service.proto, service.vip)


def _service_table(
    service: Service, hops: Mapping[bytes, NextHop], known: dict[_Policy, Sequence[int]]
) -> ServiceTable:
    """The table of one service; `known` are policies that were worked out already, and grows."""
    usable = [b for b in service.backends if b.weight and b.endpoint.address in hops]
    backends = tuple(backend.endpoint for backend in usable)
    weights = tuple(backend.weight for backend in usable)
    table = ServiceTable(
        key=_key(service),
        vip=service.vip,
        proto=service.proto,
        mode=service.mode,
        scheduler=service.scheduler,
        backends=backends,
        weights=weights,
        slots=(),
    )
    policy = _policy(table)
    if policy not in known:
        known[policy] = _slots(*policy)
    return replace(table, slots=known[policy])


def _policy(table: ServiceTable) -> _Policy:
    """What the slots of a service depend on: the same for services with the same machines."""
    addresses = [backend.address for backend in table.backends]
    told_apart = len(set(addresses)) == len(addresses)
    names = addresses if told_apart else [str(backend).encode() for backend in table.backends]
    return table.scheduler, tuple(names), table.weights


def _slots(
    scheduler: Scheduler, names: tuple[bytes, ...], weights: tuple[int, ...]
) -> Sequence[int]:
    """The scheduler's policy as a table."""
    if not names or scheduler is Scheduler.LC:
        return ()
    if scheduler is Scheduler.RR:
        return weighted_cycle(weights)
    return maglev_table(names, weights, HASH_KEY)


def _check_way(service: Service, backend: Backend, route: Route | None) -> None:
    flag = f"--backend {backend.endpoint}"
    if route is None:
        raise ConfigError(f"{flag}: expected an address that this machine has a route to")
    if not route.source:
        raise ConfigError(f"{flag}: expected this machine to have an address on the way to it")
    if route.local:
        raise ConfigError(f"{flag}: expected another machine's address, this is one of our own")
    if service.mode is Mode.DSR and route.gateway:
        raise ConfigError(
            f"{flag}: expected a backend on the same link in mode dsr, "
            f"this one is behind {format_address(route.gateway)} (mode tunnel can reach it)"
        )


def _vip_link(config: Config, machine: Machine, vip: bytes) -> int:
    """Where the VIP lives: where it is, where it was told to, or where its network is."""
    if machine.is_edge(vip):
        raise ConfigError(
            f"--vip {format_address(vip)}: expected the address of a host, "
            "this is a network's own or its broadcast address"
        )
    if config.vip_interface:
        return _link_named(machine, config.vip_interface, "--vip-interface")
    home = machine.owner(vip) or machine.connected(vip)
    if home is None:
        raise ConfigError(
            f"--vip {format_address(vip)}: no interface has an address in its network; "
            "expected --vip-interface IF"
        )
    if not machine.links[home].mac and not config.interfaces:
        raise ConfigError(
            f"--vip {format_address(vip)}: lives on {machine.links[home].name}; "
            "expected --interface IF for each interface that clients and backends are behind"
        )
    return home


def _snat_link(machine: Machine, address: bytes, ways: Sequence[int]) -> int:
    """Where the backends will ask for it."""
    return machine.connected(address) or ways[0]


def _link_named(machine: Machine, name: str, flag: str) -> int:
    link = machine.link_named(name)
    if link is None:
        there = ", ".join(sorted(link.name for link in machine.links.values()))
        raise ConfigError(f"{flag} {name}: expected an interface of this machine ({there})")
    return _usable(link, flag).index


def _usable(link: Link, flag: str = "--interface") -> Link:
    if not link.mac or link.name == "lo":
        raise ConfigError(f"{flag} {link.name}: expected an Ethernet interface")
    if not link.up:
        raise ConfigError(f"{flag} {link.name}: expected an interface that is up")
    return link


def _check_ways_read(config: Config, machine: Machine, ports: Sequence[Link]) -> None:
    """A backend behind an interface that is not opened could not be sent to."""
    opened = {link.index for link in ports}
    for address in backend_addresses(config):
        link = machine.routes[address].link
        if link not in opened:
            raise ConfigError(
                f"--backend {format_address(address)}: is reached through "
                f"{machine.links[link].name}, which needs its own --interface"
            )
