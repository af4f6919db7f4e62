"""Services and backends as plain objects: the tables of the file, and what the API sends and takes.

What is as it would be if nothing were said is left out. Errors are those of a file, without its
name and lines: the path within the object, and what is wrong.
"""

from collections.abc import Mapping
from typing import Any, Final

from pktlb.config.config import Config
from pktlb.config.conflicts import moves_ports
from pktlb.config.option import options, said
from pktlb.config.problem import Problem, dotted, show
from pktlb.config.service import Backend, Service
from pktlb.config.text import picks_up
from pktlb.errors import FileError
from pktlb.model import HASHES, WHOLE_FLOW

_NOWHERE: Final = Config(())
_BALANCER: Final = options(Config)
_SERVICE: Final = options(Service)
_BACKEND: Final = options(Backend)


def backend_object(backend: Backend) -> dict[str, Any]:
    """The keys of `[[service.backend]]`."""
    return said(backend, _BACKEND)


def service_object(service: Service, config: Config = _NOWHERE) -> dict[str, Any]:
    """The keys of `[[service]]`; `config` is what it is a part of."""
    unasked = picks_up(service.scheduler, service.vip) and not moves_ports(service, config)
    usual = {"hash_on": HASHES.get(service.scheduler, WHOLE_FLOW), "pick_up": unasked}
    found = said(service, _SERVICE, usual)
    if service.backends:
        found["backend"] = [backend_object(backend) for backend in service.backends]
    return found


def balancer_object(config: Config) -> dict[str, Any]:
    """The keys of `[balancer]`, those of `[balancer.timeouts]` in a table of their own."""
    return said(config, _BALANCER)


def service_of(obj: object, config: Config = _NOWHERE) -> tuple[Service, ...]:
    """The services that an object describes: one for each VIP. `config` is what they will be a part
    of, of which the services do not matter here."""
    from pktlb.config import document  # noqa: PLC0415 - pydantic takes its time

    services, problems = document.services_of(obj, config)
    _refuse(problems, len(("service", 0)))
    return services


def backend_of(obj: object, service: Service) -> Backend:
    """The backend that an object describes, as one of this service."""
    from pktlb.config import document  # noqa: PLC0415

    backend, problems = document.backend_of(obj, service)
    _refuse(problems, len(("service", 0, "backend", 0)))
    assert backend is not None, "or there was a problem"
    return backend


def _refuse(problems: list[Problem], above: int) -> None:
    """Paths begin in the object, not in the document that it would be a part of."""
    if problems:
        raise FileError(told(Problem(p.path[above:], p.what)) for p in problems)


def told(problem: Problem) -> str:
    """One line: the path of a problem, and what is wrong there."""
    where = dotted(problem.path)
    return f"{where}: {problem.what}" if where else problem.what


def changed_service(service: Service, obj: object, config: Config = _NOWHERE) -> Service:
    """The service with the keys of an object in place of its own; null stands for what would be if
    nothing were said."""
    keys = _merged(service_object(service, config), obj)
    if isinstance(obj, Mapping) and "scheduler" in obj and "hash" not in obj:
        keys.pop("hash", None)
    (changed, *more) = service_of(keys, config)
    if more or changed.vip != service.vip:
        raise FileError([f"vip: expected {service}, for a service is known by it"])
    return changed


def changed_backend(backend: Backend, service: Service, obj: object) -> Backend:
    """As `changed_service`, for a backend of `service`."""
    keys = _merged(backend_object(backend), obj)
    if (
        isinstance(obj, Mapping)
        and "resume_connections" not in obj
        and not keys.get("max_connections")
    ):
        keys.pop("resume_connections", None)
    changed = backend_of(keys, service)
    if changed.endpoint != backend.endpoint:
        raise FileError([f"address: expected {backend.endpoint}, for a backend is known by it"])
    return changed


def _merged(keys: dict[str, Any], obj: object) -> dict[str, Any]:
    """As RFC 7396 has it."""
    if not isinstance(obj, Mapping):
        raise FileError([f"expected an object, got {show(obj)}"])
    merged = {
        key: _merged(keys[key], value)
        if isinstance(value, Mapping) and isinstance(keys.get(key), dict)
        else value
        for key, value in (keys | dict(obj)).items()
    }
    return {key: value for key, value in merged.items() if value is not None}
