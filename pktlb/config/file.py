"""The configuration file, and the same tables as the objects of the API.

`read` and `write` are each other's inverse. What is wrong is a `FileError` with all of it, one line
each: of a file `FILE:LINE: path: what is wrong, got VALUE`, of an object the path and the rest.
pydantic takes its time to load, and is left alone until something is to be read.
"""

import codecs
import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterable
from typing import Any, Final

from pktlb.config.collector import uncollected
from pktlb.config.config import Config
from pktlb.config.lines import Lines
from pktlb.config.objects import (
    backend_object,
    backend_of,
    changed_backend,
    changed_service,
    service_object,
    service_of,
    told,
)
from pktlb.config.problem import MAX_PROBLEMS, Problem, show
from pktlb.config.toml import write
from pktlb.errors import ConfigError, FileError

__all__ = [
    "backend_object",
    "backend_of",
    "changed_backend",
    "changed_service",
    "load",
    "read",
    "service_object",
    "service_of",
    "write",
]

MAX_BYTES: Final = 16 << 20
_MOST_PARTS: Final = 64
_LONG_KEY: Final = re.compile(
    r"""(?<![\w.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"""
    f"{{{_MOST_PARTS}}}",
    re.A,
)
"For which tomllib needs the square of their length."
_LONG_NUMBER: Final = re.compile(rf"[0-9_]{{{sys.int_info.default_max_str_digits}}}")
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def load(path: str, again: bool = False) -> Config:
    """The configuration in a file; `-` is standard input. One that is to be read `again` is no
    pipe: a pipe is written once, and to wait for more would hold up the whole balancer."""
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if again else 0)
        with open(os.dup(0) if path == "-" else os.open(path, flags), "rb") as file:
            if again and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: expected a regular file, to read it again")
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ConfigError(f"{path}: cannot be read: {why}") from error
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return read(raw.decode(), path)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileError(
            [f"{path}:{line}: expected UTF-8, got the byte {raw[error.start]:#x}"]
        ) from None


def read(text: str, name: str) -> Config:
    """The configuration in the text of a file with this name."""
    with uncollected():
        from pktlb.config.document import understand  # noqa: PLC0415 - pydantic

        config, problems = understand(_tables(text, name))
    if problems:
        raise FileError(_located(problems, text, name))
    return config


def _tables(text: str, name: str) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise FileError([f"{name}:1: expected {MAX_BYTES >> 20} MiB at most"])
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise FileError([f"{name}:{line}: expected keys of fewer than {_MOST_PARTS} parts"])
    try:
        return tomllib.loads(text)
    except RecursionError:
        what, line = "expected lists and tables that are not nested so deep", 1
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        place = _PLACE.search(what)
        line = text.count("\n") + 1
        if place:
            what = what[: place.start()]
            line = int(place[1]) if place[1] else line
    except ValueError:  # of Python's integers
        what = f"a number of more than {sys.int_info.default_max_str_digits} digits"
        long = _LONG_NUMBER.search(text)
        line = text.count("\n", 0, long.start()) + 1 if long else 1
    raise FileError([f"{name}:{line}: not TOML: {_plain(what)}"])


def _plain(text: str) -> str:
    """On one line, of bounded length."""
    return show(text)[1:-1]


def _located(problems: Iterable[Problem], text: str, name: str) -> list[str]:
    """With the line of each, in the order of the file."""
    lines = Lines(text)
    found = sorted(((lines.of(p.path), p) for p in problems), key=lambda each: each[0])
    texts = [f"{name}:{line}: {told(problem)}" for line, problem in found[:MAX_PROBLEMS]]
    if len(found) > MAX_PROBLEMS:
        line = found[MAX_PROBLEMS][0]
        texts.append(f"{name}:{line}: {len(found) - MAX_PROBLEMS} more problems from here on")
    return texts
