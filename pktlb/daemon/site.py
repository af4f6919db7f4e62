"""What pktlb puts on the machine for a configuration: sockets, guard, addresses.

A change is done in two steps around the swap of the tables: first everything that the new state
needs as well, then only that. So at no time a frame is the kernel's that is somebody's flow.
"""

import logging
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from pktlb.config.config import Config
from pktlb.config.service import Service
from pktlb.engine.wire.filter import Filters, Program
from pktlb.engine.wire.port import Inherited, Port
from pktlb.engine.wire.tun import Tun
from pktlb.errors import KernelError
from pktlb.host import device
from pktlb.host.machine import Machine
from pktlb.host.netlink import Kernel
from pktlb.host.sentry import Sentry
from pktlb.model import format_address
from pktlb.plan.footprint import alike
from pktlb.plan.placement import NOBODY, Known, Placement, filters, guard, place, wanted_ends

log: Final = logging.getLogger(__name__)

TUN: Final = "pktlb"


class Served(NamedTuple):
    """What the site is for."""

    config: Config
    "Those who leave are in it."
    strays: tuple[Service, ...] = ()
    "Who may still send, but has no place in it."


class Site:
    """The sockets, the guard and the addresses of a running balancer."""

    def __init__(self, kernel: Kernel, served: Served, placement: Placement, tun: Tun) -> None:
        self._kernel: Final = kernel
        self._served = served
        self.placement = placement
        self.tun: Final = tun
        self.sentry: Final = Sentry(guard(served.config, placement, served.strays))
        self.ports: list[Port] = []
        self.added: dict[bytes, int] = {}
        "Addresses that are only there because of pktlb, with the link of each."
        self._on_device: set[bytes] = set()
        self._filters: Final = Filters()
        self._let_in: dict[int, Sequence[Program]] = {}
        "The filters of the ports that are open."

    def open(self, workers: int, inherited: dict[str, Inherited] | None = None) -> None:
        """Open the sockets."""
        for link in self.placement.ports:
            self._open(link.index, workers, (inherited or {}).get(link.name))

    def _open(self, index: int, workers: int, inherited: Inherited | None = None) -> None:
        link = next(link for link in self.placement.ports if link.index == index)
        programs = self._let_in[index] = self._programs()[index]
        self.ports.append(Port(index, link.name, link.mtu, programs, workers, inherited))

    def _programs(self) -> dict[int, Sequence[Program]]:
        """What each port lets in as things are."""
        ends = wanted_ends(self._served.config, self._served.strays)
        return filters(self.placement, self._filters.programs(ends))

    def close(self) -> None:
        for port in self.ports:
            port.close()

    async def add_addresses(self) -> None:
        """Give the machine what it lacks, and the device what it needs to bring packets back."""
        for address, home in self.placement.addresses:
            if address not in self.added:
                self.added[address] = home
                await self._kernel.add_address(home, address)
        new = [a for a in self.placement.device_addresses if a not in self._on_device]
        self._on_device.update(new)
        await device.prepare(self._kernel, self.tun.name, new, self.placement.ipv6)

    async def remove_addresses(self, keep: Iterable[bytes] = ()) -> None:
        """Take away those that were added, but for these."""
        kept = set(keep)
        for address in [address for address in self.added if address not in kept]:
            await self._kernel.remove_address(self.added.pop(address), address)
        link = socket.if_nametoindex(self.tun.name)
        for address in self._on_device - set(self.placement.device_addresses):
            await self._kernel.remove_address(link, address)
            self._on_device.discard(address)

    async def restore_addresses(self, machine: Machine) -> None:
        """Somebody took an address away that clients or backends need."""
        there = {(address.address, address.link) for address in machine.addresses}
        for address, link in self.added.items():
            if (address, link) not in there and link in machine.links:
                log.warning("%s was removed; adding it again", format_address(address))
                await self._kernel.add_address(link, address)

    def suits(self, served: Served) -> bool:
        """Whether this needs nothing else of the machine: then the site is for it from now on."""
        before = self._served
        same = (
            served.config.interfaces == before.config.interfaces
            and served.config.vip_interface == before.config.vip_interface
            and alike(before.config.services, served.config.services)
            and alike(before.strays, served.strays)
        )
        if same:
            self._served = served
        return same

    def widen(self, served: Served, placement: Placement, workers: int) -> None:
        """Open, hold and let in what this needs, besides what is needed now. Where that fails,
        nothing has changed."""
        before = self._served, self.placement
        both = _both(self._served, served)
        links = {link.index: link for link in (*self.placement.ports, *placement.ports)}
        wide = replace(
            placement,
            ports=tuple(links.values()),
            addresses=tuple(dict.fromkeys((*self.added.items(), *placement.addresses))),
        )
        opened = len(self.ports)
        try:
            self._use(both, wide)
            for link in placement.ports:
                if all(port.index != link.index for port in self.ports):
                    self._open(link.index, workers)
            self.sentry.want(guard(both.config, wide, both.strays))
        except KernelError:
            for port in self.ports[opened:]:
                port.close()
            del self.ports[opened:]
            self._use(*before)
            raise

    def narrow(self, served: Served, placement: Placement) -> None:
        """Hold and let in what this needs, and nothing else. The sockets of other interfaces are
        left to the caller: see `spare_ports`."""
        self._use(served, placement)
        self.sentry.want(guard(served.config, placement, served.strays))

    def spare_ports(self) -> list[Port]:
        """Those that are not needed any more, taken out of `ports`; to be closed by the caller."""
        needed = {link.index for link in self.placement.ports}
        spare = [port for port in self.ports if port.index not in needed]
        self.ports = [port for port in self.ports if port.index in needed]
        return spare

    def _use(self, served: Served, placement: Placement) -> None:
        """The filters of the sockets that are open, where they are to be others."""
        self._served, self.placement = served, placement
        now = self._programs()
        for port in self.ports:
            if port.index in now and now[port.index] != self._let_in.get(port.index):
                port.attach(now[port.index])
                self._let_in[port.index] = now[port.index]


def _both(before: Served, after: Served) -> Served:
    services = {id(each): each for each in (*before.config.services, *after.config.services)}
    strays = {id(each): each for each in (*before.strays, *after.strays)}
    config = replace(after.config, services=tuple(services.values()))
    return Served(config, tuple(strays.values()))


def placed(config: Config, served: Served, machine: Machine, added: Mapping[bytes, int],
           known: Known = NOBODY) -> Placement:  # fmt: skip
    """Where things go. What is only there because of pktlb does not count as there; what is served
    until its last flow is over keeps its place."""
    bare = machine.without(TUN)
    theirs = [a for a in bare.addresses if added.get(a.address) != a.link]
    placement = place(config, replace(bare, addresses=theirs), known)
    if served.config is config:
        return placement
    vips = [service.vip.address for service in served.config.services]
    there = dict(placement.addresses)
    kept = {vip: added[vip] for vip in vips if vip in added and vip not in there}
    links = {link.index: link for link in (*placement.ports, *known.ports)}
    return replace(
        placement,
        ports=tuple(links.values()),
        addresses=(*placement.addresses, *kept.items()),
        device_addresses=placement.device_addresses or tuple(v for v in vips if len(v) == 4)[:1],
        ipv6=placement.ipv6 or any(len(vip) == 16 for vip in vips),
    )  # fmt: skip
