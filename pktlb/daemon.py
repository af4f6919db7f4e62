"""`pktlb run`: starts everything, keeps the tables true to the machine, undoes it all."""

import asyncio
import contextlib
import gc
import logging
import secrets
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from random import SystemRandom
from typing import Final

from pktlb import engines, plan
from pktlb.config import Config
from pktlb.datapath.pipeline import SOURCE_PORTS, Limits
from pktlb.datapath.tables import Tables
from pktlb.engine import Engine
from pktlb.errors import ConfigError, KernelError
from pktlb.host import device, guard
from pktlb.host.changes import Changes
from pktlb.host.machine import Machine
from pktlb.host.neighbours import REFRESH_S, NextHopMacs, Way
from pktlb.host.netlink import Kernel
from pktlb.host.presence import claim, ready
from pktlb.host.sentry import Sentry
from pktlb.model import format_address
from pktlb.wire.port import Port
from pktlb.wire.tun import Tun

log: Final = logging.getLogger(__name__)

_TUN: Final = "pktlb"
_SETTLE_S: Final = 3.5
"The kernel asks three times, a second apart, before it gives up on a neighbour."
_DEBOUNCE_S: Final = 0.02
_UPDATE_SHARE: Final = 10
"Rest after a look at the machine, in terms of what the look took."
_REPORT_S: Final = 10.0
_AGAIN_S: Final = 0.5


async def run(config: Config) -> None:
    """Serve until cancelled. Raises `ConfigError` or `KernelError` before it is ready."""
    async with AsyncExitStack() as stack:
        stack.enter_context(claim("run"))
        balancer: _Balancer | None = None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, log.info, "not ready yet")
        while True:
            try:
                async with AsyncExitStack() as parts:
                    kernel = await parts.enter_async_context(Kernel())
                    balancer = await _Balancer.start(config, kernel, parts, balancer)
                    parts.callback(balancer.explain)
                    loop.add_signal_handler(signal.SIGUSR1, balancer.explain)
                    ready(balancer.describe())
                    await balancer.work()
            except _ReplacedError as news:
                log.warning("%s; going on with the new one", news)
            except (ConfigError, KernelError) as error:
                if balancer is None:
                    raise
                log.error("starting over does not work yet: %s", error)
                await asyncio.sleep(_AGAIN_S)


class _ReplacedError(Exception):
    """An interface is gone and another one has taken its place: raw sockets must be opened anew."""


class _Balancer:
    """The parts of a running balancer, and what keeps them up to date."""

    def __init__(
        self, config: Config, kernel: Kernel, placement: plan.Placement, machine: Machine
    ) -> None:
        self._config = config
        self._kernel = kernel
        self._placement = placement
        self._destinations = plan.backend_addresses(config)
        self._macs = NextHopMacs()
        self._sentry = Sentry(plan.guard(config, placement))
        self._changed = asyncio.Event()
        self._note(machine)
        self._tables = plan.lay_out(config, placement, machine, self._macs.macs)
        self._reported: dict[str, int] = {}
        self._ports: list[Port] = []
        self._gone: list[str] = []
        self.engine: Engine

    @classmethod
    async def start(
        cls, config: Config, kernel: Kernel, stack: AsyncExitStack, earlier: "_Balancer | None"
    ) -> "_Balancer":
        """Everything in its place: clean up, decide, open, guard, add addresses, resolve.

        The flows of an `earlier` one are taken over. `stack` undoes in reverse order: the
        addresses go first and the guard last, so that the kernel never answers for a VIP.
        """
        for address, home in guard.owned():
            log.info("removing %s, left by a pktlb that was killed", format_address(address))
            await kernel.remove_address(home, address)
        stack.callback(guard.remove)
        machine = await kernel.read(plan.backend_addresses(config))
        placement = plan.place(config, machine)
        if earlier and placement.names != earlier._placement.names:
            raise KernelError(f"not all of {', '.join(sorted(earlier._placement.names))} are back")
        balancer = cls(config, kernel, placement, machine)
        tun = Tun(_TUN)
        stack.callback(tun.close)
        kind = engines.choose(config.engine)
        names = [link.name for link in placement.ports]
        workers = engines.worker_count(config.workers, kind, names)
        programs = plan.filters(config, placement)
        for link in placement.ports:
            wanted = programs[link.index]
            balancer._ports.append(Port(link.index, link.name, link.mtu, wanted, workers))
            stack.callback(balancer._ports[-1].close)
        balancer._sentry.put()
        for address, home in placement.addresses:
            stack.push_async_callback(kernel.remove_address, home, address)
            await kernel.add_address(home, address)
        await device.prepare(kernel, tun.name, placement.device_addresses, placement.ipv6)
        if earlier:
            plane = earlier.engine.plane
            plane.swap(balancer._tables)
        else:
            plane = engines.make_plane(kind, balancer._tables, _limits(config, placement))
        balancer.engine = engines.make_engine(
            plane, balancer._ports, tun, config.busy_poll_us, config.realtime
        )
        stack.enter_context(balancer._reading())
        await balancer._settle()
        if balancer.engine.name == "python":
            _quieten_collector()
        return balancer

    async def work(self) -> None:
        """Keep the tables and the host as they should be; until cancelled."""
        jobs = (self._follow(), self._sentry.watch(), self._refresh(), self._keep_house())
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
        hops = self._tables.hops
        names = ",".join(port.name for port in self._placement.ports)
        modes = ",".join(sorted({service.mode.value for service in self._config.services}))
        return (
            f"mode={modes} services={len(self._config.services)} "
            f"backends={sum(a in hops for a in self._destinations)}/{len(self._destinations)} "
            f"interfaces={names} engine={self.engine.name} workers={len(self._ports[0].sockets)}"
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Frames move, and we are told of changes of the machine."""
        with ExitStack() as stack:
            stack.enter_context(Changes.of_network().told_to(self._changed))
            stack.enter_context(self._sentry.listening())
            stack.enter_context(self.engine.working())
            yield

    def _ways(self, machine: Machine) -> list[Way]:
        ways = (plan.way_to(machine, address) for address in self._destinations)
        return list({way: None for way in ways if way is not None})

    def _note(self, machine: Machine) -> None:
        self._machine = machine
        self._macs.update(machine, self._ways(machine))

    async def _settle(self) -> None:
        """Wait until each backend has a next hop, or is known to have none."""
        await self._resolve()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while not self._macs.settled(self._ways(self._machine)):
                    await self._changed.wait()
                    self._changed.clear()
                    self._note(await self._kernel.read(self._destinations))
        await self._update()
        for address in self._destinations:
            if address not in self._tables.hops:
                log.warning("backend %s cannot be reached", format_address(address))

    async def _update(self) -> None:
        """Look at the machine again and, where that changes the tables, swap them."""
        gone = [port.name for port in self._ports if not port.is_bound()]  # before what is read
        machine = await self._kernel.read(self._destinations)
        self._look_for_replaced(machine, gone)
        await self._restore_addresses(machine)
        self._note(machine)
        if any(way not in machine.neighbours for way in self._ways(machine)):
            await self._resolve()  # the way there is new, or its neighbours were forgotten
        # In a thread, for a new Maglev table takes long enough to keep frames waiting.
        tables = await asyncio.to_thread(
            plan.lay_out, self._config, self._placement, machine, self._macs.macs, self._tables
        )
        if tables == self._tables:
            return
        before, self._tables = self._tables, tables
        self.engine.plane.swap(tables)
        if before.hops.keys() - tables.hops.keys():
            await self._resolve()  # perhaps it is there under another MAC

    def _tell(self, before: Tables) -> None:
        """Log which backends have come and gone."""
        for address in self._destinations:
            if (address in self._tables.hops) != (address in before.hops):
                standing = "is reachable" if address in self._tables.hops else "cannot be reached"
                log.warning("backend %s %s", format_address(address), standing)

    def _look_for_replaced(self, machine: Machine, gone: list[str]) -> None:
        """Say so when an interface vanishes, and start over as soon as there is one instead."""
        before, self._gone = self._gone, gone
        for name in self._gone:
            if name not in before:
                log.error("interface %s is gone", name)
        if not self._gone:
            return
        with contextlib.suppress(ConfigError):
            # The VIPs are on our own device as well, where they do not count. Other interfaces
            # than before are no success: a default route takes over while the right one is away.
            if plan.place(self._config, machine.without(_TUN)).names == self._placement.names:
                raise _ReplacedError(f"interface {', '.join(self._gone)} was replaced")

    async def _restore_addresses(self, machine: Machine) -> None:
        """Somebody took an address away that clients or backends need."""
        there = {(address.address, address.link) for address in machine.addresses}
        for address, link in self._placement.addresses:
            if (address, link) not in there and link in machine.links:
                log.warning("%s was removed; adding it again", format_address(address))
                await self._kernel.add_address(link, address)

    async def _resolve(self) -> None:
        for way in self._ways(self._machine):
            neighbour = self._machine.neighbours.get(way)
            if neighbour is None or not neighbour.fixed:
                await self._kernel.resolve(*way, known=bool(neighbour and neighbour.mac))

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            await asyncio.sleep(_DEBOUNCE_S)
            self._changed.clear()
            begin, before = loop.time(), self._tables
            try:
                await self._update()
                self._tell(before)
            except (KernelError, MemoryError) as error:
                log.error("going on with what was known before: %s", error or "no memory")
                self._changed.set()  # to look again, after a rest
                await asyncio.sleep(_AGAIN_S)
            # However restless the machine is, most of the time belongs to frames.
            await asyncio.sleep(_UPDATE_SHARE * (loop.time() - begin))

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self._resolve()
            except KernelError as error:
                log.error("next hops are not refreshed: %s", error)

    async def _keep_house(self) -> None:
        loop = asyncio.get_running_loop()
        report_at = loop.time() + _REPORT_S
        while True:
            await asyncio.sleep(self.engine.tick_s)
            self.engine.tick()
            if loop.time() >= report_at:
                report_at += _REPORT_S
                self._report()

    def explain(self) -> None:
        """Log what happened to all frames so far."""
        log.info("%s", self.engine.summary())
        for sentence, count in self.engine.trouble().items():
            log.info("%d frames: %s", count, sentence)

    def _report(self) -> None:
        """Say what did not go the normal way since the last report, if anything."""
        trouble = self.engine.trouble()
        for sentence, count in trouble.items():
            new = count - self._reported.get(sentence, 0)
            if new:
                log.warning("%d frames: %s", new, sentence)
        self._reported = trouble


def _quieten_collector() -> None:
    """Keep Python's garbage collector from pauses that grow with the flow table.

    Flows make no cycles, so counting references frees them; the young generations are still
    searched for the cycles that others make, but never the whole heap.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000)


def _limits(config: Config, placement: plan.Placement) -> Limits:
    """Ports for translated clients are those that the kernel does not choose for itself.

    Shuffled: in order, a restart would begin with those that backends still remember (TIME_WAIT),
    and anybody could guess the next one (RFC 6056, section 3.1).
    """
    ports = [port for port in SOURCE_PORTS if port not in placement.own_ports]
    SystemRandom().shuffle(ports)
    return Limits(config.max_flows, config.timeouts, ports, secrets.token_bytes(16))
