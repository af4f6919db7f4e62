"""The flags of `pktlb run` as the document that a file would be, and paths in it as flags.

Flags are the short way to the same tables, so that what is checked, and what is said of it, is the
same. What is about one service belongs to the --vip before it, so these flags come in the order in
which they stand; before the first --vip, they are of all services.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pktlb.config.problem import Path, Problem, show
from pktlb.errors import ConfigError

InOrder = Sequence[tuple[str, Any]]
"Names of flags and their values."

BALANCER: Final = {
    "name": "--name",
    "interfaces": "--interface",
    "vip_interface": "--vip-interface",
    "snat": "--snat",
    "max_flows": "--max-flows",
    "timeouts": "--timeout",
    "engine": "--engine",
    "workers": "--workers",
    "busy_poll_us": "--busy-poll",
    "realtime": "--realtime",
    "control": "--control",
    "control_group": "--control-group",
}
"The keys of `[balancer]`, and their flags."

SERVICE: Final = {
    "service_name": "name",
    "mode": "mode",
    "scheduler": "scheduler",
    "hash": "hash",
    "one_packet": "one_packet",
    "pick_up": "pick_up",
    "persist": "persist",
    "slow_start": "slow_start",
    "on_remove": "on_remove",
}
"Flags that belong to a --vip, and their keys in `[[service]]`."

OPTIONS: Final = {
    "weight": "weight",
    "name": "name",
    "mode": "mode",
    "max": "max_connections",
    "resume": "resume_connections",
}
"Options of a --backend with a value, and their keys in `[[service.backend]]`."
_WHOLE: Final = {"weight", "max", "resume"}


@dataclass(slots=True)
class _Service:
    """A --vip and what belongs to it, as it was said."""

    vip: str
    said: dict[str, Any]
    backends: list[str] = field(default_factory=list)


def whole(text: str | None) -> int | str | None:
    """A number, where a text is one; what is none is told as it was written."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else text


class Flags:
    """What was said on the command line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._services = _gathered(options.in_order or ())

    def document(self) -> dict[str, Any]:
        """As a file would say it."""
        return {"balancer": self._balancer(), "service": [_table(s) for s in self._services]}

    def _balancer(self) -> dict[str, Any]:
        given = vars(self._options)
        found = {key: given[key] for key in BALANCER if given[key] is not None}
        for key in ("max_flows", "workers", "busy_poll_us"):
            if key in found:
                found[key] = whole(found[key])
        if "timeouts" in found:
            found["timeouts"] = _timeouts(found["timeouts"])
        return found

    def tell(self, problem: Problem) -> str:
        """The flag, its value, and what is wrong."""
        flag, value = self._flag(problem.path)
        if value is None or isinstance(value, bool):
            return f"{flag}: {problem.what}"
        return f"{flag} {value}: {problem.what}"

    def _flag(self, path: Path) -> tuple[str, Any]:
        match path:
            case ("service", int(at), "backend", int(place), *_):
                return "--backend", self._services[at].backends[place]
            case ("service", int(at), str(key), *_) if key not in {"vip", "backend"}:
                name = key.removesuffix("_prefix4").removesuffix("_prefix6")
                flag = next(flag for flag, each in SERVICE.items() if each == name)
                return "--" + flag.replace("_", "-"), self._services[at].said.get(flag)
            case ("service", int(at), *_):
                return "--vip", self._services[at].vip
            case ("balancer", str(key), *rest):
                value = getattr(self._options, key)
                if isinstance(value, list):
                    value = value[rest[0]] if rest and isinstance(rest[0], int) else " ".join(value)
                return BALANCER[key], value
        return "--vip", None


def _gathered(in_order: InOrder) -> list[_Service]:
    """Each --vip with what is behind it. A --mode that is said once is that of all."""
    modes = [value for flag, value in in_order if flag == "mode"]
    default: dict[str, Any] = {"mode": modes[0]} if len(modes) == 1 else {}
    found: list[_Service] = []
    for flag, value in in_order:
        if flag == "vip":
            found.append(_Service(value, dict(default)))
        elif flag == "backend" and not found:
            raise ConfigError(f"--backend {value}: expected a --vip before it")
        elif flag == "backend":
            found[-1].backends.append(value)
        else:
            (found[-1].said if found else default)[flag] = value
    for service in found:
        if not service.backends:
            raise ConfigError(f"--vip {service.vip}: expected at least one --backend behind it")
    return found


def _table(service: _Service) -> dict[str, Any]:
    said = {SERVICE[flag]: value for flag, value in service.said.items()}
    if "persist" in said:
        said |= _persist(said["persist"], is_ipv6=service.vip.count(":") > 1)
    if "slow_start" in said:
        said["slow_start"] = whole(said["slow_start"])
    return {"vip": service.vip, **said, "backend": [_backend(text) for text in service.backends]}


def _persist(text: str, is_ipv6: bool) -> dict[str, Any]:
    """`SECONDS[/BITS[/BITS]]`: of an IPv4 address, of an IPv6 one; only one: of the VIP's."""
    seconds, *bits = text.split("/")
    keys = ["persist_prefix4", "persist_prefix6"]
    if len(bits) > len(keys):
        raise ConfigError(f"--persist {text}: expected SECONDS[/BITS[/BITS]]")
    if len(bits) == 1 and is_ipv6:
        keys = keys[1:]
    return {"persist": whole(seconds), **dict(zip(keys, map(whole, bits), strict=False))}


def _backend(text: str) -> dict[str, Any]:
    """`ADDR[:PORT]` and its options."""
    address, *options = text.split(",")
    found: dict[str, Any] = {"address": address}
    for option in options:
        name, equals, value = option.partition("=")
        if option == "drain":
            found["drain"] = True
        elif equals and name in OPTIONS:
            found[OPTIONS[name]] = whole(value) if name in _WHOLE else value
        else:
            known = ", ".join([*(f"{each}=..." for each in OPTIONS), "drain"])
            raise ConfigError(
                f"--backend {text}: expected the options {known}, got the option {show(option)}"
            )
    return found


def _timeouts(text: str) -> dict[str, Any]:
    """`NAME=SECONDS,...`."""
    found: dict[str, Any] = {}
    for item in text.split(","):
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--timeout {text}: expected NAME=SECONDS[,...], got {show(item)}")
        found[name] = whole(value)
    return found
