"""A running balancer: its configuration, and everything that is kept true to it."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Final

from pktlb.config.config import Config
from pktlb.control.events import Events
from pktlb.daemon.restart.bridge import cross
from pktlb.daemon.restart.handover import Handover
from pktlb.daemon.restart.past import Past, take_over
from pktlb.daemon.site import TUN, Served, Site, placed
from pktlb.daemon.vicinity import Vicinity
from pktlb.engine.choose import choose, make_engine, worker_count
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.engine import Engine
from pktlb.engine.plane import Plane
from pktlb.engine.wire.tun import Tun
from pktlb.errors import ConfigError, KernelError
from pktlb.host import guard
from pktlb.host.machine import Machine
from pktlb.host.netlink import Kernel
from pktlb.host.signals import Changes, rest_after
from pktlb.model import OnRemove, format_address
from pktlb.plan.change import at_start, difference, said, with_same
from pktlb.plan.footprint import backend_addresses
from pktlb.plan.layout import Layout
from pktlb.plan.leaving import Leaver, leavers, strays, with_leavers
from pktlb.plan.placement import Known, Placement, place

log: Final = logging.getLogger(__name__)

_DEBOUNCE_S: Final = 0.02
_UPDATE_SHARE: Final = 10
"Rest after a look at the machine, in terms of the CPU time that the look took."
_AGAIN_S: Final = 0.5


class ReplacedError(Exception):
    """An interface is gone and another one has taken its place: raw sockets must be opened anew."""


class Balancer:
    """The parts, and how they follow the configuration and the machine."""

    def __init__(self, config: Config, kernel: Kernel, site: Site, vicinity: Vicinity,
                 events: Events) -> None:  # fmt: skip
        self.config = config
        self.site: Final = site
        self.vicinity: Final = vicinity
        self.events: Final = events
        self.layout: Final = Layout()
        self.leaving: list[Leaver] = []
        self.engine: Engine
        self._kernel: Final = kernel
        self._changing: Final = asyncio.Lock()
        "Held by whoever changes tables and site."
        self._gone: list[str] = []
        self._is_ready = False
        self._tables: Tables

    @property
    def plane(self) -> Plane:
        return self.engine.plane

    @property
    def tables(self) -> Tables:
        """Those in use."""
        return self._tables

    @classmethod
    async def start(
        cls, config: Config, kernel: Kernel, stack: AsyncExitStack, events: Events,
        past: "Past | None" = None,
    ) -> "Balancer":  # fmt: skip
        """Everything in its place: clean up, decide, open, guard, add addresses, resolve.

        What there was before is taken over. `stack` undoes in reverse order: the addresses go
        first and the guard last, so that the kernel never answers for a VIP.
        """
        past = past or Past()
        handed = past.handover
        stack.callback(guard.remove)
        if past.bridge:
            stack.callback(past.bridge.close)
        added = dict(handed.added) if handed else {}
        stack.push_async_callback(_remove, added)
        if not handed:
            for address, home in guard.owned():
                log.info("removing %s, left by a pktlb that was killed", format_address(address))
                await kernel.remove_address(home, address)
        served = _served(config, past.leaving)
        machine = await kernel.read(_destinations(served))
        placement = placed(config, served, machine, added, past.known(machine))
        if past.names and placement.names != past.names:
            raise KernelError(f"not all of {', '.join(sorted(past.names))} are back")
        tun = Tun(TUN, handed.tun if handed else None)
        stack.callback(tun.close)
        site = Site(kernel, served, placement, tun)
        site.added.update(added)
        added.clear()
        stack.callback(site.close)
        stack.push_async_callback(site.remove_addresses)
        vicinity = Vicinity(kernel, machine, _destinations(served))
        self = cls(config, kernel, site, vicinity, events)
        self.leaving = list(past.leaving)
        await self._open(past)
        stack.enter_context(self._reading())
        if past.bridge:
            past.bridge.close()
        await site.remove_addresses(address for address, _ in placement.addresses)
        await vicinity.settle()
        await self._update()
        self._is_ready = True
        for address in self._unreachable():
            log.warning("backend %s cannot be reached", format_address(address))
        return self

    async def _open(self, past: "Past") -> None:
        """Sockets, addresses, tables and the engine.

        Whoever moves the frames meanwhile has the sockets until all else is there.
        """
        config, site, handed = self.config, self.site, past.handover
        kind = choose(config.engine)
        workers = self._workers(kind, site.placement)
        state = handed.flows() if handed else b""
        if not past.bridge:
            self._open_sockets(kind, workers, handed)
        site.sentry.put()
        await site.add_addresses()
        self._tables = self._lay_out(_served(config, self.leaving))
        own_ports = site.placement.own_ports
        plane = past.plane_for(kind, self._tables, config, own_ports, state)
        states = [state]
        if past.bridge and handed:
            handed, states = cross(past.bridge, handed, state)
            self._open_sockets(kind, workers, handed)
        take_over(plane, states, config.max_flows)
        self.engine = make_engine(plane, site.ports, site.tun, config.busy_poll_us, config.realtime)

    def _open_sockets(self, kind: str, workers: int, handed: Handover | None) -> None:
        """New ones, but for those that can be gone on with."""
        indexes = {link.name: link.index for link in self.site.placement.ports}
        usable = handed.inherited(kind, workers, indexes) if handed else {}
        self.site.open(workers, usable)

    async def work(self, *more: Coroutine[None, None, None]) -> None:
        """Keep the tables and the host as they should be, and do these things; until cancelled."""
        jobs = (
            self._follow(), self.site.sentry.watch(), self.vicinity.refresh(), self._keep_house(),
            *more,
        )  # fmt: skip
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def describe(self) -> str:
        """The rest of the line that says ready."""
        destinations = backend_addresses(self.config.services)
        reached = len(destinations) - len(self._unreachable())
        names = ",".join(port.name for port in self.site.placement.ports)
        modes = sorted({s.mode_of(b).value for s in self.config.services for b in s.backends})
        workers = max((len(port.sockets) for port in self.site.ports), default=0)
        return (
            f"mode={','.join(modes)} services={len(self.config.services)} "
            f"backends={reached}/{len(destinations)} "
            f"interfaces={names} engine={self.engine.name} workers={workers}"
        )

    @property
    def past(self) -> Past:
        """What one that comes instead of this one, in this process, takes over."""
        return Past(self.plane, self.site.placement.names, self.leaving)

    async def check(self, wanted: Config) -> None:
        """`ConfigError` where the machine has no way for this."""
        leaving = leavers(self.config, wanted, self.leaving)
        await self._placed(wanted, _served(wanted, leaving))

    async def apply(self, wanted: Config, policy: OnRemove | None = None) -> None:
        """Be what is `wanted`, without a frame lost on the way; `policy`: see `leavers`.

        `ConfigError` where that cannot be, `KernelError` where the machine refuses: nothing has
        changed then.
        """
        if differs := at_start(self.config, wanted):
            raise ConfigError(f"{', '.join(differs)}: expected no change but at a restart")
        async with self._changing:
            wanted = with_same(self.config, wanted)
            items = difference(self.config, wanted)
            # Whether they have flows is seen when no more can be opened: see `_see_off`.
            await self._change(wanted, leavers(self.config, wanted, self.leaving, policy))
        for item, text in zip(items, said(items), strict=True):
            log.info("%s", text)
            self.events.publish("change", text, action=item.action, what=item.what,
                                service=item.service, backend=item.backend)  # fmt: skip

    async def _change(self, wanted: Config, leaving: list[Leaver]) -> None:
        """Site and tables for the new state; the lock is held."""
        served = _served(wanted, leaving)
        if self.site.suits(served):
            self.config, self.leaving = wanted, leaving
            await self._swap(served)
            return
        placement = await self._placed(wanted, served)
        self.site.widen(served, placement, self._workers(self.engine.name, placement))
        self.engine.use(self.site.ports)
        await self.vicinity.head_for(_destinations(served))
        await self.vicinity.settle()
        self.config, self.leaving = wanted, leaving
        self.site.placement = placement
        await self._swap(served)
        await self.site.add_addresses()
        await self.site.remove_addresses(address for address, _ in placement.addresses)
        self.site.narrow(served, placement)
        if spare := self.site.spare_ports():
            self.engine.use(self.site.ports)
            for port in spare:
                port.close()

    async def _placed(self, wanted: Config, served: Served) -> Placement:
        """Where things go, by what was last seen of the machine; it is looked at again only where
        that says no, or does not know what has become of a VIP."""
        added = self.site.added
        here = frozenset(backend_addresses(self.config.services))
        known = Known(here, self.site.placement.ports, dict(added))
        with contextlib.suppress(ConfigError):
            machine = await self.vicinity.with_ways(_destinations(served))
            vips = {service.vip.address for service in self.config.services}
            new = {service.vip.address for service in wanted.services} - vips - added.keys()
            if await self.vicinity.knows(new):
                return placed(wanted, served, machine, added, known)
        machine = await self._kernel.read(_destinations(served))
        return placed(wanted, served, machine, added, known)

    def _with_flows(self, leaving: Sequence[Leaver]) -> list[Leaver]:
        """Those for whose flows it is worth while to wait."""
        return [each for each in leaving if self.plane.has_flows(*each.key)]

    def _workers(self, kind: str, placement: Placement) -> int:
        names = [link.name for link in placement.ports]
        return worker_count(self.config.workers, kind, names)

    def _lay_out(self, served: Served) -> Tables:
        return self.layout.tables(
            served.config, self.site.placement, self.vicinity.machine, self.vicinity.macs.macs,
            asyncio.get_running_loop().time(), self.leaving, served.strays,
        )  # fmt: skip

    async def _swap(self, served: Served) -> None:
        # In a thread, for a new Maglev table takes long enough to keep frames waiting.
        now = asyncio.get_running_loop().time()
        tables = await asyncio.to_thread(
            self.layout.tables, served.config, self.site.placement, self.vicinity.machine,
            self.vicinity.macs.macs, now, self.leaving, served.strays,
        )  # fmt: skip
        if tables != self._tables:
            before, self._tables = self._tables, tables
            self.plane.swap(tables)
            if self._is_ready:
                self._tell(before)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Frames move, and we are told of changes of the machine."""
        with ExitStack() as stack:
            stack.enter_context(Changes.of_network().told_to(self.vicinity.changed))
            stack.enter_context(self.site.sentry.listening())
            stack.enter_context(self.engine.working())
            yield

    async def _update(self) -> None:
        """Look at the machine again and, where that changes the tables, swap them."""
        async with self._changing:
            gone = [port.name for port in self.site.ports if not port.is_bound()]  # before reading
            machine = await self.vicinity.look()
            self._look_for_replaced(machine, gone)
            await self.site.restore_addresses(machine)
            await self._swap(_served(self.config, self.leaving))

    def _unreachable(self) -> list[bytes]:
        addresses = backend_addresses(self.config.services)
        return [address for address in addresses if address not in self._tables.hops]

    def _tell(self, before: Tables) -> None:
        """Say which backends have come and gone."""
        for address in backend_addresses(self.config.services):
            if (address in self._tables.hops) != (address in before.hops):
                standing = "is reachable" if address in self._tables.hops else "cannot be reached"
                text = f"backend {format_address(address)} {standing}"
                log.warning("%s", text)
                self.events.publish(
                    "backend", text, address=format_address(address), state=standing
                )

    def _look_for_replaced(self, machine: Machine, gone: list[str]) -> None:
        """Say so when an interface vanishes, and start over as soon as there is one instead."""
        before, self._gone = self._gone, gone
        for name in self._gone:
            if name not in before:
                log.error("interface %s is gone", name)
        if not self._gone:
            return
        with contextlib.suppress(ConfigError):
            # Other interfaces than before are no success: a default route takes over while the
            # right one is away.
            placement = place(self.config, machine.without(TUN))
            if placement.names == self.site.placement.names:
                raise ReplacedError(f"interface {', '.join(self._gone)} was replaced")

    async def _follow(self) -> None:
        while True:
            await self.vicinity.changed.wait()
            await asyncio.sleep(_DEBOUNCE_S)
            self.vicinity.changed.clear()
            async with rest_after(_UPDATE_SHARE):
                try:
                    await self._update()
                except (KernelError, MemoryError) as error:
                    log.error("going on with what was known before: %s", error or "no memory")
                    self.vicinity.changed.set()  # to look again, after a rest
                    await asyncio.sleep(_AGAIN_S)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self.engine.tick_s)
            self.engine.tick()
            try:
                await self._see_off()
            except KernelError as error:
                log.error("what backends that left had is not taken away: %s", error)

    async def _see_off(self) -> None:
        """Backends whose last flow is over are gone; those that come in slowly get more."""
        if self.layout.ramps.is_due(asyncio.get_running_loop().time()):
            async with self._changing:
                await self._swap(_served(self.config, self.leaving))
        if not self.leaving:
            return
        async with self._changing:
            staying = self._with_flows(self.leaving)
            gone = [each for each in self.leaving if each not in staying]
            if gone:
                await self._change(self.config, staying)
        for each in gone:
            text = f"backend {each.backend.endpoint} of {each.service.label} is gone"
            log.info("%s: its last flow is over", text)
            self.events.publish("removed", text, service=each.service.label,
                             backend=str(each.backend.endpoint))  # fmt: skip


async def abandon(added: dict[bytes, int]) -> None:
    """Take everything away that was handed over and that nobody is going to use."""
    await _remove(added)
    guard.remove()


async def _remove(added: dict[bytes, int]) -> None:
    """Take away the addresses that nobody has taken over from the process before. Who was told to
    end while it opened its netlink socket cannot use that one any more."""
    if added:
        async with Kernel() as kernel:
            for address, link in added.items():
                await kernel.remove_address(link, address)


def _served(config: Config, leaving: Sequence[Leaver]) -> Served:
    return Served(with_leavers(config, leaving), strays(config, leaving))


def _destinations(served: Served) -> list[bytes]:
    return backend_addresses((*served.config.services, *served.strays))
