"""The machine as it was last seen, and the next hops on the ways to backends.

It knows which destinations matter, and has the kernel resolve their next hops; which tables follow
from that is decided in `pktlb.plan`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from pktlb.errors import KernelError
from pktlb.host.machine import Machine
from pktlb.host.neighbours import REFRESH_S, NextHopMacs, Way
from pktlb.host.netlink import Kernel
from pktlb.plan.ways import way_to

log: Final = logging.getLogger(__name__)

_MOST_ASKED: Final = 16
"So many addresses are asked about one by one; for more, the whole machine is looked at."
_SETTLE_S: Final = 3.5
"The kernel asks three times, a second apart, before it gives up on a neighbour."


class Vicinity:
    """The machine and its neighbours, for the destinations of one balancer."""

    def __init__(self, kernel: Kernel, machine: Machine, destinations: Sequence[bytes]) -> None:
        self._kernel: Final = kernel
        self._destinations = destinations
        self.changed: Final = asyncio.Event()
        "Set when the machine may not be what it was."
        self.macs: Final = NextHopMacs()
        self._machine = machine
        self.macs.update(machine, self._ways())

    @property
    def machine(self) -> Machine:
        return self._machine

    async def look(self) -> Machine:
        """See the machine as it is now, with the ways to the destinations."""
        await self._note(await self._kernel.read(self._destinations))
        return self._machine

    async def with_ways(self, destinations: Sequence[bytes]) -> Machine:
        """The machine as it was last seen, with routes to `destinations` that have none yet."""
        seen = self._machine
        found = {a: await self._kernel.route_to(a) for a in destinations if a not in seen.routes}
        new = {a: route for a, route in found.items() if route and route.link in seen.links}
        if new and self._machine is seen:
            self._machine = replace(seen, routes={**seen.routes, **new})
        return self._machine

    async def knows(self, addresses: Collection[bytes]) -> bool:
        """Whether the last look still tells which of `addresses` are the machine's own."""
        if len(addresses) > _MOST_ASKED:
            return False
        own = {address.address for address in self._machine.addresses}
        for address in addresses:
            route = await self._kernel.route_to(address)
            if (route is not None and route.local) is not (address in own):
                return False
        return True

    async def head_for(self, destinations: Sequence[bytes]) -> None:
        """Have these destinations from now on, and look for their routes."""
        self._destinations = destinations
        await self._note(await self.with_ways(destinations))

    async def settle(self) -> None:
        """Wait until each destination has a next hop, or is known to have none."""
        if self.macs.settled(self._ways()):
            return
        await self._ask(way for way in self._ways() if not self.macs.settled([way]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while not self.macs.settled(self._ways()):
                    await self.changed.wait()
                    self.changed.clear()
                    neighbours = await self._kernel.neighbours()
                    await self._note(replace(self._machine, neighbours=neighbours))
        self.changed.set()  # `Watch` may have been waiting for it as well

    async def resolve(self) -> None:
        """Have the kernel ask for the MAC of each next hop."""
        await self._ask(self._ways())

    async def _ask(self, ways: Iterable[Way]) -> None:
        for way in ways:
            neighbour = self._machine.neighbours.get(way)
            if neighbour is None or not neighbour.fixed:
                await self._kernel.resolve(*way, known=bool(neighbour and neighbour.mac))

    async def refresh(self) -> None:
        """Have the kernel ask again every `REFRESH_S`; until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.resolve()
            except KernelError as error:
                log.error("next hops are not refreshed: %s", error)

    def _ways(self) -> list[Way]:
        ways = (way_to(self._machine, address) for address in self._destinations)
        return list({way: None for way in ways if way is not None})

    async def _note(self, machine: Machine) -> None:
        self._machine = machine
        ways = self._ways()
        if self.macs.update(machine, ways):
            await self._ask(way for way in ways if not _is_sure(machine, way))


def _is_sure(machine: Machine, way: Way) -> bool:
    """Whether the kernel has a MAC for this next hop."""
    neighbour = machine.neighbours.get(way)
    return neighbour is not None and not neighbour.failed and bool(neighbour.mac)
