"""`pktlb run`: starts everything, keeps the tables true to the machine, undoes it all."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

from pktlb import plan
from pktlb.config import Config
from pktlb.datapath.pipeline import SOURCE_PORTS, Dataplane, Limits
from pktlb.engine import PythonEngine
from pktlb.errors import ConfigError, KernelError
from pktlb.host import device, guard, sysctl
from pktlb.host.machine import Machine
from pktlb.host.neighbours import REFRESH_S, NextHopMacs, Way
from pktlb.host.netlink import Changes, Kernel
from pktlb.host.presence import claim, ready
from pktlb.model import format_address
from pktlb.wire.filter import compile_filters
from pktlb.wire.port import Port
from pktlb.wire.tun import Tun

log: Final = logging.getLogger(__name__)

_TUN: Final = "pktlb"
_SETTLE_S: Final = 3.5
"The kernel asks three times, a second apart, before it gives up on a neighbour."
_TICK_S: Final = 0.1
_DEBOUNCE_S: Final = 0.02
_UPDATE_SHARE: Final = 10
"Rest after a look at the machine, in terms of what the look took."
_REPORT_S: Final = 10.0


async def run(config: Config) -> None:
    """Serve until cancelled. Raises `ConfigError` or `KernelError` before it is ready."""
    async with AsyncExitStack() as stack:
        stack.enter_context(claim("run"))
        kernel = await stack.enter_async_context(Kernel())
        plane: Dataplane | None = None
        while True:
            async with AsyncExitStack() as parts:
                balancer = await _Balancer.start(config, kernel, parts, plane)
                plane = balancer.engine.dataplane
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, balancer.explain)
                ready(balancer.describe())
                try:
                    await balancer.work()
                except _ReplacedError as news:
                    log.warning("%s; going on with the new one", news)
                finally:
                    balancer.explain()


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
        self._changed = asyncio.Event()
        self._note(machine)
        self._tables = plan.lay_out(config, placement, machine, self._macs.macs)
        self._reported: dict[str, int] = {}
        self.engine: PythonEngine

    @classmethod
    async def start(
        cls, config: Config, kernel: Kernel, stack: AsyncExitStack, plane: Dataplane | None
    ) -> "_Balancer":
        """Everything in its place: clean up, decide, open, guard, add addresses, resolve.

        `plane` is that of an earlier start, with its flows.
        """
        for address, home in guard.owned():
            log.info("removing %s, left by a pktlb that was killed", format_address(address))
            await kernel.remove_address(home, address)
        stack.callback(guard.remove)
        machine = await kernel.read(plan.backend_addresses(config))
        placement = plan.place(config, machine)
        wanted = plan.guard(config, placement)
        changes = Changes()
        stack.callback(changes.close)
        balancer = cls(config, kernel, placement, machine)
        tun = Tun(_TUN)
        stack.callback(tun.close)
        programs = compile_filters(plan.matches(wanted))
        ports = []
        for link in placement.ports:
            ports.append(Port(link.index, link.name, programs))
            stack.callback(ports[-1].close)
        guard.apply(wanted)
        for address, home in placement.addresses:
            stack.push_async_callback(kernel.remove_address, home, address)
            await kernel.add_address(home, address)
        await device.prepare(kernel, tun.name, placement.vips)
        plane = plane or Dataplane(balancer._tables, _limits(config))
        plane.swap(balancer._tables)
        balancer.engine = PythonEngine(plane, ports, tun)
        stack.enter_context(balancer._reading(ports, changes))
        await balancer._settle()
        _quieten_collector()
        return balancer

    async def work(self) -> None:
        """Keep the tables and the host as they should be; until cancelled."""
        jobs = (self._follow(), self._refresh(), self._keep_house())
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
            f"interfaces={names}"
        )

    @contextmanager
    def _reading(self, ports: list[Port], changes: Changes) -> Iterator[None]:
        """Have the loop call us for frames and for changes of the machine."""
        loop = asyncio.get_running_loop()

        def changed() -> None:
            changes.drain()
            self._changed.set()

        loop.add_reader(changes, changed)
        for port in ports:
            loop.add_reader(port.fileno(), self.engine.read, port)
        try:
            yield
        finally:
            for readable in (changes.fileno(), *(port.fileno() for port in ports)):
                loop.remove_reader(readable)

    def _ways(self, machine: Machine) -> list[Way]:
        ways = (plan.way_to(machine, address) for address in self._destinations)
        return list({way: None for way in ways if way is not None})

    def _note(self, machine: Machine) -> None:
        self._machine = machine
        self._macs.update(machine, self._ways(machine))

    async def _settle(self) -> None:
        """Wait until each backend has a next hop, or is known to have none."""
        await self._resolve()
        try:
            async with asyncio.timeout(_SETTLE_S):
                while not self._macs.settled(self._ways(self._machine)):
                    await self._changed.wait()
                    self._changed.clear()
                    await self._update()
        except TimeoutError:
            pass
        await self._update()

    async def _update(self) -> None:
        """Look at the machine again and, where that changes the tables, swap them."""
        machine = await self._kernel.read(self._destinations)
        self._look_for_replaced(machine)
        await self._restore_addresses(machine)
        self._note(machine)
        tables = plan.lay_out(self._config, self._placement, machine, self._macs.macs)
        if tables == self._tables:
            return
        for address in self._destinations:
            if (address in tables.hops) != (address in self._tables.hops):
                standing = "is reachable" if address in tables.hops else "cannot be reached"
                log.warning("backend %s %s", format_address(address), standing)
        lost = self._tables.hops.keys() - tables.hops.keys()
        self._tables = tables
        self.engine.dataplane.swap(tables)
        if lost:
            await self._resolve()  # perhaps it is there under another MAC

    def _look_for_replaced(self, machine: Machine) -> None:
        """Say so when an interface vanishes, and start over as soon as there is one instead."""
        gone = [port.name for port in self._placement.ports if port.index not in machine.links]
        if not gone:
            return
        for port in self._placement.ports:
            if port.index in self._machine.links and port.index not in machine.links:
                log.error("interface %s is gone", port.name)
        with contextlib.suppress(ConfigError):
            # The VIPs are on our own device as well, where they do not count.
            placement = plan.place(self._config, machine.without(_TUN))
            if placement.ports != self._placement.ports:
                raise _ReplacedError(f"interface {', '.join(gone)} was replaced")

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
            begin = loop.time()
            try:
                await self._update()
            except KernelError as error:
                log.error("going on with what was known before: %s", error)
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
            await asyncio.sleep(_TICK_S)
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
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000)


def _limits(config: Config) -> Limits:
    """Ports for translated clients are those that the kernel does not choose for itself."""
    low, _, high = sysctl.read("net/ipv4/ip_local_port_range").partition("\t")
    own = range(int(low), int(high) + 1) if low and high else range(0)
    ports = [port for port in SOURCE_PORTS if port not in own]
    return Limits(config.max_flows, config.timeouts, ports)
