"""What an operator may ask of a running balancer: the daemon's side of the control socket."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pktlb.config.config import Config
from pktlb.control.operator import Counts, Event, FlowView, Removal, ServiceStatus
from pktlb.daemon import flows
from pktlb.daemon.balancer import Balancer
from pktlb.daemon.departure import Departure
from pktlb.daemon.drain import Drain
from pktlb.daemon.restart.successor import try_next
from pktlb.daemon.status import Status
from pktlb.daemon.surroundings import Surroundings
from pktlb.daemon.transition import Transitions
from pktlb.model import Endpoint, OnRemove
from pktlb.plan.change import Change

if TYPE_CHECKING:
    from pktlb.control.server import Server

log: Final = logging.getLogger(__name__)


class Operation:
    """Implements `pktlb.control.operator.Operator`."""

    def __init__(
        self, balancer: Balancer, source: str | None, beside: Mapping[str, Any], lock: int,
        surroundings: Surroundings,
    ) -> None:  # fmt: skip
        """`source`, `beside`: see `Transitions`; `lock`: descriptor of the lock."""
        self.balancer: Final = balancer
        self.changing: Final = asyncio.Lock()
        "Held from the look at the configuration to the end of its change: no change is lost."
        self.server: Server | None = None
        self._status: Final = Status()
        self._transitions: Final = Transitions(balancer, source, beside, surroundings)
        self._departure: Final = Departure(lock, balancer.events)
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        "Work that no request waits for."

    @property
    def source(self) -> str | None:
        return self._transitions.source

    @property
    def config(self) -> Config:
        return self.balancer.config

    def status(self) -> list[ServiceStatus]:
        return self._status.services(self.balancer)

    def counts(self) -> Counts:
        return self._status.counts(self.balancer)

    def zero(self) -> None:
        self._status.zero(self.balancer)

    def subscribe(self) -> AsyncIterator[Event]:
        return self.balancer.events.subscribe()

    async def plan(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        return await self._transitions.plan(wanted, on_remove, force)

    async def apply(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        return await self._transitions.apply(wanted, on_remove, force)

    async def reload(self, force: bool = False) -> Change:
        return await self._transitions.reload(force)

    async def read_file(self, text: str | None) -> Config:
        return await self._transitions.read_file(text)

    async def flows(
        self, select: Callable[[FlowView], bool], limit: int
    ) -> tuple[list[FlowView], int]:
        return await flows.listed(self.balancer, select, limit)

    async def kill(self, select: Callable[[FlowView], bool]) -> int:
        return await flows.kill(self.balancer, select)

    async def remove_when_idle(
        self, service: str, backend: Endpoint, within_s: float | None,
        on_remove: OnRemove | None = None,
    ) -> Removal:  # fmt: skip
        drain = Drain(self.balancer, self._transitions, self.changing, service, backend)
        return await drain.remove(within_s, on_remove, lambda: self._departure.is_under_way)

    async def restart(self, dry_run: bool) -> Change:
        wanted = self.config if self.source is None else await self.read_file(None)
        change = await self.plan(wanted)
        with_bridge = await try_next()
        if not dry_run:
            self.start(self._departure.become_next(self.balancer, self.server, with_bridge))
        return replace(change, restart=())

    def leave(self) -> None:
        """Leave everything with the service manager: see `Departure.leave`."""
        self._departure.leave(self.balancer, self.server)

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Have something done that no request waits for; an error of it is logged."""

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                log.error("%s", error, exc_info=error)

        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(end)
