"""What keeps a balancer true to the machine.

Signals of the kernel lead to a new look at the machine, and that to new tables. Once a tick, slow
starts get their next share and leavers without flows are forgotten.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Final

from pktlb.daemon.balancer import Balancer
from pktlb.daemon.claims import wait_s
from pktlb.errors import ConfigError, KernelError
from pktlb.host.machine import Machine
from pktlb.host.signals import rest_after
from pktlb.plan.leaving import Leaver, serve
from pktlb.plan.placement import Placement

log: Final = logging.getLogger(__name__)

_DEBOUNCE_S: Final = 0.02
_UPDATE_SHARE: Final = 10
"Rest after a look at the machine, in terms of the CPU time that the look took."
_AGAIN_S: Final = 0.5


class Watch:
    """Looks after one balancer."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer: Final = balancer
        self._gone: set[str] = set()
        "Interfaces that are gone, and had a port."

    async def work(self, *more: Coroutine[None, None, None]) -> None:
        """Keep tables and host as they should be, and do `more`; until cancelled, or one fails."""
        site, vicinity = self.balancer.site, self.balancer.vicinity
        jobs = (
            self._follow(), site.sentry.watch(), vicinity.refresh(), self._keep_house(),
            self._claim_again(), *more,
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
            lost = {port.index for port in site.lost_ports()}  # before the look
            machine = await balancer.vicinity.look()
            if site.tun_is_gone(machine):
                log.error("the TUN device %s was deleted; making it anew", site.tun.name)
                await balancer.renew_tun()
            await self._follow_links(machine, lost)
            put_back = await site.restore_addresses(machine)
            balancer.claims.hold(site.added, machine)
            balancer.claims.announce(put_back)
            await balancer.swap_as_it_is()

    async def _follow_links(self, machine: Machine, lost: Collection[int]) -> None:
        """Open, close and rename ports as interfaces and routes come and go. `lost`: indexes of
        ports whose interface was gone when the machine was looked at."""
        balancer, site = self.balancer, self.balancer.site
        served = serve(balancer.config, balancer.leaving)
        try:
            placement = balancer.place(balancer.config, served, machine)
            new = balancer.claims.unjudged(placement.addresses, site.added, machine)
            if new:
                balancer.claims.begin(new, machine)
                placement = balancer.place(balancer.config, served, machine)
        except ConfigError as error:
            log.error("going on with the interfaces of before: %s", error)
            return
        self._tell_links(site.placement, placement, machine, lost)
        if lost or placement != site.placement:
            await balancer.follow(placement)

    def _tell_links(
        self, before: Placement, after: Placement, machine: Machine, lost: Collection[int]
    ) -> None:
        """Say which interfaces are gone, back, or called otherwise.

        An interface is gone also where a new one has its index: its sockets are `lost`.
        """
        for link in before.ports:
            now = machine.links.get(link.index)
            if now is None or link.index in lost:
                log.error("interface %s is gone", link.name)
                self._gone.add(link.name)
            elif now.name != link.name:
                log.warning("interface %s is called %s now", link.name, now.name)
        for link in after.ports:
            if link.name in self._gone:
                self._gone.discard(link.name)
                log.warning("interface %s was replaced; going on with the new one", link.name)

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

    async def _claim_again(self) -> None:
        """Take the addresses that other machines have used, once they are free."""
        balancer, claims = self.balancer, self.balancer.claims
        while True:
            await asyncio.sleep(wait_s())
            claims.forget(balancer.addresses() - balancer.site.added.keys())
            try:
                await claims.ask_again(balancer.vicinity.machine)
            except KernelError as error:
                log.error("addresses in use are not probed for: %s", error)

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
