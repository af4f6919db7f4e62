"""`pktlb restart`: a new process goes on with the flows of the old one."""

import argparse
import time
from collections.abc import Iterator
from typing import Final

from pktlb.cli.arguments import Commands
from pktlb.cli.asking import View, ask, changes, describe, tell

_NEXT_S: Final = 60.0
_AGAIN_S: Final = 0.02


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "restart",
        help="hand over to a new process, without a lost connection",
        description="Start pktlb anew, also a newer version of it, which takes over the flows and "
        "goes on with them.",
        allow_abbrev=False,
    )
    changes(parser, command)


def _wait_for_next(options: argparse.Namespace, begin: float) -> None:
    """Wait until a process answers that has started since. In between, none may answer."""
    from pktlb.control.client import DaemonError  # noqa: PLC0415 - not for --help

    while True:
        try:
            if ask(options, "GET", "status")["uptime_s"] < time.monotonic() - begin:
                return
        except DaemonError:
            if time.monotonic() - begin > _NEXT_S:
                raise
        time.sleep(_AGAIN_S)


def command(options: argparse.Namespace) -> None:
    begin = time.monotonic()
    answer = ask(options, "POST", "restart", dry_run=options.dry_run or None)
    if not options.dry_run:
        _wait_for_next(options, begin)
    tell(options, answer, lambda: _lines(answer))


def _lines(answer: View) -> Iterator[str]:
    if answer["lines"] or answer.get("warnings"):
        yield from describe(answer)
    yield "would restart" if answer["dry_run"] else "restarted"
