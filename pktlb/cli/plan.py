"""`pktlb plan FILE`: what a configuration file would change."""

import argparse
import sys

from pktlb.cli.arguments import Commands
from pktlb.cli.asking import ask, asks, describe, tell
from pktlb.errors import ConfigError, FileError

_MAX_BYTES = 16 << 20


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "plan",
        help="say what a configuration file would change",
        description="Say what a configuration file would add, remove and change, and how many of "
        "the live flows would move or end. Changes nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="a configuration file; -: standard input")
    asks(parser, command)


def command(options: argparse.Namespace) -> None:
    text = _read(options.file)
    try:
        answer = ask(options, "POST", "plan", body=text)
    except ConfigError as error:
        # The balancer sees a text without a name.
        raise FileError(
            f"{options.file}{line[1:]}" if line.startswith("-:") else line for line in error.lines
        ) from error
    tell(options, answer, lambda: describe(answer))


def _read(path: str) -> str:
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                raw = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read: {why}") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: expected {_MAX_BYTES >> 20} MiB at most")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8") from error
