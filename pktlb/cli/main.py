"""`pktlb COMMAND ...`: finds the command, and turns errors into one line and an exit status."""

import logging
import sys
from collections.abc import Sequence

import pktlb
from pktlb.cli import decap, run
from pktlb.cli.arguments import Parser
from pktlb.errors import KernelError, PktlbError


def make_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(prog="pktlb", description=pktlb.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"pktlb {pktlb.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run.add_command(commands)
    decap.add_command(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, or that of the error it ended with."""
    logging.basicConfig(format="pktlb: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        options = make_parser().parse_args(arguments)
        options.command(options)
    except PktlbError as error:
        return _complain(str(error), error.exit_status)
    except OSError as error:
        return _complain(f"the machine refused: {error}", KernelError.exit_status)
    return 0


def _complain(text: str, status: int) -> int:
    """One line, whatever was in the value of a flag."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    print(f"pktlb: {line}", file=sys.stderr)
    return status
