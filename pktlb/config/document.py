"""From the tables of a document to a `Config`: all that is wrong with it at once, by path.

A table is read as far as it is right: what is wrong is named, left out, and the rest is looked at,
so that one mistake does not hide the others. Files, flags and the API come this way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from pktlb.config.bounds import MAX_MEMBERS, MAX_SERVICES
from pktlb.config.config import Config
from pktlb.config.conflicts import conflicts, conflicts_of, moves_ports
from pktlb.config.keys import BackendKeys, BalancerKeys, Document, ServiceKeys
from pktlb.config.option import options
from pktlb.config.problem import MAX_PROBLEMS, Path, Problem, show
from pktlb.config.service import Backend, Service
from pktlb.config.text import parse_hash, picks_up, served_port
from pktlb.config.validation import unknown_key, validated
from pktlb.errors import ConfigError
from pktlb.model import HASHES, WHOLE_FLOW, Endpoint, Vip

_BALANCER: Final = options(Config)
_SERVICE: Final = tuple(
    each for each in options(Service) if each.attribute not in ("vip", "hash_on", "pick_up")
)
"What becomes an attribute as it is; the others depend on each other."
_besides_address: Final = attrgetter(*(each.key for each in options(Backend)[1:]))
"The values of a table of a backend in the order of the fields, whose first is the address."


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a service of a `Config` stands in the document."""

    table: int
    vip: tuple[int, ...]
    "Its place in the list of VIPs, if it is a list."
    backends: Sequence[int]
    "The place of each of its backends in the table's list."


@dataclass(slots=True)
class Reading:
    """What has been understood so far."""

    config: Config = field(default_factory=lambda: Config(()))
    "Without services as yet."
    services: list[Service] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    members: int = 0

    def finish(self) -> tuple[Config, list[Problem]]:
        """The configuration, and all that is wrong: what it contradicts itself in as well."""
        config = replace(self.config, services=tuple(self.services))
        return config, self.told(conflicts(config))

    def told(self, conflicts: Iterable[Problem]) -> list[Problem]:
        """All problems, each once: of each VIP of a table they may be the same."""
        found = (Problem(self._in_document(path), what) for path, what in conflicts)
        return list(dict.fromkeys(chain(self.problems, found)))

    def _in_document(self, path: Path) -> Path:
        """The path in the document of a path in the `Config`."""
        if path[0] != "service" or len(path) < 2:
            return path
        origin, rest = self.origins[int(path[1])], path[2:]
        if rest == ("vip",):
            rest = ("vip", *origin.vip)
        elif rest[0] == "backend" and len(rest) > 1:
            rest = ("backend", origin.backends[int(rest[1])], *rest[2:])
        return ("service", origin.table, *rest)


def understand(document: object) -> tuple[Config, list[Problem]]:
    """The configuration, as far as it could be understood, and all that is wrong with it."""
    reading = Reading()
    if not isinstance(document, Mapping):
        return reading.config, [Problem((), f"expected a table, got {show(document)}")]
    for key in document:
        if key not in Document.model_fields:
            hint = len(reading.problems) < MAX_PROBLEMS
            what = unknown_key(Document, key, document[key], hint)
            reading.problems.append(Problem((key,), what))
    reading.config = _balancer(document.get("balancer", {}), reading.problems)
    tables = document.get("service", [])
    if not isinstance(tables, list):
        what = f"expected tables with the head [[service]], got {show(tables)}"
        reading.problems.append(Problem(("service",), what))
        tables = []
    for at, raw in enumerate(tables):
        read_service(raw, at, reading)
        if len(reading.services) > MAX_SERVICES or reading.members > MAX_MEMBERS:
            most = f"{MAX_SERVICES} VIPs and {MAX_MEMBERS} backends of all VIPs at most"
            return reading.config, [*reading.problems, Problem(("service", at), f"expected {most}")]
    return reading.finish()


def _balancer(raw: object, problems: list[Problem]) -> Config:
    """What is the same for all services."""
    right = validated(BalancerKeys, raw, ("balancer",), problems)
    table = right.table if right else BalancerKeys()
    said = {each.attribute: getattr(table, each.key) for each in _BALANCER}
    return Config(services=(), **said)


def read_service(raw: object, at: int, reading: Reading) -> None:
    """The services of one table: one for each VIP."""
    path: Path = ("service", at)
    right = validated(ServiceKeys, raw, path, reading.problems)
    if right is None:
        return
    table: Any = right.table
    reading.members += len(table.vip) * len(table.backend)
    if reading.members > MAX_MEMBERS:
        return
    is_list = isinstance(raw, Mapping) and isinstance(raw["vip"], list)
    for place, vip in zip(right.places("vip", len(table.vip)), table.vip, strict=True):
        try:
            service = _service(table, vip, reading.config)
        except ConfigError as error:
            reading.problems.append(Problem((*path, "hash"), str(error)))
            continue
        reading.services.append(service)
        backends = right.places("backend", len(table.backend))
        reading.origins.append(Origin(at, (place,) if is_list else (), backends))


def _service(table: Any, vip: Vip, config: Config) -> Service:
    hash_on = HASHES.get(table.scheduler, WHOLE_FLOW)
    if table.hash is not None:
        hash_on = parse_hash(table.hash, vip)
    service = Service(
        vip=vip,
        backends=tuple([make_backend(each, vip) for each in table.backend]),
        hash_on=hash_on,
        pick_up=bool(table.pick_up),
        **{each.attribute: getattr(table, each.key) for each in _SERVICE},
    )
    if table.pick_up is None and picks_up(table.scheduler, vip):
        service = replace(service, pick_up=not moves_ports(service, config))
    return service


def make_backend(table: Any, vip: Vip) -> Backend:
    """A backend of the service with this VIP."""
    address, port = table.address
    return Backend(Endpoint(address, served_port(vip, port)), *_besides_address(table))


def services_of(raw: object, config: Config) -> tuple[tuple[Service, ...], list[Problem]]:
    """The services of one table, and what is wrong with them by themselves; paths begin with
    `service[0]`."""
    reading = Reading(replace(config, services=()))
    read_service(raw, 0, reading)
    if reading.members > MAX_MEMBERS:
        reading.problems.append(Problem(("service", 0), f"expected {MAX_MEMBERS} backends at most"))
    found = [
        problem
        for at, service in enumerate(reading.services)
        for problem in conflicts_of(service, reading.config, at)
    ]
    return tuple(reading.services), reading.told(found)


def backend_of(raw: object, service: Service) -> tuple[Backend | None, list[Problem]]:
    """A backend, and what is wrong with it in this service; paths begin with
    `service[0].backend[0]`."""
    problems: list[Problem] = []
    right = validated(BackendKeys, raw, ("service", 0, "backend", 0), problems)
    if right is None:
        return None, problems
    backend = make_backend(right.table, service.vip)
    alone = replace(service, backends=(backend,))
    about = (p for p in conflicts_of(alone, Config(()), 0) if p.path[2:3] == ("backend",))
    return backend, [*problems, *about]
