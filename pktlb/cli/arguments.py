"""argparse as pktlb uses it: one line an error, exit status 2, no abbreviations."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeAlias

from pktlb.errors import ConfigError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_DIGITS: Final = 9


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are a `ConfigError` instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')} (see `{self.prog} --help`)")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """The command that knows them not complains, and its help is named."""
        options, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return options, rest


@contextmanager
def with_flag(name: str, value: object) -> Iterator[None]:
    """Puts a flag and its value in front of what is wrong with it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name} {value}: {error}") from error


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"Where commands are added."


def seconds(text: str) -> int:
    """A time: 300, 300s, 5m, 1h or 2d."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
        raise argparse.ArgumentTypeError(f"expected a time such as 300, 300s, 5m or 1h: {text!r}")
    return int(number) * _UNITS[unit]
