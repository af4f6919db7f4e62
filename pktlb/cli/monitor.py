"""`pktlb monitor`: events as they happen."""

import argparse
import json
from typing import Final

from pktlb.cli.arguments import Commands
from pktlb.cli.asking import View, asks
from pktlb.cli.display import clean, emit
from pktlb.control.place import socket_path

_RESTART: Final = "restart"


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "monitor",
        help="show events as they happen",
        description="Show what happens: backends that come and go, changes, reloads, restarts, "
        "conflicts about VIPs and trouble, until Ctrl-C or the end of the balancer. With --json, "
        "one object a line.",
        allow_abbrev=False,
    )
    asks(parser, command)


def command(options: argparse.Namespace) -> None:
    from pktlb.control.client import Client  # noqa: PLC0415 - not for --help

    client, kind = Client(socket_path(options.name)), _RESTART
    while kind == _RESTART:  # the next process has the same socket
        kind = ""
        for event in client.follow("events"):
            kind = event["kind"]
            _show(event, options.json)


def _show(event: View, as_json: bool) -> None:
    import time  # noqa: PLC0415

    if as_json:
        emit(json.dumps(event))
    else:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
        emit(f"{at}  {clean(event['kind']):8} {clean(event['text'])}")
