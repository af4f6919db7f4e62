"""What on this machine a new service would get in the way of: its listeners, its only address."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from pktlb.config.service import Service
from pktlb.daemon.balancer import Balancer
from pktlb.errors import KernelError
from pktlb.host.listeners import Listeners
from pktlb.plan.caveat import caveats, suspects
from pktlb.plan.change import Transition
from pktlb.plan.placement import Placement

log: Final = logging.getLogger(__name__)


class Surroundings:
    """Looks at the machine where a VIP is an address that the machine has by itself."""

    def __init__(self, balancer: Balancer, listeners: Listeners) -> None:
        self._balancer: Final = balancer
        self._listeners: Final = listeners

    async def tell_at_start(self) -> None:
        """Log the caveats of all services."""
        balancer = self._balancer
        self.tell((), await self._look((), balancer.config.services, balancer.site.placement))

    async def caveats(self, change: Transition, placement: Placement) -> tuple[str, ...]:
        """Of the services that a transition adds, which leads to this placement."""
        if all((item.action, item.what) != ("add", "service") for item in change.items):
            return ()
        return await self._look(change.before.services, change.after.services, placement)

    async def _look(
        self, before: Sequence[Service], after: Sequence[Service], placement: Placement
    ) -> tuple[str, ...]:
        """The caveats of new services. An error here ends no change: it may have been made."""
        new = suspects(before, after, placement)
        if not new:
            return ()
        try:
            machine = await self._balancer.kernel.read(())
        except KernelError as error:
            log.error("what a new service gets in the way of is not known: %s", error)
            return ()
        added = self._balancer.site.added.items()
        listeners = await asyncio.to_thread(self._listeners.read)
        return tuple(caveats(new, before, machine, added, listeners))

    def tell(self, pending: Sequence[str], found: Sequence[str]) -> None:
        """Log what was found, and publish it; what is pending stands in the log already."""
        for text in found:
            log.warning("%s", text)
        for text in (*pending, *found):
            self._balancer.events.publish("warning", text)
