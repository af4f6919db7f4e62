"""What people may ask of a running balancer: the daemon's side of the control socket."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from time import monotonic
from typing import Any, Final, TypeVar

from pktlb.config import file
from pktlb.config.config import Config
from pktlb.config.conflicts import check_together
from pktlb.config.service import Backend, Service
from pktlb.control.events import Events
from pktlb.control.operator import BackendStatus, Counts, Event, FlowView, Removal, ServiceStatus
from pktlb.control.refusal import BusyError, ConflictError
from pktlb.control.server import Server
from pktlb.daemon.balancer import Balancer
from pktlb.daemon.restart.bridge import Bridge
from pktlb.daemon.restart.handover import Handover, become_next, in_memory, leave, left, try_next
from pktlb.engine.datapath.keys import FlowKey, destination, source
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.engine.datapath.tally import Count
from pktlb.engine.datapath.tcp import State
from pktlb.engine.plane import AnyFlow
from pktlb.errors import ConfigError, KernelError
from pktlb.model import Endpoint, OnRemove
from pktlb.plan.change import Change, Held, at_start, difference, effect, said
from pktlb.plan.leaving import leavers
from pktlb.plan.ramp import FULL

Seen = TypeVar("Seen")

log: Final = logging.getLogger(__name__)

NONE: Final = Count()
_WRAP_S: Final = (1 << 32) / 1000
"The native engine's time comes round after so long."

_LOOK_S: Final = 0.05
"Between two looks at whether a backend's last flow is over."
_ANSWERS_S: Final = 1.0
"Time for the answers to who has asked for something before a restart."


class Operation:
    """Implements `pktlb.control.operator.Operator`."""

    def __init__(
        self, source: str | None, beside: Mapping[str, Any], events: Events, lock: int
    ) -> None:
        self.source: Final = source
        "File that it was started with."
        self._beside: Final = beside
        "Settings that count for more than what the file says."

        self._events: Final = events
        self._began: Final = monotonic()
        self._before: dict[tuple[ServiceKey, Endpoint], Count] = {}
        "Counts at the time of `zero`."
        self.changing: Final = asyncio.Lock()
        self.balancer: Balancer
        "The one at work; another one when an interface was replaced."
        self.server: Server | None = None
        self.tasks: Final[set[asyncio.Task[None]]] = set()
        "Under way for somebody who does not wait for them."
        self._lock: Final = lock
        self._is_restarting = False

    @property
    def is_serving(self) -> bool:
        """Whether people can ask for anything."""
        return self.server is not None

    @property
    def config(self) -> Config:
        return self.balancer.config

    def status(self) -> list[ServiceStatus]:
        """Services in the order of the configuration; behind their backends those that leave."""
        counts = self.balancer.plane.tallies()
        found = []
        for service in self.config.services:
            key = service_key(service.vip)
            leaving = [
                self._status(service, key, each.backend, counts, True)
                for each in self.balancer.leaving
                if each.service.vip == service.vip and each.policy
            ]
            own = [self._status(service, key, backend, counts) for backend in service.backends]
            found.append(ServiceStatus(service, (*own, *leaving)))
        return found

    def _status(self, service: Service, of: ServiceKey, backend: Backend,
                counts: dict[tuple[ServiceKey, Endpoint], Count], leaving: bool = False,
                ) -> BackendStatus:  # fmt: skip
        key = of, backend.endpoint
        now, before = counts.get(key, NONE), self._before.get(key, NONE)
        share = self.balancer.layout.ramps.share(service.vip, backend.endpoint)
        if leaving:
            state = "removed"
        elif backend.drain or not backend.weight:
            state = "drained"
        elif backend.endpoint.address not in self.balancer.tables.hops:
            state = "unreachable"
        elif now.full:
            state = "full"
        else:
            state = "up" if share == FULL else "starting"
        weight = 0.0 if state in ("removed", "drained") else backend.weight * share
        rest = (after - past for after, past in zip(now[2:7], before[2:7], strict=True))
        return BackendStatus(backend, state, weight, now.active, now.inactive, *rest)

    def counts(self) -> Counts:
        engine, site = self.balancer.engine, self.balancer.site
        return Counts(
            flows=len(engine.plane.flows),
            reasons=engine.plane.counts,
            trouble=engine.trouble(),
            engine=engine.name,
            workers=max((len(port.sockets) for port in site.ports), default=0),
            interfaces=tuple(port.name for port in site.ports),
            uptime_s=monotonic() - self._began,
            pins=engine.plane.pin_count,
            max_flows=self.config.max_flows,
        )

    async def plan(self, wanted: Config, policy: OnRemove | None = None) -> Change:
        """What `apply` would do, or a restart with this. `ConfigError` where the machine has no
        way for it."""
        wanted = check_together(wanted, self.config)
        await self.balancer.check(wanted)
        return await self._effect(wanted, policy)

    async def _effect(self, wanted: Config, policy: OnRemove | None) -> Change:
        before = self.config
        leaving = leavers(before, wanted, policy=policy)
        items, restart = difference(before, wanted), at_start(before, wanted)
        total = len(self.balancer.plane.flows)
        is_tight = "max_flows" in restart and total > wanted.max_flows
        if not (any(each.policy for each in leaving) or "snat" in restart or is_tight):
            return Change(said(items), items, total, restart=restart)
        flows = await self._all_flows(_held)
        vips = [service.vip for service in wanted.services]
        return effect(items, restart, leaving, vips, flows, wanted.max_flows)

    async def apply(self, wanted: Config, policy: OnRemove | None = None) -> Change:
        """Make it so."""
        wanted = check_together(wanted, self.config)
        change = await self._effect(wanted, policy)
        await self.balancer.apply(wanted, policy)
        return change

    async def reload(self) -> Change:
        change = await self.apply(await self.read_file(None))
        text = f"reloaded {self.source}: changes: {len(change.items)}"
        log.info("%s", text)
        self._events.publish("reload", text, changes=len(change.items))
        return change

    async def read_file(self, text: str | None) -> Config:
        name = str(self.source)
        if text is None:
            if self.source is None:
                raise ConfigError("expected a pktlb that was started with a file (run -c FILE)")
            config = await asyncio.to_thread(file.load, name, True)
        else:
            config = await asyncio.to_thread(file.read, text, "-")
        return replace(config, **self._beside)

    async def flows(
        self, select: Callable[[FlowView], bool], limit: int
    ) -> tuple[list[FlowView], int]:
        """The first of those selected, and how many there are."""
        found = [view for view in await self._views() if select(view)]
        return found[:limit], len(found)

    def _services(self) -> dict[bytes, Service]:
        """Whose flows there are: services that are gone as well."""
        gone: dict[bytes, Service] = {each.key[0]: each.service for each in self.balancer.leaving}
        return gone | {service_key(each.vip): each for each in self.config.services}

    async def _views(self) -> list[FlowView]:
        services, now = self._services(), monotonic()
        return await self._all_flows(lambda flow: _view(flow, services, now))

    async def _all_flows(self, look: Callable[[AnyFlow], Seen]) -> list[Seen]:
        """What is seen of each flow. The reference engine's table changes under whoever is slow;
        the native one's is copied piece by piece, in a thread."""
        plane = self.balancer.plane
        if self.balancer.engine.name == "python":
            return [look(flow) for flow in plane.flows]
        return await asyncio.to_thread(lambda: [look(flow) for flow in plane.flows])

    async def kill(self, select: Callable[[FlowView], bool]) -> int:
        """Connections are cut; how many there were."""
        services = self._services()
        now = monotonic()

        def key(flow: AnyFlow) -> FlowKey | None:
            return flow.key if not flow.killed and select(_view(flow, services, now)) else None

        keys = [each for each in await self._all_flows(key) if each is not None]
        return self.balancer.plane.kill(keys)

    async def remove_when_idle(
        self, service: str, backend: Endpoint, within_s: float | None,
        policy: OnRemove | None = None,
    ) -> Removal:  # fmt: skip
        """Drain, wait for the last connection, remove."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with self.changing:
            await self.apply(_changed(self.config, service, backend, _drained))
        until = None if within_s is None else begin + within_s
        while (open_now := self._open(service, backend)) and (not until or loop.time() < until):
            await asyncio.sleep(_LOOK_S)
            self._expect_drained(service, backend)
        async with self.changing:
            self._expect_drained(service, backend)
            await self.apply(_changed(self.config, service, backend, lambda _: None), policy)
        return Removal(open_now, loop.time() - begin)

    def _expect_drained(self, service: str, backend: Endpoint) -> None:
        """Somebody may have thought better of it."""
        if self._is_restarting:
            raise BusyError(f"backend {backend} is not removed: pktlb restarts, ask again")
        found = [b for s in named(self.config, service) for b in s.backends]
        if any(b.endpoint == backend and not b.drain for b in found):
            raise ConflictError(f"backend {backend} is not removed: it was undrained meanwhile")

    def _open(self, service: str, backend: Endpoint) -> int:
        """How many connections a backend has open."""
        counts = self.balancer.plane.tallies()
        keys = [(service_key(s.vip), backend) for s in named(self.config, service)]
        return sum(counts.get(key, NONE).active for key in keys)

    def zero(self) -> None:
        self._before = self.balancer.plane.tallies()

    def subscribe(self) -> AsyncIterator[Event]:
        return self._events.subscribe()

    async def restart(self, dry_run: bool) -> Change:
        """Make sure that the next process can start, and become it in a moment; what it will do
        otherwise, for it reads the file anew."""
        wanted = self.config if self.source is None else await self.read_file(None)
        change = await self.plan(wanted)
        with_bridge = await try_next()
        if not dry_run:
            self.start(self._become_next(with_bridge))
        return replace(change, restart=())

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Have something done for somebody who does not wait for it."""

        def end(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                log.error("%s", error, exc_info=error)

        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(end)

    async def _become_next(self, with_bridge: bool) -> None:
        balancer = self.balancer
        self._is_restarting = True
        self._events.publish("restart", "restarting")
        await asyncio.sleep(2 * _LOOK_S)  # whoever waits for a removal hears of it, too
        if self.server:
            await self.server.fall_silent(_ANSWERS_S)
        engine, site = balancer.engine, balancer.site
        engine.stop()
        bridge = None
        if with_bridge and not engine.needs_loop:
            bridge = Bridge.build(engine, site.ports, site.tun)
        try:
            become_next(self._handover(balancer.plane.dump(monotonic()), bridge))
        except KernelError as error:
            log.error("%s; going on", error)
            self._is_restarting = False
            if bridge:
                bridge.give_back(site.ports)
            engine.start()
            if self.server:
                self.server.take_back()

    def leave(self) -> None:
        """Have the service manager keep everything for the process that it starts next. `OSError`
        where it does not: then nothing has changed, but that no frames move."""
        self.balancer.engine.stop()
        leave(self._handover(self.balancer.plane.dump(monotonic())))

    def _handover(self, flows: bytes, bridge: Bridge | None = None) -> Handover:
        balancer = self.balancer
        leaving = [
            replace(each.service, backends=(each.backend,), on_remove=each.policy)
            for each in balancer.leaving
            if each.policy
        ]
        return Handover(
            engine=balancer.engine.name,
            ports=left(balancer.site.ports),
            indexes={port.name: port.index for port in balancer.site.ports},
            tun=balancer.site.tun.fileno(),
            lock=self._lock,
            control=self.server.hand_over() if self.server else -1,
            added=balancer.site.added,
            state=in_memory(flows),
            config=file.write(self.config),
            leaving=[file.write(Config((service,))) for service in leaving],
            bridge=bridge.place if bridge else None,
        )


def named(config: Config, service: str) -> list[Service]:
    """The services with this label, or the one of this VIP."""
    found = [each for each in config.services if service in (each.label, str(each.vip))]
    if not found:
        raise ConfigError(f"expected the name or the VIP of a service, there is no {service}")
    return found


def _changed(config: Config, service: str, backend: Endpoint,
             change: Callable[[Backend], Backend | None]) -> Config:  # fmt: skip
    """The configuration with a backend of some services changed, or taken out."""
    wanted = {id(each) for each in named(config, service)}
    services = []
    for each in config.services:
        if id(each) in wanted:
            if all(b.endpoint != backend for b in each.backends):
                raise ConfigError(f"service {each.label} has no backend {backend}")
            others = [change(b) if b.endpoint == backend else b for b in each.backends]
            each = replace(each, backends=tuple(b for b in others if b))  # noqa: PLW2901
        services.append(each)
    return replace(config, services=tuple(services))


def _drained(backend: Backend) -> Backend:
    return replace(backend, drain=True)


def _held(flow: AnyFlow) -> Held:
    client = source(flow.key).address
    return Held(
        flow.key[-1],
        client,
        ServiceKey(flow.tally.service),
        flow.tally.backend,
        flow.mode,
        flow.state is State.CLOSED,
    )


def _view(flow: AnyFlow, services: Mapping[bytes, Service], now: float) -> FlowView:
    service = services.get(flow.tally.service)
    return FlowView(
        proto=flow.key[-1],
        client=source(flow.key),
        vip=destination(flow.key),
        service=service.label if service else "",
        backend=flow.backend,
        mode=flow.mode,
        state="killed" if flow.killed else flow.state.name.lower(),
        idle_s=(now - flow.seen) % _WRAP_S,
        seen_as=destination(flow.reverse) if flow.reverse else None,
        service_vip=service.vip if service else None,
    )
