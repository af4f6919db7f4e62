"""Where things go on a machine: interfaces, addresses, the guard, the filters. Pure functions.

They decide from a configuration and from what was seen of the machine, and change neither. A
configuration that the machine has no way for is a `ConfigError` that names the setting. The tables
of the datapath are made in `pktlb.plan.layout`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.engine.datapath.limits import SOURCE_PORTS
from pktlb.errors import ConfigError
from pktlb.host.machine import Link, Machine, Route
from pktlb.model import Mode, format_address
from pktlb.plan.footprint import backend_addresses, bridged_addresses
from pktlb.plan.leaving import Served
from pktlb.plan.ways import speaker

TUN: Final = "pktlb"
"Name of the device through which the kernel is given packets back."


@dataclass(frozen=True, slots=True)
class Placement:
    """Where pktlb reads and sends, and which addresses the machine needs."""

    ports: tuple[Link, ...]
    addresses: tuple[tuple[bytes, int], ...]
    "VIPs and SNAT addresses that the machine lacks, with the interface each goes to."
    device_addresses: tuple[bytes, ...]
    "IPv4 address of the device that gives packets back to the kernel; empty: it has none."
    ipv6: bool
    "Whether IPv6 packets are given back to the kernel."
    own_ports: range
    "Ports that stay with the kernel's own connections."
    spread: frozenset[int] = frozenset()
    "Ports whose frames are for the VIP `any`; frames are only sent to the others."
    pending: tuple["Pending", ...] = ()
    "What the machine has no way for at present."
    withheld: frozenset[bytes] = frozenset()
    "Addresses that another machine has, or may have: their packets are left to the kernel."

    @property
    def names(self) -> frozenset[str]:
        """The names of the interfaces of `ports`."""
        return frozenset(link.name for link in self.ports)

    @property
    def read(self) -> tuple[Link, ...]:
        """The ports that frames are read from."""
        return tuple(p for p in self.ports if not self.spread or p.index in self.spread)


class Pending(NamedTuple):
    """Something that a configuration asks for and that the machine has no way for at present."""

    what: str
    "Such as `backend 10.0.2.11:80`."
    why: str
    is_refused: bool = True
    "A change that brings it is refused: it is rather a slip than a machine that is not ready."

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class Before(NamedTuple):
    """Where interfaces and addresses were before a change."""

    ports: tuple[Link, ...] = ()
    homes: Mapping[bytes, int] = MappingProxyType({})
    "The interface of each address that was added."
    names: Mapping[str, int] = MappingProxyType({})
    "The index of each interface by a name that it had: it may have been renamed since."
    withheld: Mapping[bytes, str] = MappingProxyType({})
    "Addresses that are not to be added as yet, with the reason; empty: that is being found out."


NOTHING_BEFORE: Final = Before()


def place(config: Config, machine: Machine, before: Before = NOTHING_BEFORE) -> Placement:
    """Decide on interfaces and addresses.

    What the machine has no way for at present is left out, and told in `pending`. `ConfigError`
    where something can never be right.
    """
    return _Search(config, machine, before).placement()


def place_served(config: Config, served: Served, machine: Machine, added: Mapping[bytes, int],
                 before: Before = NOTHING_BEFORE) -> Placement:  # fmt: skip
    """The placement of a configuration and of the backends that leave it, which keep their place.

    `added` maps each address that pktlb itself has added to its link: the machine is looked at as
    if these were not there. Raises `ConfigError` as `place` does.
    """
    bare = machine.without(TUN)
    theirs = [a for a in bare.addresses if added.get(a.address) != a.link]
    placement = place(config, replace(bare, addresses=theirs), before)
    if served.config is config:
        return placement
    vips = [service.vip.address for service in served.config.services]
    there = dict(placement.addresses)
    kept = {vip: added[vip] for vip in vips if vip in added and vip not in there}
    kept = {vip: link for vip, link in kept.items() if link in machine.links}
    links = {link.index: link for link in placement.ports}
    links |= {p.index: machine.links[p.index] for p in before.ports if p.index in machine.links}
    return replace(
        placement,
        ports=tuple(links.values()),
        addresses=(*placement.addresses, *kept.items()),
        device_addresses=placement.device_addresses
        or tuple(v for v in vips if len(v) == 4 and v not in before.withheld)[:1],
        ipv6=placement.ipv6 or any(len(vip) == 16 for vip in vips),
    )


def newly_refused(wanted: Placement, now: Placement) -> tuple[Pending, ...]:
    """What `wanted` has no way for, unless there is none for it `now` either: then the machine is
    not ready, and a change has nothing to do with it."""
    return tuple(p for p in wanted.pending if p.is_refused and p not in now.pending)


class _Search:
    """One search for the places of a configuration; collects what is pending."""

    def __init__(self, config: Config, machine: Machine, before: Before) -> None:
        self._config: Final = config
        self._machine: Final = machine
        self._networks: Final = machine.networks()
        self._before: Final = before
        self._open: Final = frozenset(port.index for port in before.ports)
        self._pending: Final[dict[Pending, None]] = {}

    def placement(self) -> Placement:
        config, machine = self._config, self._machine
        named = [i for name in config.interfaces if (i := self._named(name, "interface"))]
        ways = self._ways()
        homes = self._homes(list(ways.values()))
        is_spreading = any(service.vip.any for service in config.services)
        links = [*ways.values(), *self._kept()]
        if is_spreading:
            links = [*named, *links]
        elif config.interfaces:
            links = named
        else:
            links = [*homes.values(), *links]
        ports = [link for i in dict.fromkeys(links) if (link := self._opened(i))]
        if config.interfaces and not is_spreading:
            self._expect_read(ways, ports)
        _check_snat_ports(config, machine)
        vips = [s.vip.address for s in config.services if s.vip.address in homes]
        owned = {a.address for a in machine.addresses}
        lacking = {a: link for a, link in homes.items() if a not in owned}
        withheld = dict.fromkeys(a for a in lacking if a in self._before.withheld)
        for address in withheld:
            self._withhold(address)
            del lacking[address]
        return Placement(
            ports=tuple(ports),
            addresses=tuple(lacking.items()),
            device_addresses=_addresses_of_device(
                machine,
                [vip for vip in vips if vip not in withheld],
                named if is_spreading else [homes[a] for a in withheld if len(a) == 4],
            ),
            ipv6=is_spreading or any(len(vip) == 16 for vip in vips),
            own_ports=machine.own_ports,
            spread=frozenset(named if is_spreading else ()),
            pending=tuple(self._pending),
            withheld=frozenset(withheld),
        )

    def _wait(self, what: str, why: str, is_refused: bool = True) -> None:
        self._pending[Pending(what, why, is_refused)] = None

    def _withhold(self, address: bytes) -> None:
        """Say why an address is not added, where that is known."""
        what = "snat" if address in self._config.snat else "vip"
        if why := self._before.withheld[address]:
            self._wait(f"{what} {format_address(address)}", why)

    def _ways(self) -> dict[bytes, int]:
        """The link on the way to each backend that has one."""
        services, routes = self._config.services, self._machine.routes
        found = {a: routes.get(a) for a in backend_addresses(services)}
        far = {a for a, route in found.items() if route and route.gateway}
        bad = {a for a, route in found.items() if not _is_way(route)}
        bad |= bridged_addresses(services) & far
        for service in services if bad else ():
            for backend in service.backends:
                if backend.endpoint.address in bad:
                    self._explain(service, backend, found[backend.endpoint.address])
        return {a: route.link for a, route in found.items() if route and a not in bad}

    def _explain(self, service: Service, backend: Backend, route: Route | None) -> None:
        """Say what is wrong with the way to a backend."""
        what = f"backend {backend.endpoint}"
        if route is None:
            self._wait(what, "expected an address that this machine has a route to", False)
        elif not route.source:
            self._wait(what, "expected this machine to have an address on the way to it", False)
        elif route.local:
            why = "expected another machine's address, this is one of our own"
            raise ConfigError(f"{what}: {why}")
        elif service.mode_of(backend) is Mode.DSR:
            gateway = format_address(route.gateway or b"")
            self._wait(what, "expected a backend on the same link in mode dsr, this one is behind "
                       f"{gateway} (mode tunnel can reach it)")  # fmt: skip

    def _kept(self) -> list[int]:
        """Ports that stay open while a backend has no way: it may come back there."""
        is_lost = any(not each.is_refused for each in self._pending)
        return [i for i in self._open if i in self._machine.links] if is_lost else []

    def _homes(self, ways: Sequence[int]) -> dict[bytes, int]:
        """The link of each VIP and SNAT address that has one."""
        owners = {a.address: a.link for a in reversed(self._machine.addresses)}
        there = {**self._before.homes, **owners}
        there = {a: link for a, link in there.items() if link in self._machine.links}
        vips = dict.fromkeys(s.vip.address for s in self._config.services if not s.vip.any)
        homes = {vip: self._vip_home(vip, there.get(vip)) for vip in vips}
        for address in self._config.snat:
            homes[address] = there.get(address) or self._snat_home(address, ways)
        return {address: link for address, link in homes.items() if link}

    def _vip_home(self, vip: bytes, there: int | None) -> int | None:
        """The link that owns a VIP, or `vip_interface`, or the link in whose network it is."""
        what = f"vip {format_address(vip)}"
        if self._networks.is_edge(vip):
            raise ConfigError(
                f"{what}: expected the address of a host, "
                "this is a network's own or its broadcast address"
            )
        if self._config.vip_interface:
            return self._named(self._config.vip_interface, "vip_interface")
        home = there or self._networks.connected(vip)
        if home is None:
            self._wait(what, "no interface has an address in its network; "
                       "expected a vip_interface (--vip-interface IF)")  # fmt: skip
        elif not self._machine.links[home].mac and not self._config.interfaces:
            raise ConfigError(
                f"{what}: lives on {self._machine.links[home].name}; "
                "expected interfaces (--interface IF), each that clients or backends are behind"
            )
        return home

    def _snat_home(self, address: bytes, ways: Sequence[int]) -> int | None:
        """The link on which backends ask for the MAC of this address."""
        home = self._networks.connected(address) or next(iter(ways), None)
        if home is None:
            why = "expected one, or a backend on the way to which it is used"
            self._wait(f"snat {format_address(address)}",
                       f"no interface has an address in its network; {why}")  # fmt: skip
        return home

    def _named(self, name: str, what: str) -> int | None:
        """The index of the interface with this name, or of the one that had it before."""
        links = self._machine.links
        link = self._machine.link_named(name) or links.get(self._before.names.get(name, 0))
        if link is None:
            there = ", ".join(sorted(link.name for link in links.values()))
            self._wait(f"{what} {name}", f"expected an interface of this machine ({there})")
            return None
        return link.index if self._opened(link.index, what) else None

    def _opened(self, index: int, what: str = "interface") -> Link | None:
        """A link that is open already or can be opened; `ConfigError` where it never can."""
        link = self._machine.links[index]
        if not link.mac or link.name == "lo":
            raise ConfigError(f"{what} {link.name}: expected an Ethernet interface")
        if not link.up and index not in self._open:
            self._wait(f"{what} {link.name}", "expected an interface that is up")
            return None
        return link

    def _expect_read(self, ways: Mapping[bytes, int], ports: Sequence[Link]) -> None:
        """A backend behind an interface that is not opened cannot be sent to."""
        opened = {link.index for link in ports}
        for address, link in ways.items():
            if link not in opened:
                name = self._machine.links[link].name
                why = f"is reached through {name}, which is not among the interfaces"
                self._wait(f"backend {format_address(address)}", why)


def _is_way(route: Route | None) -> bool:
    return route is not None and bool(route.source) and not route.local


def _check_snat_ports(config: Config, machine: Machine) -> None:
    if config.snat and not set(SOURCE_PORTS) - set(machine.own_ports):
        raise ConfigError(
            "snat: expected ports that are left for it, but net.ipv4.ip_local_port_range "
            f"is {machine.own_ports.start} {machine.own_ports.stop - 1}"
        )


def _addresses_of_device(
    machine: Machine, vips: Iterable[bytes], links: Sequence[int]
) -> tuple[bytes, ...]:
    """The first IPv4 VIP; without one, an address of the machine, best one of the first of the
    `links`; these are given where the VIP is `any` or withheld."""
    found = next((vip for vip in vips if len(vip) == 4), None)
    if not found and links:
        found = speaker(machine, links[0], 4)
    return (found,) if found else ()
