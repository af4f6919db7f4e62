"""Commands that change something, as requests to the balancer.

IPVS has a forwarding method for each server, and none for a service. So each service is of mode
nat here, and each backend has a mode of its own. As in ipvsadm, -E and -e set everything: what
they do not name gets its default.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pktlb.compat.ipvsadm import words
from pktlb.compat.ipvsadm.address import ServerAddress, ServiceAddress
from pktlb.compat.ipvsadm.api import Api
from pktlb.compat.ipvsadm.syntax import Command
from pktlb.compat.ipvsadm.table import Virtual, find, read_table
from pktlb.errors import ConfigError, PktlbError
from pktlb.model import Endpoint

MAX_WEIGHT: Final = 65535
_SERVICE_RESET: Final[words.Keys] = dict.fromkeys(
    ("hash", "one_packet", "persist", "persist_prefix4", "persist_prefix6")
)
"Keys that -E sets to their defaults, as it gives no value."
_BACKEND_RESET: Final[words.Keys] = dict.fromkeys(
    ("drain", "max_connections", "resume_connections")
)
"Keys that -e sets to their defaults, as it gives no value."
_ABOUT_WHAT_IS_THERE: Final = (404, 409)
"Statuses of HTTP: there is no such service or backend, or there is one already."
_TUNNEL_OPTIONS: Final = ("tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum")


class RefusedError(PktlbError):
    """A refusal in the words of IPVS, which scripts look for."""


def service_keys(command: Command) -> words.Keys:
    """The service of -A and -E, in the keys of the configuration file. Raises `ConfigError`;
    `UnsupportedError` if pktlb has nothing like it."""
    service = _service(command)
    options = command.options
    flags = tuple(filter(None, options.get("b", "").split(",")))
    keys = words.scheduler_keys(options.get("s", words.DEFAULT_SCHEDULER), flags)
    if "pe" in options:
        raise words.UnsupportedError(
            f"--pe {options['pe']}: pktlb has no persistence engines; use -p"
        )
    if "o" in options:
        if service.proto != "udp":
            raise ConfigError("-o: expected a service of UDP (-u)")
        keys["one_packet"] = True
    if "p" in options:
        timed = command if options["p"] else Command("A")
        seconds = timed.number("p", words.DEFAULT_PERSIST_S, 1, words.MAX_SECONDS)
        keys |= words.persist_keys(seconds, options.get("M"), service.is_ipv6)
    return {"vip": service.vip, "mode": "nat", **keys}


def backend_keys(command: Command) -> words.Keys:
    """The server of -a and -e, in the keys of the configuration file. Raises as `service_keys`."""
    service, server = _service(command), _server(command)
    options = command.options
    given = [option for option in "gim" if option in options]
    mode = words.METHODS[given[0] if given else "g"]
    for option in _TUNNEL_OPTIONS:
        if option in options and options[option] != "ipip":
            raise words.UnsupportedError(f"--{option}: pktlb's tunnels are IP-in-IP, nothing else")
    upper = command.number("x", 0, 0, words.MAX_THRESHOLD)
    lower = command.number("y", 0, 0, words.MAX_THRESHOLD)
    if upper and lower > upper:
        raise ConfigError(f"-y {lower}: expected no more than -x {upper}")
    keys: words.Keys = {"address": backend_address(service, server, mode), "mode": mode}
    keys["weight"] = command.number("w", 1, 0, MAX_WEIGHT)
    if upper:
        keys["max_connections"] = upper
    if upper and lower:
        keys["resume_connections"] = lower
    return keys


def backend_address(service: ServiceAddress, server: ServerAddress, mode: str) -> str:
    """The address of a backend. Only mode nat rewrites ports: in other modes the port is that of
    the service, as in IPVS, and that of -r does not count."""
    port = server.port if mode == "nat" else service.port
    return str(Endpoint(server.address, port))


def perform(command: Command, api: Api) -> None:
    """Carry out a command of `CHANGES`. Raises `PktlbError`."""
    _PERFORM[command.verb](command, api)


def _add_service(command: Command, api: Api) -> None:
    _change(command, api, "POST", ("services",), service_keys(command))


def _edit_service(command: Command, api: Api) -> None:
    keys = {**_SERVICE_RESET, **service_keys(command)}
    path = ("services", keys.pop("vip"))
    keys.pop("mode")
    _change(command, api, "PATCH", path, keys)


def _delete_service(command: Command, api: Api) -> None:
    _change(command, api, "DELETE", ("services", _service(command).vip))


def _clear(_: Command, api: Api) -> None:
    for virtual in read_table(api):
        api.ask("DELETE", ("services", virtual.vip))


def _add_server(command: Command, api: Api) -> None:
    path = ("services", _service(command).vip, "backends")
    _change(command, api, "POST", path, backend_keys(command))


def _edit_server(command: Command, api: Api) -> None:
    keys = {**_BACKEND_RESET, **backend_keys(command)}
    path = ("services", _service(command).vip, "backends", keys.pop("address"))
    _change(command, api, "PATCH", path, keys)


def _delete_server(command: Command, api: Api) -> None:
    """-d does not tell the mode: if no backend has the port of -r, it is the service's."""
    service, server = _service(command), _server(command)
    address = str(Endpoint(*server))
    plain = backend_address(service, server, "dsr")
    if address != plain and address not in _servers(service, read_table(api)):
        address = plain
    _change(command, api, "DELETE", ("services", service.vip, "backends", address))


def _change(
    command: Command, api: Api, method: str, path: tuple[str, ...], keys: words.Keys | None = None
) -> None:  # fmt: skip
    """Send a request. If it is refused because something is there already, or is missing, raise
    `RefusedError` in the words of IPVS."""
    try:
        api.ask(method, path, body=keys)
    except PktlbError as error:
        if getattr(error, "status", None) not in _ABOUT_WHAT_IS_THERE:
            raise
        sentence = _sentence(command, read_table(api))
        if sentence is None:
            raise
        raise RefusedError(sentence) from error


def _sentence(command: Command, table: list[Virtual]) -> str | None:
    service = _service(command)
    known = any(virtual.vip == service.vip for virtual in table)
    if command.server is None:
        if command.verb == "A":
            return "Service already exists" if known else None
        return None if known else "No such service"
    if not known:
        return "Service not defined"
    mode = "nat" if "m" in command.options or command.verb == "d" else "dsr"
    is_there = backend_address(service, command.server, mode) in _servers(service, table)
    if command.verb == "a":
        return "Destination already exists" if is_there else None
    return None if is_there else "No such destination"


def _servers(service: ServiceAddress, table: list[Virtual]) -> set[str]:
    """The addresses of a service's backends."""
    return {real.address for virtual in find(table, service) for real in virtual.reals}


def _zero(command: Command, api: Api) -> None:
    if command.service is not None:
        raise ConfigError("-Z: pktlb sets all counters to zero together: give -Z alone")
    api.ask("POST", ("zero",))


def _set(command: Command, api: Api) -> None:
    """--set: a timeout of 0 stays as it is."""
    changed: dict[str, float] = {}
    for name, text in zip(("tcp", "fin", "udp"), command.values, strict=True):
        if not (text.isascii() and text.isdigit() and int(text[:9]) <= words.MAX_SECONDS):
            most = words.MAX_SECONDS
            raise ConfigError(f"--set {text}: expected a number of seconds in 0..{most}")
        if int(text):
            changed[name] = float(text)
    from pktlb.config.file import read, write  # noqa: PLC0415 - pydantic, for this one

    config = read(api.ask("GET", ("config",)), "running")
    timeouts = replace(config.timeouts, **changed)
    if timeouts != config.timeouts:
        api.ask("PUT", ("config",), body=write(replace(config, timeouts=timeouts)))


def _sync(command: Command, _: Api) -> None:
    raise words.UnsupportedError(
        f"--{command.verb}: pktlb does not synchronise connections between machines; schedulers "
        "that hash (sh, mh) choose the same servers on all of them"
    )


_PERFORM: Final[dict[str, Callable[[Command, Api], None]]] = {
    "A": _add_service,
    "E": _edit_service,
    "D": _delete_service,
    "C": _clear,
    "a": _add_server,
    "e": _edit_server,
    "d": _delete_server,
    "Z": _zero,
    "set": _set,
    "start-daemon": _sync,
    "stop-daemon": _sync,
}
CHANGES: Final = frozenset(_PERFORM)
"The commands that `perform` carries out."


def _service(command: Command) -> ServiceAddress:
    assert command.service is not None, "the syntax asks for it"
    return command.service


def _server(command: Command) -> ServerAddress:
    assert command.server is not None, "the syntax asks for it"
    return command.server
