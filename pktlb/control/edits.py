"""Edits of a configuration: what a request wants changed, as a whole new `Config`.

Pure. What a name names, and whether it is there; whether the result makes sense is checked by
whoever applies it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.config.text import parse_address, parse_number, parse_vip, split_port
from pktlb.control.refusal import ConflictError, NotFoundError
from pktlb.errors import ConfigError
from pktlb.model import Vip

Edit = Callable[[Config], Config]
"What a request wants, to be worked out on what is running when its turn has come."
Member = tuple[Service, Backend]


def services_named(config: Config, name: str) -> tuple[Service, ...]:
    """All services of a name, or the one of a VIP."""
    found = tuple(service for service in config.services if service.label == name)
    if found:
        return found
    try:
        vip = parse_vip(name)
    except ConfigError:
        vip = None
    found = tuple(service for service in config.services if service.vip == vip)
    if not found:
        raise NotFoundError(f"service {name}: there is none of this name or VIP")
    return found


def backends_at(services: Iterable[Service], text: str) -> list[Member]:
    """Those of the services' backends that an address names, with its port or without."""
    address, port = split_port(text)
    packed = parse_address(address)
    number = None if port is None else parse_number(port, 1, 65535, "a port")
    found = []
    for service in services:
        here = [
            backend
            for backend in service.backends
            if backend.endpoint.address == packed and number in (None, backend.endpoint.port)
        ]
        if len(here) > 1:
            ends = ", ".join(str(backend.endpoint) for backend in here)
            raise ConflictError(f"backend {text}: expected one of {ends}")
        found += [(service, backend) for backend in here]
    if not found:
        labels = ", ".join(dict.fromkeys(service.label for service in services))
        raise NotFoundError(f"backend {text}: service {labels} has none of this address")
    return found


def with_services(config: Config, new: Sequence[Service]) -> Config:
    """Some more."""
    vips = {service.vip for service in config.services}
    for service in new:
        if service.vip in vips:
            raise ConflictError(f"service {service.vip}: there is one already")
    return replace(config, services=(*config.services, *new))


def without_services(config: Config, gone: Sequence[Service]) -> Config:
    vips = {service.vip for service in gone}
    return replace(config, services=tuple(s for s in config.services if s.vip not in vips))


def with_changed(config: Config, changed: Iterable[Service]) -> Config:
    """Other services in the place of those with the same VIP."""
    new: Mapping[Vip, Service] = {service.vip: service for service in changed}
    return replace(config, services=tuple(new.get(s.vip, s) for s in config.services))


def with_backend(service: Service, new: Backend) -> Service:
    if any(backend.endpoint == new.endpoint for backend in service.backends):
        raise ConflictError(f"backend {new.endpoint}: service {service.label} has it already")
    return replace(service, backends=(*service.backends, new))


def without_backend(service: Service, gone: Backend) -> Service:
    kept = tuple(backend for backend in service.backends if backend.endpoint != gone.endpoint)
    return replace(service, backends=kept)


def with_changed_backend(service: Service, old: Backend, new: Backend) -> Service:
    return replace(
        service,
        backends=tuple(new if backend is old else backend for backend in service.backends),
    )
