"""The flows of a running balancer, as they are listed and killed."""

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final, TypeVar

from pktlb.config.service import Service
from pktlb.control.operator import FlowView
from pktlb.daemon.balancer import Balancer
from pktlb.engine.datapath.keys import FlowKey, destination, source
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.engine.datapath.tcp import State
from pktlb.engine.engine import Engine
from pktlb.engine.plane import AnyFlow
from pktlb.plan.change import Held

Seen = TypeVar("Seen")
Select = Callable[[FlowView], bool]

_WRAP_S: Final = (1 << 32) / 1000
"After so many seconds the native engine's time begins at 0 again."


async def listed(balancer: Balancer, select: Select, limit: int) -> tuple[list[FlowView], int]:
    """The first `limit` of the selected flows, and how many are selected."""
    services, now = _services(balancer), monotonic()
    views = await look_at_all(balancer.engine, lambda flow: _view(flow, services, now))
    found = [view for view in views if select(view)]
    return found[:limit], len(found)


async def kill(balancer: Balancer, select: Select) -> int:
    """End the selected flows; returns how many there were."""
    services, now = _services(balancer), monotonic()

    def key(flow: AnyFlow) -> FlowKey | None:
        return flow.key if not flow.killed and select(_view(flow, services, now)) else None

    keys = [each for each in await look_at_all(balancer.engine, key) if each is not None]
    return balancer.plane.kill(keys)


async def look_at_all(engine: Engine, look: Callable[[AnyFlow], Seen]) -> list[Seen]:
    """What `look` makes of each flow.

    The native engine's table is copied piece by piece, in a thread. The reference engine works on
    this thread, and its table would change under a look from another one.
    """
    flows = engine.plane.flows
    if engine.needs_loop:
        return [look(flow) for flow in flows]
    return await asyncio.to_thread(lambda: [look(flow) for flow in flows])


def held(flow: AnyFlow) -> Held:
    """What a change of the configuration has to know of a flow."""
    client = source(flow.key).address
    return Held(
        flow.key[-1],
        client,
        ServiceKey(flow.tally.service),
        flow.tally.backend,
        flow.mode,
        flow.state is State.CLOSED,
    )


def _services(balancer: Balancer) -> dict[bytes, Service]:
    """The services that flows may belong to, by key; services that are gone as well."""
    gone: dict[bytes, Service] = {each.key[0]: each.service for each in balancer.leaving}
    return gone | {service_key(each.vip): each for each in balancer.config.services}


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
