"""`pktlb reload`: take over the file that the balancer was started with."""

import argparse

from pktlb.cli.arguments import Commands
from pktlb.cli.asking import adds_force, change, changes


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "reload",
        help="read the configuration file again",
        description="Read the configuration file again and take over what is different. A file "
        "with an error changes nothing.",
        allow_abbrev=False,
    )
    adds_force(parser)
    changes(parser, command)


def command(options: argparse.Namespace) -> None:
    change(options, "POST", "reload")
