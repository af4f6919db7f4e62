"""`pktlb snapshot`: the running configuration as a file."""

import argparse

from pktlb.cli.arguments import Commands
from pktlb.cli.asking import ask, asks, tell


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "snapshot",
        help="print the running configuration as a file",
        description="Print the configuration that is running, commands included, as a file for "
        "`pktlb run -c`. With --json, the text is the value of the key toml.",
        allow_abbrev=False,
    )
    asks(parser, command)


def command(options: argparse.Namespace) -> None:
    text = ask(options, "GET", "config")
    tell(options, {"version": 1, "toml": text}, lambda: [text.removesuffix("\n")])
