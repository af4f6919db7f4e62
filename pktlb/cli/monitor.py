"""`pktlb monitor`: events as they happen."""

import argparse
import json

from pktlb.cli.arguments import Commands
from pktlb.cli.asking import asks
from pktlb.cli.display import clean, emit
from pktlb.control.place import socket_path


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "monitor",
        help="show events as they happen",
        description="Show what happens: backends that come and go, changes, reloads and trouble, "
        "until Ctrl-C or the end of the balancer. With --json, one object a line.",
        allow_abbrev=False,
    )
    asks(parser, command)


def command(options: argparse.Namespace) -> None:
    import time  # noqa: PLC0415 - not for --help

    from pktlb.control.client import Client  # noqa: PLC0415

    for event in Client(socket_path(options.name)).follow("events"):
        if options.json:
            emit(json.dumps(event))
        else:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
            emit(f"{at}  {clean(event['kind']):8} {clean(event['text'])}")
