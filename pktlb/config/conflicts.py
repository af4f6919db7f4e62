"""What only shows when all settings are seen together: which of them cannot be.

The paths are those of a file that has one table for each of `Config.services`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

from pktlb.config.bounds import MAX_BACKENDS, MAX_SERVICES, MAX_SNAT_ADDRESSES
from pktlb.config.config import Config
from pktlb.config.option import Option, options
from pktlb.config.problem import Path, Problem, dotted, show
from pktlb.config.service import Backend, Service
from pktlb.config.text import has_ports, parse_vip, picks_up
from pktlb.errors import ConfigError, FileError
from pktlb.model import Endpoint, Mode, Vip, format_address

_EVERY: Final = -1
"Stands for the protocols of a service that names none."
_BALANCER: Final = tuple(each for each in options(Config) if each.beside)
_SERVICE: Final = tuple(each for each in options(Service) if each.beside)
_BACKEND: Final = tuple(each for each in options(Backend) if each.beside)
_FAMILIES: Final = {4: "IPv4", 16: "IPv6"}


def check_together(config: Config, before: Config | None = None) -> Config:
    """The same configuration, or a `FileError` with all that contradicts itself. Of services that
    are those of `before`, only what is between services is looked at.

    A service that picks up connections unasked does not, where --snat may have given its clients
    other ports before.
    """
    settled = replace(config, services=tuple(_settled(s, config) for s in config.services))
    known = {id(service) for service in before.services} if before else set()
    problems = list(conflicts(settled, known))
    if problems:
        raise FileError(f"{label(settled, p.path)}: {p.what}" for p in problems)
    return settled


def _settled(service: Service, config: Config) -> Service:
    unasked = service.pick_up and picks_up(service.scheduler, service.vip)
    return replace(service, pick_up=False) if unasked and moves_ports(service, config) else service


def label(config: Config, path: Path) -> str:
    """How people call what is at a path: by the name of the service and the backend's address."""
    match path:
        case ("service", int(at), "backend", int(place), *rest):
            service = config.services[at]
            parts = [service.label, f"backend {service.backends[place].endpoint}", *rest]
        case ("service", int(at), *rest):
            parts = [config.services[at].label, *rest]
        case _:
            return dotted(path)
    return ": ".join(["service " + str(parts[0]), *map(str, parts[1:])])


def conflicts(config: Config, known: set[int] | frozenset[int] = frozenset()) -> Iterator[Problem]:
    """All of them; `known` are ids of services in which there are none."""
    if len(config.services) > MAX_SERVICES:
        yield Problem(
            ("service",), f"expected {MAX_SERVICES} services at most, got {len(config.services)}"
        )
        return
    for path, what in _beside(config, _BALANCER):
        yield Problem(("balancer", *path), what)
    yield from _snat(config)
    yield from _vips(config)
    yield from _addresses(config)
    for at, service in enumerate(config.services):
        if id(service) not in known:
            yield from conflicts_of(service, config, at)


def conflicts_of(service: Service, config: Config, at: int) -> Iterator[Problem]:
    """Those of one service, `at` this place, with itself and with what is the same for all."""
    for path, what in chain(_beside(service, _SERVICE), _of_backends(service)):
        yield Problem(("service", at, *path), what)
    if service.pick_up and moves_ports(service, config):
        what = "expected no snat, which may have given clients other ports before, got true"
        yield Problem(("service", at, "pick_up"), what)


def moves_ports(service: Service, config: Config) -> bool:
    """Whether a client's next connection may get another port than it had."""
    return bool(config.snat) and is_nat(service)


def is_nat(service: Service) -> bool:
    """Whether some of its backends are reached by NAT, or would be, if it had any."""
    modes = {service.mode_of(backend) for backend in service.backends}
    return Mode.NAT in (modes or {service.mode})


def _vips(config: Config) -> Iterator[Problem]:
    """No end is two services', where neither is the more specific one; nor is a name."""
    seen: dict[tuple[bytes, int, int, int], int] = {}
    for at, service in enumerate(config.services):
        vip, path = service.vip, ("service", at, "vip")
        for proto in vip.protos or (_EVERY,):
            first = seen.setdefault((*vip[:3], proto), at)
            if first != at:
                other = config.services[first].vip
                why = "given twice" if other == vip else f"takes the same packets as {other}"
                yield Problem(path, f"{why}, got {vip}")
                break
        if vip.any and not config.interfaces:
            yield Problem(path, "expected interfaces as well, whose frames are spread, got any")
    taken = {service.vip for service in config.services}
    for at, service in enumerate(config.services):
        if (meant := _as_vip(service.name)) != service.vip and meant in taken:
            what = "expected a name that is not another service's VIP, got "
            yield Problem(("service", at, "name"), what + show(service.name))


def _as_vip(name: str) -> Vip | None:
    """What commands would take a name for."""
    if "." not in name and ":" not in name and name != "any":
        return None
    try:
        return parse_vip(name)
    except ConfigError:
        return None


def _addresses(config: Config) -> Iterator[Problem]:
    """Backends are other machines."""
    taken = {service.vip.address for service in config.services}.union(config.snat)
    used = {backend.endpoint.address for s in config.services for backend in s.backends}
    if taken.isdisjoint(used):
        return
    for at, service in enumerate(config.services):
        for place, backend in enumerate(service.backends):
            address = backend.endpoint.address
            if address in taken:
                whose = "one of snat" if address in config.snat else "a VIP"
                what = f"expected an address that is not {whose}, got {format_address(address)}"
                yield Problem(("service", at, "backend", place, "address"), what)


def _snat(config: Config) -> Iterator[Problem]:
    """Replies to a client that keeps its address would not be looked for where clients do not."""
    if not config.snat:
        return
    families = {len(address) for address in config.snat}
    if len(config.snat) > MAX_SNAT_ADDRESSES:
        yield Problem(
            ("balancer", "snat"),
            f"expected {MAX_SNAT_ADDRESSES} addresses at most, got {len(config.snat)}",
        )
    if config.services and not any(map(is_nat, config.services)):
        yield Problem(
            ("balancer", "snat"),
            "expected a service of mode nat, for other modes keep the client's address, got none",
        )
    for service in config.services:
        size = len(service.vip.address)
        if size and size not in families and is_nat(service):
            what = f"expected an {_FAMILIES[size]} address as well, for the VIP {service}, got none"
            yield Problem(("balancer", "snat"), what)
            return


def _beside(owner: Config | Service | Backend, of: Iterable[Option]) -> list[Problem]:
    """What options expect beside them, and do not find; paths are relative to their owner."""
    found = []
    for each in of:
        if getattr(owner, each.attribute) == each.usual:
            continue
        for rule in each.beside:
            if not rule.holds(owner):
                got = getattr(owner, rule.got or each.attribute)
                found.append(Problem((each.key,), f"expected {rule.expected}, got {_plain(got)}"))
    return found


def _plain(value: object) -> str:
    return show(value) if isinstance(value, bool) else str(getattr(value, "value", value))


def _of_backends(service: Service) -> Iterator[Problem]:
    if len(service.backends) > MAX_BACKENDS:
        yield Problem(
            ("backend",), f"expected {MAX_BACKENDS} backends at most, got {len(service.backends)}"
        )
    seen: set[Endpoint] = set()
    names: set[str] = set()
    for place, backend in enumerate(service.backends):
        for key, what in _of_backend(service, backend):
            yield Problem(("backend", place, *key), what)
        if backend.endpoint in seen:
            what = "expected each backend once, the service has this one already"
            yield Problem(
                ("backend", place, "address"),
                f"{what}, got {format_address(backend.endpoint.address)}",
            )
        if backend.name and backend.name in names:
            what = "expected each name once, the service has this one already"
            yield Problem(("backend", place, "name"), f"{what}, got {show(backend.name)}")
        seen.add(backend.endpoint)
        names.add(backend.name)


def _of_backend(service: Service, backend: Backend) -> Iterator[Problem]:
    """What the VIP and the mode can do; paths are relative to it."""
    vip, mode, (address, port) = service.vip, service.mode_of(backend), backend.endpoint
    if port and not has_ports(vip):
        yield Problem(
            ("address",), f"expected no port, the VIP {vip} is not only TCP and UDP, got {port}"
        )
    elif mode is not Mode.NAT and port and not vip.low == port == vip.high:
        known = f"the port of the VIP, {vip.low}" if vip.low == vip.high else "no port"
        what = f"expected {known}: mode {mode.value} does not rewrite ports, got {port}"
        yield Problem(("address",), what)
    if mode is not Mode.TUNNEL and not vip.any and len(address) != len(vip.address):
        yield Problem(
            ("address",),
            f"expected an {_FAMILIES[len(vip.address)]} address, as the VIP's: mode {mode.value} "
            "does not change the family (mode tunnel wraps any in any), got "
            + format_address(address),
        )
    if vip.any and backend.mode not in (None, Mode.DSR):
        yield Problem(("mode",), f"expected dsr for the VIP any, got {mode.value}")
    yield from _beside(backend, _BACKEND)
    if 0 < (upper := backend.max_connections) < (lower := backend.resume_connections):
        what = f"expected max_connections, {upper}, at most, got {lower}"
        yield Problem(("resume_connections",), what)
