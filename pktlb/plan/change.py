"""The difference between two configurations, and what it does to the flows that exist.

Pure: flows come as values, and nothing is changed here. `transition` works the difference out once;
what plans it, says it and carries it out is handed the same `Transition`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from pktlb.config.config import Config
from pktlb.config.group import Group
from pktlb.config.option import Option, options
from pktlb.config.service import Backend, Service
from pktlb.config.text import hash_text
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.model import Endpoint, HashOn, Mode, OnRemove, Proto, Vip, format_address
from pktlb.plan.leaving import Leaver, all_leaving, leavers

_BALANCER: Final = options(Config)
_SERVICE: Final = tuple(each for each in options(Service) if each.attribute != "vip")
AT_START: Final = tuple(each.key for each in _BALANCER if not each.live)
"Settings of the balancer that are only looked at when pktlb starts."
_BACKEND: Final = tuple(each for each in options(Backend) if each.attribute != "endpoint")
_SERVICE_AT_START: Final = tuple(each for each in _SERVICE if not each.live)
_BACKEND_AT_START: Final = tuple(each for each in _BACKEND if not each.live)


@dataclass(frozen=True, slots=True)
class ChangeItem:
    """One difference between two configurations."""

    action: str
    '"add", "remove" or "change".'
    what: str
    '"service", "backend" or "balancer".'
    service: str
    "Label; empty where it is about the balancer."
    backend: str
    "Its address; empty where it is not about one."
    detail: str
    'What changes, such as "weight 1 -> 3".'


@dataclass(frozen=True, slots=True)
class Change:
    """What a new configuration does, or would do."""

    lines: tuple[str, ...] = ()
    "A sentence each."
    items: tuple[ChangeItem, ...] = ()
    flows_total: int = 0
    "Live flows when this was worked out."
    flows_moved: int = 0
    "Flows that go on with another backend."
    flows_broken: int = 0
    "Flows that end."
    clients_share: float = 0.0
    "Share of the live clients, 0..1, that have such a flow."
    restart: tuple[str, ...] = ()
    "Settings that only a restart takes over: `apply` refuses them."
    warnings: tuple[str, ...] = ()
    "A sentence for each thing that can be done and may not be what was meant."


@dataclass(frozen=True, slots=True)
class Transition:
    """The way from one configuration to another."""

    before: Config
    after: Config
    "Holds the very services of `before` that are equal: what is known of them goes by identity."
    items: tuple[ChangeItem, ...]
    "Every difference."
    at_start: tuple[str, ...]
    "Settings that differ and that only a restart takes over."
    leavers: tuple[Leaver, ...]
    "Backends that leave because of this."

    def leaving(self, earlier: Sequence[Leaver]) -> list[Leaver]:
        """All backends that leave afterwards: the `earlier` ones that still do, as well."""
        return all_leaving(self.leavers, earlier, self.after)


def transition(before: Config, after: Config, on_remove: OnRemove | None = None) -> Transition:
    """Work out what differs; `on_remove` counts for more than the setting of a service."""
    after = with_same(before, after)
    return Transition(
        before, after, difference(before, after), at_start(before, after),
        tuple(leavers(before, after, on_remove)),
    )  # fmt: skip


class Held(NamedTuple):
    """What has to be known of a flow to tell what a change does to it."""

    proto: int
    client: bytes
    service: ServiceKey
    backend: Endpoint
    "The end of its backend, as the configuration says it."
    mode: Mode
    is_closed: bool


def difference(before: Config, after: Config) -> tuple[ChangeItem, ...]:
    """Every difference, in the order in which it is told."""
    items = [
        ChangeItem("change", "balancer", "", "", detail)
        for detail in _details(_BALANCER, before, after)
    ]
    old = {service.vip: service for service in before.services}
    new = {service.vip: service for service in after.services}
    called = _names([*old.values(), *new.values()])
    for vip, service in old.items():
        if vip not in new:
            items.append(ChangeItem("remove", "service", called(service), "", ""))
    for vip, service in new.items():
        if vip not in old:
            count = len(service.backends)
            detail = f"with {count} backend{'s' * (count != 1)}"
            items.append(ChangeItem("add", "service", called(service), "", detail))
        elif old[vip] is not service:
            items += _of_service(old[vip], service, called(service))
    return tuple(items)


def with_same(before: Config, after: Config) -> Config:
    """`after` with the very services of `before` that are equal in both."""
    old = {service.vip: service for service in before.services}
    services = []
    for service in after.services:
        was = old.get(service.vip, service)
        services.append(was if was == service else service)
    return replace(after, services=tuple(services))


def said(items: Iterable[ChangeItem]) -> tuple[str, ...]:
    """A sentence for each change."""
    return tuple(map(_sentence, items))


def _sentence(item: ChangeItem) -> str:
    parts = [item.what if item.what == "balancer" else f"service {item.service}"]
    if item.backend:
        parts.append(f"backend {item.backend}")
    verb = {"add": "added", "remove": "removed", "change": ""}[item.action]
    return f"{', '.join(parts)}: {' '.join(filter(None, (verb, item.detail)))}"


def at_start(before: Config, after: Config) -> tuple[str, ...]:
    """The settings that differ and cannot be changed while packets move: keys of the balancer, and
    such as "service web: KEY"."""
    differs = {each.key for each in _BALANCER if each.differs(before, after)}
    return (*(key for key in AT_START if key in differs), *_of_services_at_start(before, after))


def _of_services_at_start(before: Config, after: Config) -> Iterator[str]:
    if not _SERVICE_AT_START and not _BACKEND_AT_START:
        return
    called = _names([*before.services, *after.services])
    old = {service.vip: service for service in before.services}
    for service in after.services:
        was = old.get(service.vip, service)
        name = f"service {called(service)}"
        yield from (f"{name}: {o.key}" for o in _SERVICE_AT_START if o.differs(was, service))
        backends = {backend.endpoint: backend for backend in was.backends}
        for backend in service.backends if was is not service else ():
            then = backends.get(backend.endpoint, backend)
            place = f"{name}, backend {backend.endpoint}"
            yield from (f"{place}: {o.key}" for o in _BACKEND_AT_START if o.differs(then, backend))


def effect(change: Transition, flows: Iterable[Held]) -> Change:
    """What a transition does to `flows`.

    Replies of a flow do not find the way back when `snat` has other addresses than at its start. A
    restart takes over `max_flows` at most.
    """
    gone = {each.key: each.on_remove for each in change.leavers if each.on_remove}
    left = {service_key(service.vip) for service in change.after.services}
    total = moved = broken = 0
    clients, touched = set(), set()
    for flow in flows:
        total += 1
        clients.add(flow.client)
        on_remove = gone.get((flow.service, flow.backend))
        is_lost = "snat" in change.at_start and flow.mode is Mode.NAT
        if flow.is_closed or (on_remove is None and not is_lost):
            continue
        if is_lost:
            broken += 1
        elif flow.proto != Proto.TCP and flow.service in left:
            moved += 1
        elif flow.proto != Proto.TCP or on_remove is not OnRemove.KEEP:
            broken += 1
        else:
            continue
        touched.add(flow.client)
    share = len(touched) / len(clients) if clients else 0.0
    broken = min(total, broken + max(0, total - change.after.max_flows))
    return said_change(change, total, moved, broken, share)


def said_change(change: Transition, total: int, moved: int = 0, broken: int = 0,
                share: float = 0.0) -> Change:  # fmt: skip
    """A transition as it is told: of `total` flows, so many move or break, of a `share` of the
    clients."""
    items = change.items
    return Change(said(items), items, total, moved, broken, share, change.at_start)


def touches_flows(change: Transition, total: int) -> bool:
    """Whether flows have to be looked at, of which there are `total`, to tell the effect."""
    is_tight = "max_flows" in change.at_start and total > change.after.max_flows
    leaves = any(each.on_remove for each in change.leavers)
    return leaves or "snat" in change.at_start or is_tight


def _of_service(before: Service, after: Service, called: str) -> Iterator[ChangeItem]:
    for detail in _details(_SERVICE, before, after):
        yield ChangeItem("change", "service", called, "", detail)
    old = {backend.endpoint: backend for backend in before.backends}
    new = {backend.endpoint: backend for backend in after.backends}
    for endpoint in old:
        if endpoint not in new:
            yield ChangeItem("remove", "backend", called, str(endpoint), "")
    for endpoint, backend in new.items():
        was = old.get(endpoint)
        if was is None:
            yield ChangeItem("add", "backend", called, str(endpoint), f"weight {backend.weight}")
        elif was != backend:
            for detail in _details(_BACKEND, was, backend):
                yield ChangeItem("change", "backend", called, str(endpoint), detail)


def _names(services: Iterable[Service]) -> Callable[[Service], str]:
    """What each of some services is called: its label, with the VIP where several VIPs have it."""
    vips: dict[str, set[Vip]] = {}
    for service in services:
        vips.setdefault(service.label, set()).add(service.vip)
    shared = {name for name, each in vips.items() if len(each) > 1}

    def called(service: Service) -> str:
        several = service.label in shared
        return f"{service.label} ({service.vip})" if several else service.label

    return called


def _details(of: Iterable[Option], before: object, after: object) -> Iterator[str]:
    """What of some options is not the same, such as "weight 1 -> 3"."""
    for each in of:
        if each.differs(before, after):
            old, new = (getattr(owner, each.attribute) for owner in (before, after))
            said = each.kind.text if isinstance(each.kind, Group) else _said
            yield f"{each.key} {said(old)} -> {said(new)}"


def _said(value: Any) -> str:
    if isinstance(value, HashOn):
        return hash_text(value)
    if isinstance(value, bytes):
        return format_address(value)
    if isinstance(value, tuple):
        return ",".join(map(_said, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == "":
        return "default"
    return str(getattr(value, "value", value))
