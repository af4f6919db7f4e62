"""Backends that no longer belong to their service, and still have flows.

They stay in the next hops, the guard and the filters as long as flows need them, and get no new
flows.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.model import Endpoint, OnRemove
from pktlb.plan.footprint import backend_addresses


class Leaver(NamedTuple):
    """A backend that is on its way out."""

    service: Service
    "The service as it was when the backend belonged to it."
    backend: Backend
    on_remove: OnRemove | None
    """What becomes of its open connections. None: the backend stays in another mode, and the
    connections that it has go on in the old one."""

    @property
    def key(self) -> tuple[ServiceKey, Endpoint]:
        """Service and endpoint that its flows are counted by."""
        return service_key(self.service.vip), self.backend.endpoint


class Served(NamedTuple):
    """A configuration, with the backends that are served only until their flows end."""

    config: Config
    "With the backends that leave, drained."
    strays: tuple[Service, ...] = ()
    "Backends that may still send, but have no place in `config`."
    leaving: tuple[Leaver, ...] = ()

    @property
    def senders(self) -> tuple[Service, ...]:
        """The services whose backends may send."""
        return (*self.config.services, *self.strays)

    @property
    def destinations(self) -> list[bytes]:
        """The address of each backend that packets go to or come from, once."""
        return backend_addresses(self.senders)


def leavers(before: Config, after: Config, on_remove: OnRemove | None = None) -> list[Leaver]:
    """The backends that leave when `after` replaces `before`.

    `on_remove` counts for more than the setting of their service.
    """
    wanted = {service.vip: service for service in after.services}
    found = []
    for service in before.services:
        now = wanted.get(service.vip)
        if now is service:
            continue
        here = {b.endpoint: now.mode_of(b) for b in now.backends} if now else {}
        end = on_remove or (now or service).on_remove
        for backend in service.backends:
            mode = here.get(backend.endpoint)
            if mode is None:
                found.append(Leaver(service, backend, end))
            elif mode is not service.mode_of(backend):
                found.append(Leaver(service, backend, None))
    return found


def all_leaving(new: Sequence[Leaver], earlier: Sequence[Leaver], after: Config) -> list[Leaver]:
    """The `new` leavers, then the `earlier` ones that `after` has not taken back."""
    vips = {each.service.vip for each in earlier}
    there = {
        (s.vip, b.endpoint): s.mode_of(b) for s in after.services if s.vip in vips
        for b in s.backends
    }  # fmt: skip
    known = {(each.service.vip, each.backend.endpoint) for each in new}
    found = list(new)
    for each in earlier:
        key = each.service.vip, each.backend.endpoint
        mode = there.get(key)
        if key not in known and mode is not each.service.mode_of(each.backend):
            found.append(each if mode is None else each._replace(on_remove=None))
    return found


def serve(config: Config, leaving: Sequence[Leaver] = ()) -> Served:
    """What the machine has to be ready for: the configuration, and the backends that leave it."""
    return Served(with_leavers(config, leaving), strays(config, leaving), tuple(leaving))


def with_leavers(config: Config, leaving: Sequence[Leaver]) -> Config:
    """The configuration with the backends that leave, which get no new flows.

    A service that is gone is served as long as its connections are to go on.
    """
    if not leaving:
        return config
    extra: dict[object, list[Leaver]] = {}
    for each in leaving:
        extra.setdefault(each.service.vip, []).append(each)
    services = [_joined(each, extra.pop(each.vip, [])) for each in config.services]
    for gone in extra.values():
        kept = [each for each in gone if each.on_remove is OnRemove.KEEP]
        if kept:
            services.append(_joined(replace(kept[0].service, backends=()), kept))
    return replace(config, services=tuple(services))


def strays(config: Config, leaving: Sequence[Leaver]) -> tuple[Service, ...]:
    """The backends that may still send, and that `with_leavers` has no place for.

    Either their service is gone and their connections are cut, or they have another mode now.
    """
    there = {service.vip for service in config.services}
    return tuple(
        replace(each.service, backends=(each.backend,))
        for each in leaving
        if each.on_remove is None
        or (each.on_remove is not OnRemove.KEEP and each.service.vip not in there)
    )


def _joined(service: Service, leaving: Sequence[Leaver]) -> Service:
    """The service with the backends that leave it, in their old mode.

    A backend that only changes its mode is left out: a service cannot have it twice.
    """
    if not leaving:
        return service
    here = {backend.endpoint for backend in service.backends}
    more = [
        replace(each.backend, drain=True, name="", mode=each.service.mode_of(each.backend))
        for each in leaving
        if each.backend.endpoint not in here
    ]
    return replace(service, backends=(*service.backends, *more))
