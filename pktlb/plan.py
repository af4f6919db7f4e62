"""From what was asked for and what the machine is like to what should exist. Pure functions.

`place` says where things go, once, at the start; `lay_out` makes the datapath's tables, again each
time that the machine changes. What cannot be is a `ConfigError` that names the flag.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pktlb.config import Config
from pktlb.datapath.pipeline import SOURCE_PORTS
from pktlb.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.errors import ConfigError
from pktlb.host.guard import Guard
from pktlb.host.machine import Link, Machine, Route, is_global
from pktlb.host.neighbours import Way
from pktlb.model import (
    HASHES,
    Backend,
    Endpoint,
    Mode,
    Scheduler,
    Service,
    Vip,
    format_address,
)
from pktlb.policy import maglev_table, weighted_cycle
from pktlb.wire.filter import EVERYTHING, NOTHING, Match, Program, Side, compile_filters

HASH_KEY: Final = b"pktlb maglev key"
"Not a secret: balancers that stand in for each other must choose alike."
_CYCLES: Final = frozenset({Scheduler.RR, Scheduler.P2C})

_Policy = tuple[bool, tuple[bytes, ...], tuple[int, ...]]
"Whether it is a cycle and no Maglev table, names of the backends, weights."


@dataclass(frozen=True, slots=True)
class Placement:
    """Where pktlb reads and sends, and which addresses the machine needs."""

    ports: tuple[Link, ...]
    addresses: tuple[tuple[bytes, int], ...]
    "VIPs and SNAT addresses that the machine lacks, with the interface each goes to."
    device_addresses: tuple[bytes, ...]
    "IPv4 addresses of the device through which the kernel is given packets back."
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


def backend_addresses(config: Config) -> list[bytes]:
    """Each backend's address once."""
    return list({b.endpoint.address: None for s in config.services for b in s.backends})


def place(config: Config, machine: Machine) -> Placement:
    """Decide on interfaces and addresses."""
    for service in config.services:
        for backend in service.backends:
            _check_way(service, backend, machine.routes.get(backend.endpoint.address))
    vips = dict.fromkeys(s.vip.address for s in config.services if not s.vip.any)
    homes = {vip: _vip_link(config, machine, vip) for vip in vips}
    ways = [machine.routes[address].link for address in backend_addresses(config)]
    for address in config.snat:
        homes[address] = machine.owner(address) or _snat_link(machine, address, ways)
    named = [_link_named(machine, name, "--interface") for name in config.interfaces]
    spread = named if any(service.vip.any for service in config.services) else []
    indexes = [*named, *ways] if spread else named or [*(homes[vip] for vip in vips), *ways]
    ports = tuple(_usable(machine.links[index]) for index in dict.fromkeys(indexes))
    wanted = [(a, link) for a, link in homes.items() if machine.owner(a) is None]
    _check_ways_read(config, machine, ports)
    if config.snat and not set(SOURCE_PORTS) - set(machine.own_ports):
        raise ConfigError(
            "--snat: expected ports that are left for it, but net.ipv4.ip_local_port_range "
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
    """The VIPs, or whatever there is where none but `any` is."""
    found = [vip for vip in vips if len(vip) == 4]
    if not found and spread and (other := _speaker(machine, spread[0], 4)):
        found = [other]
    return tuple(found)


def guard(config: Config, placement: Placement) -> Guard:
    """What the kernel has to be kept away from."""
    return Guard(
        devices=[link.name for link in placement.read],
        services=_vips(config),
        replies=_reply_ends(config),
        returns=_return_ends(config),
        snat=config.snat,
        own_ports=placement.own_ports,
        owned=placement.addresses,
        forwarded=bool(placement.spread),
    )


def filters(config: Config, placement: Placement) -> dict[int, list[Program]]:
    """What the raw sockets of each port must be given, see `pktlb.wire.filter`."""
    if placement.spread:
        programs = {True: [EVERYTHING], False: [NOTHING]}
        return {port.index: programs[port.index in placement.spread] for port in placement.ports}
    sources = [*_reply_ends(config), *_return_ends(config)]
    compiled = compile_filters(
        [
            *(Match(Side.DESTINATION, vip) for vip in _vips(config)),
            *(Match(Side.SOURCE, vip) for vip in sources),
        ]
    )
    return {port.index: compiled for port in placement.ports}


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
    known = _known(config, before)
    appliances = [b.endpoint.address for s in config.services if s.vip.any for b in s.backends]
    return Tables.of(
        services=[_service_table(service, hops, known) for service in config.services],
        replies=_reply_ends(config),
        hops=hops,
        snat=frozenset(config.snat),
        ports=_port_infos(config, placement, machine),
        hash_key=HASH_KEY,
        own=frozenset(address.address for address in machine.addresses),
        own_ports=placement.own_ports,
        spread=placement.spread,
        appliances=frozenset(hops[address].macs[:6] for address in appliances if address in hops),
    )


def _port_infos(config: Config, placement: Placement, machine: Machine) -> dict[int, PortInfo]:
    """Of the ports that are there."""
    added = {address for address, _ in placement.addresses}
    vips = {service.vip.address for service in config.services}
    infos = {}
    for port in placement.ports:
        if link := machine.links.get(port.index):
            found = {size: _speaker(machine, port.index, size, added, vips) for size in (4, 16)}
            addresses = {size: address for size, address in found.items() if address}
            infos[port.index] = PortInfo(link.mac, link.mtu, addresses)
    return infos


def _speaker(
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


def next_hop(machine: Machine, address: bytes, macs: Mapping[Way, bytes]) -> NextHop | None:
    """How a frame reaches `address`; None as long as that is not known."""
    way = way_to(machine, address)
    if way is None or way not in macs:
        return None
    link, route = machine.links[way[0]], machine.routes[address]
    mtu = min(link.mtu, route.mtu or link.mtu)
    return NextHop(link.index, macs[way] + link.mac, mtu, route.source)


def _vips(config: Config) -> list[Vip]:
    """What is dialled at addresses of this machine."""
    return [service.vip for service in config.services if not service.vip.any]


def _reply_ends(config: Config) -> list[Vip]:
    """Whose packets may be replies that have to be translated: the backends' in NAT mode."""
    ends = set()
    for service in config.services:
        if service.mode is Mode.NAT:
            for backend in service.backends:
                address, port = backend.endpoint
                low, high = (port, port) if port else service.vip[1:3]
                ends.add(Vip(address, low, high, service.vip.protos))
    return sorted(ends)


def _return_ends(config: Config) -> list[Vip]:
    """Whose packets may be answers to clients that this machine, their gateway, has to send on:
    the VIPs, where backends answer for them. The kernel takes its own address as a source for
    forged."""
    return [s.vip for s in config.services if s.mode is not Mode.NAT and not s.vip.any]


def _known(config: Config, before: Tables | None) -> dict[_Policy, Sequence[int]]:
    """The policies that were worked out already."""
    services = {service.vip: service for service in config.services}
    return {
        _policy(services[table.vip], table.backends, table.weights): table.slots
        for table in (before.all_services if before else ())
        if table.slots
    }


def _service_table(
    service: Service, hops: Mapping[bytes, NextHop], known: dict[_Policy, Sequence[int]]
) -> ServiceTable:
    """The table of one service; `known` are policies that were worked out already, and grows."""
    usable = [b for b in service.backends if b.weight and b.endpoint.address in hops]
    backends = tuple(backend.endpoint for backend in usable)
    weights = tuple(backend.weight for backend in usable)
    slots: Sequence[int] = ()
    if backends and (service.scheduler in _CYCLES or service.scheduler in HASHES):
        policy = _policy(service, backends, weights)
        if policy not in known:
            known[policy] = _slots(*policy)
        slots = known[policy]
    return ServiceTable(
        vip=service.vip,
        mode=service.mode,
        scheduler=service.scheduler,
        backends=backends,
        weights=weights,
        slots=slots,
        hash_on=service.hash_on,
        one_packet=service.one_packet,
        pick_up=service.pick_up,
    )


def _policy(
    service: Service, backends: Sequence[Endpoint], weights: tuple[int, ...]
) -> _Policy:  # fmt: skip
    """What the slots of a service depend on: the same for services with the same machines."""
    if service.scheduler in _CYCLES:
        return True, (), weights
    addresses = [backend.endpoint.address for backend in service.backends]
    told_apart = len(set(addresses)) == len(addresses)
    names = {
        b.endpoint: b.name.encode()
        or (b.endpoint.address if told_apart else str(b.endpoint).encode())
        for b in service.backends
    }
    return False, tuple(names[backend] for backend in backends), weights


def _slots(is_cycle: bool, names: tuple[bytes, ...], weights: tuple[int, ...]) -> Sequence[int]:
    """The scheduler's policy as a table."""
    return weighted_cycle(weights) if is_cycle else maglev_table(names, weights, HASH_KEY)


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
