"""What one configuration changes in another, and what that does to the flows there are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

from pktlb.config.config import Config
from pktlb.config.option import Option, options
from pktlb.config.service import Backend, Service
from pktlb.config.text import hash_text
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.model import Endpoint, HashOn, Mode, OnRemove, Proto, Timeouts, Vip, format_address
from pktlb.plan.leaving import Leaver

_BALANCER: Final = options(Config)
_SERVICE: Final = tuple(each for each in options(Service) if each.attribute != "vip")
AT_START: Final = tuple(each.key for each in _BALANCER if not each.live)
"Settings that are only looked at when pktlb starts."
_BACKEND: Final = tuple(each for each in options(Backend) if each.attribute != "endpoint")


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
    "Of those, how many go on with another backend."
    flows_broken: int = 0
    "How many end."
    clients_share: float = 0.0
    "Share of the live clients, 0..1, that have such a flow."
    restart: tuple[str, ...] = ()
    "Settings of the balancer that only a restart takes over: `apply` refuses them."


class Held(NamedTuple):
    """What has to be known of a flow to tell what a change does to it."""

    proto: int
    client: bytes
    service: ServiceKey
    backend: Endpoint
    "As configured."
    mode: Mode
    is_closed: bool


def difference(before: Config, after: Config) -> tuple[ChangeItem, ...]:
    """Every thing that is not the same."""
    items = [
        ChangeItem("change", "balancer", "", "", detail)
        for detail in _details(_BALANCER, before, after)
    ]
    old = {service.vip: service for service in before.services}
    new = {service.vip: service for service in after.services}
    shared = _shared([*old.values(), *new.values()])

    def called(service: Service) -> str:
        several = service.label in shared
        return f"{service.label} ({service.vip})" if several else service.label

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
    """`after` with the very services of `before` where they are equal: what is known of them is
    known by their identity."""
    old = {service.vip: service for service in before.services}
    services = []
    for service in after.services:
        was = old.get(service.vip, service)
        services.append(was if was == service else service)
    return replace(after, services=tuple(services))


def said(items: Iterable[ChangeItem]) -> tuple[str, ...]:
    """A sentence for each."""
    return tuple(map(_sentence, items))


def _sentence(item: ChangeItem) -> str:
    parts = [item.what if item.what == "balancer" else f"service {item.service}"]
    if item.backend:
        parts.append(f"backend {item.backend}")
    verb = {"add": "added", "remove": "removed", "change": ""}[item.action]
    return f"{', '.join(parts)}: {' '.join(filter(None, (verb, item.detail)))}"


def at_start(before: Config, after: Config) -> tuple[str, ...]:
    """The settings that differ and cannot be changed while packets move."""
    differs = {each.key for each in _BALANCER if each.differs(before, after)}
    return tuple(key for key in AT_START if key in differs)


def effect(items: Sequence[ChangeItem], restart: Sequence[str], leaving: Iterable[Leaver],
           services: Iterable[Vip], flows: Iterable[Held], max_flows: int) -> Change:  # fmt: skip
    """What becomes of `flows` when those leave and these `services` are left.

    With other `snat` addresses than they were opened with, replies do not find the way back; and a
    restart takes over no more than `max_flows`.
    """
    gone = {each.key: each.policy for each in leaving if each.policy}
    left = set(map(service_key, services))
    total = moved = broken = 0
    clients, touched = set(), set()
    for flow in flows:
        total += 1
        clients.add(flow.client)
        policy = gone.get((flow.service, flow.backend))
        is_lost = "snat" in restart and flow.mode is Mode.NAT
        if flow.is_closed or (policy is None and not is_lost):
            continue
        if is_lost:
            broken += 1
        elif flow.proto != Proto.TCP and flow.service in left:
            moved += 1
        elif flow.proto != Proto.TCP or policy is not OnRemove.KEEP:
            broken += 1
        else:
            continue
        touched.add(flow.client)
    share = len(touched) / len(clients) if clients else 0.0
    broken = min(total, broken + max(0, total - max_flows))
    return Change(said(items), tuple(items), total, moved, broken, share, tuple(restart))


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


def _shared(services: Iterable[Service]) -> set[str]:
    """Names that more than one VIP has."""
    vips: dict[str, set[Vip]] = {}
    for service in services:
        vips.setdefault(service.label, set()).add(service.vip)
    return {name for name, each in vips.items() if len(each) > 1}


def _details(of: Iterable[Option], before: object, after: object) -> Iterator[str]:
    """What of some options is not the same, such as "weight 1 -> 3"."""
    for each in of:
        if each.differs(before, after):
            old, new = (getattr(owner, each.attribute) for owner in (before, after))
            yield f"{each.key} {_said(old)} -> {_said(new)}"


def _said(value: Any) -> str:
    if isinstance(value, HashOn):
        return hash_text(value)
    if isinstance(value, Timeouts):
        return ",".join(f"{f.name}={getattr(value, f.name):g}" for f in fields(value))
    if isinstance(value, bytes):
        return format_address(value)
    if isinstance(value, tuple):
        return ",".join(map(_said, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == "":
        return "default"
    return str(getattr(value, "value", value))
