"""Commands that change something, as requests to the balancer.

A service of IPVS has no forwarding method, each of its servers has: here a service is of mode nat
and each backend brings its own. As with ipvsadm, -E and -e set all there is to set: what they do
not name gets its default.
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
_BACKEND_RESET: Final[words.Keys] = dict.fromkeys(
    ("drain", "max_connections", "resume_connections")
)
"What -E and -e set to its default: keys without a value."
_ABOUT_WHAT_IS_THERE: Final = (404, 409)
"HTTP's statuses of what is missing, and of what is there already."
_TUNNEL_OPTIONS: Final = ("tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum")


class RefusedError(PktlbError):
    """IPVS's own sentence for what cannot be done, which scripts look for."""


def service_keys(command: Command) -> words.Keys:
    """The service of -A and -E, in the keys of the configuration file."""
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
    """The server of -a and -e, in the keys of the configuration file."""
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
    """Only nat rewrites ports; elsewhere IPVS takes the service's, whatever -r says."""
    port = server.port if mode == "nat" else service.port
    return str(Endpoint(server.address, port))


def perform(command: Command, api: Api) -> None:
    """One command that changes something."""
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
    """Without the mode: its port may be the service's, whatever -r says."""
    service, server = _service(command), _server(command)
    address = str(Endpoint(*server))
    plain = backend_address(service, server, "dsr")
    if address != plain and address not in _servers(service, read_table(api)):
        address = plain
    _change(command, api, "DELETE", ("services", service.vip, "backends", address))


def _change(
    command: Command, api: Api, method: str, path: tuple[str, ...], keys: words.Keys | None = None
) -> None:  # fmt: skip
    """If it is refused for what there is already, or is not there: in IPVS's words."""
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
    """The addresses of its servers."""
    return {real.address for virtual in find(table, service) for real in virtual.reals}


def _zero(command: Command, api: Api) -> None:
    if command.service is not None:
        raise ConfigError("-Z: pktlb sets all counters to zero together: give -Z alone")
    api.ask("POST", ("zero",))


def _set(command: Command, api: Api) -> None:
    """0 leaves a timeout as it is."""
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
"The commands that `perform` knows."


def _service(command: Command) -> ServiceAddress:
    assert command.service is not None, "the syntax asks for it"
    return command.service


def _server(command: Command) -> ServerAddress:
    assert command.server is not None, "the syntax asks for it"
    return command.server
