"""What pktlb puts on the machine for a configuration: sockets, guard, addresses.

A change is done in two steps around the swap of the tables: `widen` adds everything that the new
state needs, `narrow` takes away what only the old one needed. So at no time the kernel gets a frame
of a flow.
"""

import logging
import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pktlb.config.config import Config
from pktlb.engine.wire.filter import Filters, Program
from pktlb.engine.wire.port import Inherited, Port
from pktlb.engine.wire.tun import Tun
from pktlb.errors import KernelError
from pktlb.host import device
from pktlb.host.machine import Machine
from pktlb.host.netlink import Kernel
from pktlb.host.sentry import Sentry
from pktlb.model import format_address
from pktlb.plan.fence import filters, guard, wanted_ends
from pktlb.plan.footprint import alike
from pktlb.plan.leaving import Served
from pktlb.plan.placement import Placement

log: Final = logging.getLogger(__name__)


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
        "Addresses that pktlb has added, with the link of each."
        self.names: dict[str, int] = {}
        "Index of each interface by the name that the configuration has for it."
        self._on_device: set[bytes] = set()
        self._filters: Final = Filters()
        self._let_in: dict[int, Sequence[Program]] = {}
        "The filters of each open port, by its index."

    def open(self, workers: int, inherited: dict[str, Inherited] | None = None) -> None:
        """Open the sockets of the placement, or go on with the inherited ones."""
        for link in self.placement.ports:
            self._open(link.index, workers, (inherited or {}).get(link.name))

    def _open(self, index: int, workers: int, inherited: Inherited | None = None) -> None:
        link = next(link for link in self.placement.ports if link.index == index)
        if link.tagged:
            log.warning(
                "no frame from %s is balanced: it is a VLAN interface with reorder_hdr off; run "
                "ip link set %s type vlan reorder_hdr on",
                link.name,
                link.name,
            )
        programs = self._let_in[index] = self._programs()[index]
        self.ports.append(Port(index, link.name, link.mtu, programs, workers, inherited))

    def _programs(self) -> dict[int, Sequence[Program]]:
        """The filters of each port, by its index."""
        ends = wanted_ends(self._served.config, self._served.strays, self.placement.withheld)
        return filters(self.placement, self._filters.programs(ends))

    def close(self) -> None:
        """Close the sockets; only the ordinary table of the guard stays."""
        self.sentry.close()
        for port in self.ports:
            port.close()

    async def add_addresses(self) -> None:
        """Add the VIPs that the machine lacks, and prepare the device that hands packets back."""
        for address, home in self.placement.addresses:
            before = self.added.get(address)
            if before != home:
                self.added[address] = home
                await self._kernel.add_address(home, address)
            if before not in (None, home):
                await self._kernel.remove_address(before, address)
        new = [a for a in self.placement.device_addresses if a not in self._on_device]
        self._on_device.update(new)
        await device.prepare(self._kernel, self.tun.name, new, self.placement.ipv6)

    async def remove_addresses(self, keep: Iterable[bytes] = ()) -> None:
        """Take away the addresses that pktlb has added, but for the ones to `keep`."""
        kept = set(keep)
        for address in [address for address in self.added if address not in kept]:
            await self._kernel.remove_address(self.added.pop(address), address)
        link = socket.if_nametoindex(self.tun.name)
        for address in self._on_device - set(self.placement.device_addresses):
            await self._kernel.remove_address(link, address)
            self._on_device.discard(address)

    def note_names(self, config: Config, machine: Machine) -> None:
        """Remember the interfaces of a configuration by index: they may be renamed later."""
        for name in (*config.interfaces, *filter(None, [config.vip_interface])):
            if link := machine.link_named(name):
                self.names[name] = link.index

    def tun_is_gone(self, machine: Machine) -> bool:
        """Whether the device that gives packets back was deleted."""
        return machine.link_named(self.tun.name) is None

    async def renew_tun(self) -> None:
        """Make the device anew, with its addresses."""
        self.tun.reopen()
        addresses = self.placement.device_addresses
        self._on_device = set(addresses)
        await device.prepare(self._kernel, self.tun.name, addresses, self.placement.ipv6)

    async def restore_addresses(self, machine: Machine) -> list[bytes]:
        """Add the addresses again that something else on the machine has removed; which they
        are."""
        there = {(address.address, address.link) for address in machine.addresses}
        gone = [a for a, i in self.added.items() if (a, i) not in there and i in machine.links]
        for address in gone:
            log.warning("%s was removed; adding it again", format_address(address))
            await self._kernel.add_address(self.added[address], address)
        return gone

    def suits(self, served: Served) -> bool:
        """Whether `served` needs nothing new of the machine; it is served from then on."""
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
        """Open, guard and let in what `served` needs too; `KernelError`: nothing has changed."""
        before = self._served, self.placement
        both = _both(self._served, served)
        there = {port.index for port in self.ports if port.is_bound()}  # not to one that is gone
        open_now = [link for link in self.placement.ports if link.index in there]
        links = {link.index: link for link in (*open_now, *placement.ports)}
        wide = replace(
            placement,
            ports=tuple(links.values()),
            addresses=tuple(dict.fromkeys((*self.added.items(), *placement.addresses))),
        )
        opened = len(self.ports)
        try:
            self._use(both, wide)
            for link in placement.ports:
                if link.index not in there:
                    self._open(link.index, workers)
            self.sentry.want(guard(both.config, wide, both.strays))
        except KernelError:
            for port in self.ports[opened:]:
                port.close()
            del self.ports[opened:]
            self._use(*before)
            raise

    def narrow(self, served: Served, placement: Placement) -> None:
        """Guard and let in what `served` needs, and nothing else.

        The caller closes the sockets of other interfaces: see `spare_ports`.
        """
        self._use(served, placement)
        self.sentry.want(guard(served.config, placement, served.strays))

    def spare_ports(self) -> list[Port]:
        """Take out of `ports` the ones that are not needed any more; the caller closes them.

        A port of an interface that is gone is of no use, also where a new one has its index.
        """
        needed = {link.index for link in self.placement.ports}
        kept = [port for port in self.ports if port.index in needed and port.is_bound()]
        spare = [port for port in self.ports if port not in kept]
        self.ports = kept
        return spare

    def lost_ports(self) -> list[Port]:
        """The ports whose interface is gone."""
        return [port for port in self.ports if not port.is_bound()]

    def _use(self, served: Served, placement: Placement) -> None:
        """Attach new filters to the open sockets whose filters differ."""
        self._served, self.placement = served, placement
        now = self._programs()
        names = {link.index: link.name for link in placement.ports}
        for port in self.ports:
            port.name = names.get(port.index, port.name)
            if port.index in now and now[port.index] != self._let_in.get(port.index):
                port.attach(now[port.index])
                self._let_in[port.index] = now[port.index]


def _both(before: Served, after: Served) -> Served:
    services = {id(each): each for each in (*before.config.services, *after.config.services)}
    strays = {id(each): each for each in (*before.strays, *after.strays)}
    config = replace(after.config, services=tuple(services.values()))
    return Served(config, tuple(strays.values()))
