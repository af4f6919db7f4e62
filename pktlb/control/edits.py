"""Edits of a configuration: each is a pure function that makes a whole new `Config`.

An edit fails where a name or an address names nothing. Whether the new configuration makes sense
is checked when it is applied.
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
"What a request wants, to be applied to the configuration that runs when its turn has come."
Member = tuple[Service, Backend]
"A backend, with the service that it belongs to."


def services_named(config: Config, name: str) -> tuple[Service, ...]:
    """All services with this label; if there are none, the one of the VIP that `name` writes.
    Raises `NotFoundError`."""
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
    """The backends at an address, such as "10.0.0.1" or "10.0.0.1:80", one of a service at most.
    Raises `ConflictError` if a service has several, `NotFoundError` if none has any, and
    `ConfigError` if `text` is no address."""
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
    """The configuration with more services. Raises `ConflictError` if it has one of their VIPs."""
    vips = {service.vip for service in config.services}
    for service in new:
        if service.vip in vips:
            raise ConflictError(f"service {service.vip}: there is one already")
    return replace(config, services=(*config.services, *new))


def without_services(config: Config, gone: Sequence[Service]) -> Config:
    """The configuration without the services of these VIPs."""
    vips = {service.vip for service in gone}
    return replace(config, services=tuple(s for s in config.services if s.vip not in vips))


def with_changed(config: Config, changed: Iterable[Service]) -> Config:
    """The configuration with each of these services in the place of the one with its VIP."""
    new: Mapping[Vip, Service] = {service.vip: service for service in changed}
    return replace(config, services=tuple(new.get(s.vip, s) for s in config.services))


def with_backend(service: Service, new: Backend) -> Service:
    """The service with one more backend. Raises `ConflictError` if it has one at the endpoint."""
    if any(backend.endpoint == new.endpoint for backend in service.backends):
        raise ConflictError(f"backend {new.endpoint}: service {service.label} has it already")
    return replace(service, backends=(*service.backends, new))


def without_backend(service: Service, gone: Backend) -> Service:
    """The service without the backend at the endpoint of `gone`."""
    kept = tuple(backend for backend in service.backends if backend.endpoint != gone.endpoint)
    return replace(service, backends=kept)


def with_changed_backend(service: Service, old: Backend, new: Backend) -> Service:
    """The service with `new` in the place of `old`, which is one of its backends."""
    return replace(
        service,
        backends=tuple(new if backend is old else backend for backend in service.backends),
    )
