"""Backends that no longer belong to their service, while there are flows to them.

They stay where flows need them (next hops, the guard, the filters), and get nothing new.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.model import Endpoint, OnRemove


class Leaver(NamedTuple):
    """A backend that is on its way out."""

    service: Service
    "As it was when the backend belonged to it."
    backend: Backend
    policy: OnRemove | None
    """What becomes of its open connections. None: only its mode is another one now, and those that
    it had go on in the old one."""

    @property
    def key(self) -> tuple[ServiceKey, Endpoint]:
        """What its flows are counted by."""
        return service_key(self.service.vip), self.backend.endpoint


def leavers(
    before: Config, after: Config, earlier: Sequence[Leaver] = (), policy: OnRemove | None = None
) -> list[Leaver]:
    """Who leaves when `after` comes instead of `before`, and who was leaving and still is; `policy`
    counts for more than that of their service."""
    wanted = {service.vip: service for service in after.services}
    found = []
    for service in before.services:
        now = wanted.get(service.vip)
        if now is service:
            continue
        here = {b.endpoint: now.mode_of(b) for b in now.backends} if now else {}
        end = policy or (now or service).on_remove
        for backend in service.backends:
            mode = here.get(backend.endpoint)
            if mode is None:
                found.append(Leaver(service, backend, end))
            elif mode is not service.mode_of(backend):
                found.append(Leaver(service, backend, None))
    vips = {each.service.vip for each in earlier}
    there = {
        (s.vip, b.endpoint): s.mode_of(b) for s in after.services if s.vip in vips
        for b in s.backends
    }  # fmt: skip
    new = {(each.service.vip, each.backend.endpoint) for each in found}
    for each in earlier:
        key = each.service.vip, each.backend.endpoint
        mode = there.get(key)
        if key not in new and mode is not each.service.mode_of(each.backend):
            found.append(each if mode is None else each._replace(policy=None))
    return found


def with_leavers(config: Config, leaving: Sequence[Leaver]) -> Config:
    """What must be served: the configuration, and those who leave without anything new for them.

    A service that is gone is served as long as its connections are to go on.
    """
    if not leaving:
        return config
    extra: dict[object, list[Leaver]] = {}
    for each in leaving:
        extra.setdefault(each.service.vip, []).append(each)
    services = [_joined(each, extra.pop(each.vip, [])) for each in config.services]
    for gone in extra.values():
        kept = [each for each in gone if each.policy is OnRemove.KEEP]
        if kept:
            services.append(_joined(replace(kept[0].service, backends=()), kept))
    return replace(config, services=tuple(services))


def strays(config: Config, leaving: Sequence[Leaver]) -> tuple[Service, ...]:
    """Who may still send, though `with_leavers` has no place for it: the backends of services that
    are gone, whose connections are cut, and those that have another mode now."""
    there = {service.vip for service in config.services}
    return tuple(
        replace(each.service, backends=(each.backend,))
        for each in leaving
        if each.policy is None
        or (each.policy is not OnRemove.KEEP and each.service.vip not in there)
    )


def _joined(service: Service, leaving: Sequence[Leaver]) -> Service:
    """The service with those who leave it, in their old mode; one that only changes its mode
    cannot be in it twice, and is left out."""
    if not leaving:
        return service
    here = {backend.endpoint for backend in service.backends}
    more = [
        replace(each.backend, drain=True, name="", mode=each.service.mode_of(each.backend))
        for each in leaving
        if each.backend.endpoint not in here
    ]
    return replace(service, backends=(*service.backends, *more))
