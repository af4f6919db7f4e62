"""What on this machine a new service would get in the way of: its listeners, its only address."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from pktlb.config.service import Service
from pktlb.daemon.balancer import Balancer
from pktlb.errors import KernelError
from pktlb.host.listeners import Listeners
from pktlb.plan.caveat import added_services, caveats
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
        services = added_services((), balancer.config.services)
        self.tell((), await self._caveats(services, balancer.site.placement))

    async def caveats(self, change: Transition, placement: Placement) -> tuple[str, ...]:
        """Of the services that a transition adds, which leads to this placement."""
        if all((item.action, item.what) != ("add", "service") for item in change.items):
            return ()
        services = added_services(change.before.services, change.after.services)
        return await self._caveats(services, placement)

    async def _caveats(
        self, services: Iterable[Service], placement: Placement
    ) -> tuple[str, ...]:  # fmt: skip
        """They end no change: it is made already, or the machine refuses to be looked at."""
        ours = dict(placement.addresses)
        suspects = [service for service in services if service.vip.address not in ours]
        if not suspects:
            return ()
        try:
            machine = await self._balancer.kernel.read(())
        except KernelError as error:
            log.error("what a new service gets in the way of is not known: %s", error)
            return ()
        listeners = await asyncio.to_thread(self._listeners.read)
        return tuple(caveats(suspects, machine, self._balancer.site.added.items(), listeners))

    def tell(self, pending: Sequence[str], found: Sequence[str]) -> None:
        """Log what was found, and publish it; what is pending stands in the log already."""
        for text in found:
            log.warning("%s", text)
        for text in (*pending, *found):
            self._balancer.events.publish("warning", text)
