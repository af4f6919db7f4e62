"""What keeps a balancer true to the machine.

Signals of the kernel lead to a new look at the machine, and that to new tables. Once a tick, slow
starts get their next share and leavers without flows are forgotten.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Final

from pktlb.daemon.balancer import Balancer
from pktlb.errors import ConfigError, KernelError
from pktlb.host.machine import Machine
from pktlb.host.signals import rest_after
from pktlb.plan.leaving import Leaver
from pktlb.plan.placement import TUN, place

log: Final = logging.getLogger(__name__)

_DEBOUNCE_S: Final = 0.02
_UPDATE_SHARE: Final = 10
"Rest after a look at the machine, in terms of the CPU time that the look took."
_AGAIN_S: Final = 0.5


class ReplacedError(Exception):
    """An interface is gone and another one has taken its place: raw sockets must be opened anew."""


class Watch:
    """Looks after one balancer."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer: Final = balancer
        self._gone: list[str] = []
        "Interfaces that were gone at the last look."

    async def work(self, *more: Coroutine[None, None, None]) -> None:
        """Keep tables and host as they should be, and do `more`; until cancelled, or one fails."""
        site, vicinity = self.balancer.site, self.balancer.vicinity
        jobs = (
            self._follow(), site.sentry.watch(), vicinity.refresh(), self._keep_house(), *more,
        )  # fmt: skip
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def update(self) -> None:
        """Look at the machine again and, where that changes the tables, swap them."""
        balancer, site = self.balancer, self.balancer.site
        async with balancer.arranging:
            gone = [port.name for port in site.ports if not port.is_bound()]  # before reading
            machine = await balancer.vicinity.look()
            self._look_for_replaced(machine, gone)
            await site.restore_addresses(machine)
            await balancer.swap_as_it_is()

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
            placement = place(self.balancer.config, machine.without(TUN))
            if placement.names == self.balancer.site.placement.names:
                raise ReplacedError(f"interface {', '.join(self._gone)} was replaced")

    async def _follow(self) -> None:
        changed = self.balancer.vicinity.changed
        while True:
            await changed.wait()
            await asyncio.sleep(_DEBOUNCE_S)
            changed.clear()
            async with rest_after(_UPDATE_SHARE):
                try:
                    await self.update()
                except (KernelError, MemoryError) as error:
                    log.error("going on with what was known before: %s", error or "no memory")
                    changed.set()  # to look again, after a rest
                    await asyncio.sleep(_AGAIN_S)

    async def _keep_house(self) -> None:
        engine = self.balancer.engine
        while True:
            await asyncio.sleep(engine.tick_s)
            engine.tick()
            try:
                await self._take_steps()
                await self._see_off()
            except KernelError as error:
                log.error("what backends that left had is not taken away: %s", error)

    async def _take_steps(self) -> None:
        """Give a backend that starts slowly its next share."""
        balancer = self.balancer
        if balancer.layout.ramps.is_due(asyncio.get_running_loop().time()):
            async with balancer.arranging:
                await balancer.swap_as_it_is()

    async def _see_off(self) -> None:
        """Forget the leavers that have no flow any more."""
        balancer = self.balancer
        if not balancer.leaving:
            return
        async with balancer.arranging:
            staying = [each for each in balancer.leaving if balancer.plane.has_flows(*each.key)]
            gone = [each for each in balancer.leaving if each not in staying]
            if gone:
                await balancer.arrange(balancer.config, staying)
        for each in gone:
            self._tell_gone(each)

    def _tell_gone(self, leaver: Leaver) -> None:
        label, end = leaver.service.label, str(leaver.backend.endpoint)
        text = f"backend {end} of {label} is gone"
        log.info("%s: its last flow is over", text)
        self.balancer.events.publish("removed", text, service=label, backend=end)
