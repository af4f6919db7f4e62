"""A running balancer: its parts, and how they take on a new configuration.

`start` puts it together, `watch` keeps it true to the machine; here a change of the configuration
is carried out. What differs is worked out in `pktlb.plan.change` and handed in.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pktlb.config.config import Config
from pktlb.control.events import Events
from pktlb.daemon.claims import Claims
from pktlb.daemon.site import Site
from pktlb.daemon.vicinity import Vicinity
from pktlb.engine.choose import worker_count
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.engine import Engine
from pktlb.engine.plane import Plane
from pktlb.errors import ConfigError
from pktlb.host.machine import Machine
from pktlb.host.netlink import Kernel
from pktlb.model import format_address
from pktlb.plan.change import Transition, said
from pktlb.plan.footprint import backend_addresses
from pktlb.plan.layout import Around, Layout
from pktlb.plan.leaving import Leaver, Served, serve
from pktlb.plan.placement import Before, Pending, Placement, newly_refused, place_served
from pktlb.plan.successors import Successors

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a balancer is made of, as long as it lives."""

    kernel: Kernel
    site: Site
    vicinity: Vicinity
    claims: Claims
    events: Events


class Balancer:
    """The configuration in use, and the parts that serve it.

    `engine` and `tables` are set by `start` before anything else is asked of it.
    """

    def __init__(self, config: Config, parts: Parts, leaving: Sequence[Leaver]) -> None:
        self.config = config
        self.kernel: Final = parts.kernel
        self.site: Final = parts.site
        self.vicinity: Final = parts.vicinity
        self.claims: Final = parts.claims
        self.events: Final = parts.events
        self.layout: Final = Layout()
        self.leaving: list[Leaver] = list(leaving)
        "Backends that are served until their last flow ends."
        self.arranging: Final = asyncio.Lock()
        "Held while the site and the tables change."
        self.engine: Engine
        self.tables: Tables
        "The ones in use."
        self._successors: Final = Successors()
        self._pending: tuple[Pending, ...] = ()
        "What was told to be pending."
        self.is_ready = False
        "Backends that come and go are told from now on."

    @property
    def plane(self) -> Plane:
        return self.engine.plane

    def describe(self) -> str:
        """The rest of the line that says ready."""
        destinations = backend_addresses(self.config.services)
        reached = len(destinations) - len(self.unreachable())
        names = ",".join(port.name for port in self.site.placement.ports)
        modes = sorted({s.mode_of(b).value for s in self.config.services for b in s.backends})
        workers = max((len(port.sockets) for port in self.site.ports), default=0)
        return (
            f"mode={','.join(modes)} services={len(self.config.services)} "
            f"backends={reached}/{len(destinations)} "
            f"interfaces={names} engine={self.engine.name} workers={workers}"
        )

    def addresses(self) -> set[bytes]:
        """VIPs and SNAT addresses of the configuration in use."""
        return {*(service.vip.address for service in self.config.services), *self.config.snat}

    async def check(self, change: Transition, force: bool = False) -> Placement:
        """Where things would go after a transition; `ConfigError` where the machine has no way, or,
        without `force`, where another machine uses an address that it brings."""
        served = serve(change.after, change.leaving(self.leaving))
        try:
            if not force:
                await self._probe(change)
            return await self._place(change.after, served)
        finally:
            self.claims.forget(self.addresses())

    async def _probe(self, change: Transition) -> None:
        """`ConfigError` where another machine uses an address that a transition brings."""
        if not _may_bring_addresses(change):
            return
        served = serve(change.after, change.leaving(self.leaving))
        placement = await self._place(change.after, served)
        machine = self.vicinity.machine
        if new := self.claims.unjudged(placement.addresses, self.site.added, machine):
            await self.claims.judge(new, machine)
            await self._place(change.after, served)

    async def apply(self, change: Transition, force: bool = False) -> None:
        """Carry out a transition from the configuration in use, without a lost frame.

        With `force`, addresses are taken that another machine uses. Raises `ConfigError` where it
        cannot be, `KernelError` where the machine refuses: nothing has changed then.
        """
        assert change.before is self.config, "changes come one at a time"
        if change.at_start:
            differs = ", ".join(change.at_start)
            raise ConfigError(f"{differs}: expected no change but at a restart")
        if force:
            self.claims.insist_on_taken()
            self.vicinity.changed.set()
        else:
            try:
                await self._probe(change)
            finally:
                self.claims.forget(self.addresses())
        async with self.arranging:
            # Leavers without flows go later, when they can get no new ones: see `watch`.
            await self.arrange(change.after, change.leaving(self.leaving))
        for item, text in zip(change.items, said(change.items), strict=True):
            log.info("%s", text)
            self.events.publish("change", text, action=item.action, what=item.what,
                                service=item.service, backend=item.backend)  # fmt: skip

    async def arrange(self, wanted: Config, leaving: list[Leaver]) -> None:
        """Site and tables for this; the caller holds `arranging`.

        First everything that the new state needs as well, then the new tables, then nothing but
        what the new state needs: at no time a frame of a flow is the kernel's.
        """
        served = serve(wanted, leaving)
        if self.site.suits(served):
            self.config, self.leaving = wanted, leaving
            await self.swap(served)
            return
        placement = await self._place(wanted, served)
        self.site.widen(served, placement, self.workers(self.engine.name, placement))
        self.engine.use(self.site.ports)
        await self.vicinity.head_for(served.destinations)
        await self.vicinity.settle()
        self.config, self.leaving = wanted, leaving
        self.settle_on(placement)
        await self.swap(served)
        await self.site.add_addresses()
        await self.site.remove_addresses(address for address, _ in placement.addresses)
        self.claims.hold(self.site.added, self.vicinity.machine)
        self._close_spare_ports(served, placement)

    async def renew_tun(self) -> None:
        """Make the device anew through which packets are given back; frames wait meanwhile."""
        self.engine.stop()
        try:
            await self.site.renew_tun()
        finally:
            self.engine.start()

    def _close_spare_ports(self, served: Served, placement: Placement) -> None:
        """Guard, filters and sockets are for this placement and nothing else from now on."""
        self.site.narrow(served, placement)
        spare = self.site.spare_ports()
        self.engine.use(self.site.ports)
        for port in spare:
            port.close()

    async def _place(self, wanted: Config, served: Served) -> Placement:
        """Where things go, by what was last seen of the machine; else `ConfigError`.

        It is looked at again only where that says no, or where the state of a VIP is not known.
        """
        with contextlib.suppress(ConfigError):
            machine = await self.vicinity.with_ways(served.destinations)
            vips = {service.vip.address for service in self.config.services}
            new = {service.vip.address for service in wanted.services} - vips
            if await self.vicinity.knows(new - self.site.added.keys()):
                return self._accepted(wanted, served, machine)
        now = serve(self.config, self.leaving)
        machine = await self.kernel.read((*served.destinations, *now.destinations))
        return self._accepted(wanted, served, machine)

    def _accepted(self, wanted: Config, served: Served, machine: Machine) -> Placement:
        """The placement; `ConfigError` where a change brings what the machine has no way for."""
        placement = self.place(wanted, served, machine)
        if any(each.is_refused for each in placement.pending):
            now = self.place(self.config, serve(self.config, self.leaving), machine)
            for pending in newly_refused(placement, now):
                raise ConfigError(str(pending))
        return placement

    def place(self, wanted: Config, served: Served, machine: Machine) -> Placement:
        """Where things go on a machine, with what is pending; `ConfigError`: it never can be."""
        site = self.site
        site.note_names(wanted, machine)
        withheld = {a: why for a, why in self.claims.withheld().items() if a not in site.added}
        before = Before(site.placement.ports, dict(site.added), site.names, withheld)
        return place_served(wanted, served, machine, site.added, before)

    def settle_on(self, placement: Placement) -> None:
        """Have this placement from now on, and tell what is pending now and was not before."""
        before, self._pending = self._pending, placement.pending
        self.site.placement = placement
        for pending in placement.pending:
            if pending not in before:
                log.log(logging.ERROR if pending.is_refused else logging.WARNING, "%s", pending)
        for pending in before:
            if pending not in placement.pending:
                log.warning("%s: pending no more", pending.what)

    async def follow(self, placement: Placement) -> None:
        """Move to another placement of what is served: the machine has changed. The caller holds
        `arranging`."""
        served = serve(self.config, self.leaving)
        self.site.widen(served, placement, self.workers(self.engine.name, placement))
        self.settle_on(placement)
        await self.site.add_addresses()
        self.claims.hold(self.site.added, self.vicinity.machine)
        await self.vicinity.head_for(served.destinations)
        self._close_spare_ports(served, placement)

    def workers(self, kind: str, placement: Placement) -> int:
        """How many workers an engine of this kind gets here."""
        names = [link.name for link in placement.ports]
        return worker_count(self.config.workers, kind, names)

    def around(self) -> Around:
        """What is around the configuration, as it was last seen."""
        self._successors.note(self.site.placement.ports)
        macs = self.vicinity.macs.macs
        return Around(self.site.placement, self.vicinity.machine, macs, self._successors.of)

    async def swap(self, served: Served) -> None:
        """Make the tables and, if they differ, put them in use; the caller holds `arranging`."""
        now = asyncio.get_running_loop().time()
        # In a thread, for a new Maglev table takes long enough to keep frames waiting.
        tables = await asyncio.to_thread(self.layout.tables, served, self.around(), now)
        if tables != self.tables:
            before, self.tables = self.tables, tables
            self.plane.swap(tables)
            if self.is_ready:
                self._tell(before)

    async def swap_as_it_is(self) -> None:
        """The same for the configuration and the leavers in use."""
        await self.swap(serve(self.config, self.leaving))

    def unreachable(self) -> list[bytes]:
        """Addresses of backends without a next hop."""
        addresses = backend_addresses(self.config.services)
        return [address for address in addresses if address not in self.tables.hops]

    def _tell(self, before: Tables) -> None:
        """Say which backends have come and gone."""
        for address in backend_addresses(self.config.services):
            if (address in self.tables.hops) != (address in before.hops):
                standing = "is reachable" if address in self.tables.hops else "cannot be reached"
                text = f"backend {format_address(address)} {standing}"
                log.warning("%s", text)
                self.events.publish(
                    "backend", text, address=format_address(address), state=standing
                )


def _may_bring_addresses(change: Transition) -> bool:
    """Whether there may be addresses to add after it that were not there before."""
    before, after = change.before, change.after
    vips = {service.vip.address for service in before.services}
    return (
        before.vip_interface != after.vip_interface
        or before.interfaces != after.interfaces
        or any(service.vip.address not in vips for service in after.services)
    )
