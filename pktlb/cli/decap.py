"""`pktlb decap`: flags to addresses."""

import argparse

from pktlb.cli import logs
from pktlb.cli.arguments import Parser, with_flag
from pktlb.config.collector import uncollected


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "decap",
        help="unwrap the packets of a tunnel on a backend",
        description="Unwrap the packets that a balancer in tunnel mode sends to this backend, and "
        "give them to the servers of this machine: IPv4 or IPv6 in either. Runs until SIGTERM or "
        "SIGINT, then undoes everything.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--vip", action="append", required=True, metavar="ADDR",
        help="address that the packets inside are for; it lives here, on a device of its own; "
        "may be repeated",
    )  # fmt: skip
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> None:
    """Check the flags, then work until told to stop."""
    from pktlb.config.text import parse_address  # noqa: PLC0415 - not for --help

    vips = {}
    for text in options.vip:
        with with_flag("--vip", text):
            vips[parse_address(text)] = text
    logs.to_stderr()
    with uncollected():
        from pktlb.daemon import decap  # noqa: PLC0415 - loads netlink, which bad flags do not need
        from pktlb.host.presence import run_until_stopped  # noqa: PLC0415 - asyncio

    run_until_stopped(decap.run(vips))
