"""Services and backends as plain objects: the tables of the file, and what the API sends and takes.

What is as it would be if nothing were said is left out. Errors are those of a file, without its
name and lines: the path within the object, and what is wrong.
"""

from collections.abc import Mapping
from typing import Any, Final

from pktlb.config.config import Config
from pktlb.config.conflicts import moves_ports
from pktlb.config.problem import Problem, dotted, show
from pktlb.config.service import Backend, Service
from pktlb.config.text import KEYS, hash_text, picks_up
from pktlb.errors import FileError
from pktlb.model import HASHES, WHOLE_FLOW, format_address

_NOWHERE: Final = Config(())


def backend_object(backend: Backend) -> dict[str, Any]:
    """The keys of `[[service.backend]]`."""
    found: dict[str, Any] = {"address": str(backend.endpoint)}
    if backend.weight != 1:
        found["weight"] = backend.weight
    if backend.name:
        found["name"] = backend.name
    if backend.mode is not None:
        found["mode"] = backend.mode.value
    if backend.drain:
        found["drain"] = True
    if backend.max_connections:
        found["max_connections"] = backend.max_connections
    if backend.resume_connections:
        found["resume_connections"] = backend.resume_connections
    return found


def service_object(service: Service, config: Config = _NOWHERE) -> dict[str, Any]:
    """The keys of `[[service]]`; `config` is what it is a part of."""
    plain = Service(service.vip, service.mode, service.scheduler, ())
    found: dict[str, Any] = {"name": service.name} if service.name else {}
    found |= {"vip": str(service.vip), "mode": service.mode.value}
    found["scheduler"] = service.scheduler.value
    if service.hash_on != HASHES.get(service.scheduler, WHOLE_FLOW):
        found["hash"] = hash_text(service.hash_on)
    if service.one_packet:
        found["one_packet"] = True
    unasked = picks_up(service.scheduler, service.vip) and not moves_ports(service, config)
    if service.pick_up != unasked:
        found["pick_up"] = service.pick_up
    for attribute in ("persist_s", "persist4", "persist6", "slow_start_s"):
        if getattr(service, attribute) != getattr(plain, attribute):
            found[KEYS[attribute]] = getattr(service, attribute)
    if service.on_remove != plain.on_remove:
        found["on_remove"] = service.on_remove.value
    if service.backends:
        found["backend"] = [backend_object(backend) for backend in service.backends]
    return found


def balancer_object(config: Config) -> dict[str, Any]:
    """The keys of `[balancer]`, those of `[balancer.timeouts]` in a table of their own."""
    plain = Config(())
    found: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value
        for key in (
            "name", "interfaces", "vip_interface", "max_flows", "engine", "workers",
            "busy_poll_us", "realtime", "control", "control_group",
        )
        if (value := getattr(config, key)) != getattr(plain, key)
    }  # fmt: skip
    if config.snat:
        found["snat"] = _ranges(config.snat)
    timeouts = {
        key: int(value)
        for key in plain.timeouts.__dataclass_fields__
        if (value := getattr(config.timeouts, key)) != getattr(plain.timeouts, key)
    }
    return found | ({"timeouts": timeouts} if timeouts else {})


def _ranges(addresses: tuple[bytes, ...]) -> list[str]:
    """Addresses that follow upon each other as `ADDR-ADDR`."""
    runs: list[list[bytes]] = []
    for address in addresses:
        last = runs[-1][-1] if runs else b""
        follows = len(last) == len(address) and (
            int.from_bytes(last, "big") + 1 == int.from_bytes(address, "big")
        )
        if follows:
            runs[-1].append(address)
        else:
            runs.append([address])
    return ["-".join(dict.fromkeys(map(format_address, (run[0], run[-1])))) for run in runs]


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
    """Where and what."""
    where = dotted(problem.path)
    return f"{where}: {problem.what}" if where else problem.what


def changed_service(service: Service, obj: object, config: Config = _NOWHERE) -> Service:
    """The service with those keys changed that an object has; null stands for what would be if
    nothing were said."""
    keys = _merged(service_object(service, config), obj)
    if isinstance(obj, Mapping) and "scheduler" in obj and "hash" not in obj:
        keys.pop("hash", None)
    (changed, *more) = service_of(keys, config)
    if more or changed.vip != service.vip:
        raise FileError([f"vip: expected {service}, for a service is known by it"])
    return changed


def changed_backend(backend: Backend, service: Service, obj: object) -> Backend:
    """The same for a backend of a service."""
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
    return {key: value for key, value in (keys | dict(obj)).items() if value is not None}
