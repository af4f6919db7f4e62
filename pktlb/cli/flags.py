"""The flags of `pktlb run` as the document that a file would be, and paths in it as flags.

Flags are the short way to the same tables, so that what is checked, and what is said of it, is the
same. What is about one service belongs to the --vip before it, so these flags come in the order in
which they stand; before the first --vip, they are of all services.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pktlb.cli.arguments import with_flag
from pktlb.cli.options import SERVICE, backend_keys, family, persisting, plain
from pktlb.config.config import Config
from pktlb.config.kinds import Many
from pktlb.config.option import options
from pktlb.config.problem import Path, Problem
from pktlb.errors import ConfigError

InOrder = Sequence[tuple[str, Any]]
"Names of flags and their values."

BALANCER: Final = {each.key: each for each in options(Config)}
_OF_SERVICE: Final = {each.dest: each for each in SERVICE.values()}
"Options that belong to a --vip, by argparse's name of their flag."


@dataclass(slots=True)
class _Service:
    """A --vip and what belongs to it, as it was said."""

    vip: str
    said: dict[str, Any]
    backends: list[str] = field(default_factory=list)


class Flags:
    """What was said on the command line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._services = _gathered(options.in_order or ())

    def document(self) -> dict[str, Any]:
        """As a file would say it."""
        return {"balancer": self._balancer(), "service": [_table(s) for s in self._services]}

    def _balancer(self) -> dict[str, Any]:
        found = {}
        for key, option in BALANCER.items():
            if (value := getattr(self._options, key)) is not None:
                with with_flag(option.flag, value):
                    found[key] = plain(option, value)
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
            case ("service", int(at), str(key), *rest) if key in SERVICE:
                said, option = self._services[at].said, SERVICE[key]
                if key.startswith("persist_") and option.dest not in said:
                    option = SERVICE["persist"]
                return option.flag, _told(said.get(option.dest), rest)
            case ("service", int(at), *_):
                return "--vip", self._services[at].vip
            case ("balancer", str(key), *rest):
                return BALANCER[key].flag, _told(getattr(self._options, key), rest)
        return "--vip", None


def _told(value: Any, rest: Sequence[str | int]) -> Any:
    """What a flag says at the `rest` of a path: an item of a list, or all of it."""
    if not isinstance(value, list):
        return value
    return value[rest[0]] if rest and isinstance(rest[0], int) else " ".join(value)


def _gathered(in_order: InOrder) -> list[_Service]:
    """Each --vip with what is behind it. A --mode that is said once is that of all. Items of a
    list behind a --vip stand in place of those before the first one."""
    modes = [value for flag, value in in_order if flag == "mode"]
    default: dict[str, Any] = {"mode": modes[0]} if len(modes) == 1 else {}
    found: list[_Service] = []
    for flag, value in in_order:
        if flag == "vip":
            found.append(_Service(value, {}))
        elif flag == "backend" and not found:
            raise ConfigError(f"--backend {value}: expected a --vip before it")
        elif flag == "backend":
            found[-1].backends.append(value)
        else:
            said = found[-1].said if found else default
            is_list = isinstance(_OF_SERVICE[flag].kind, Many)
            said[flag] = [*said.get(flag, ()), value] if is_list else value
    for service in found:
        service.said = default | service.said
        if not service.backends:
            raise ConfigError(f"--vip {service.vip}: expected at least one --backend behind it")
    return found


def _table(service: _Service) -> dict[str, Any]:
    said = {_OF_SERVICE[dest].key: value for dest, value in service.said.items()}
    keys = {}
    for key, value in said.items():
        with with_flag(SERVICE[key].flag, value):
            keys[key] = plain(SERVICE[key], value)
    if "persist" in said:
        keys = persisting(keys, {family(service.vip)})
    return {
        "vip": service.vip,
        **keys,
        "backend": [backend_keys(text) for text in service.backends],
    }
