"""`pktlb COMMAND ...`: finds the command, and turns errors into one line and an exit status.

The module of a command has `add_command(commands)`. It adds the parser of the command, and sets the
function that does it as the default `command`. The function takes the parsed options, and returns
or raises a `PktlbError`. Only the module of the command that was named is imported, and it loads
nothing but argparse before its function is called: `pktlb COMMAND --help` has to be quick.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Final

import pktlb
from pktlb.cli.arguments import Parser
from pktlb.errors import FileError, KernelError, PktlbError

COMMANDS: Final = {
    "run": "run",
    "status": "status",
    "service": "service",
    "backend": "backend",
    "flow": "flow",
    "stats": "stats",
    "reload": "reload",
    "plan": "plan",
    "monitor": "monitor",
    "snapshot": "snapshot",
    "restart": "restart",
    "check": "check",
    "schema": "schema",
    "import": "import_",
    "ipvsadm": "ipvsadm",
    "decap": "decap",
    "install-unit": "install_unit",
    "completion": "completion",
}
"Commands in the order of the help, and their modules in this package."
_MOVERS: Final = ("run", "decap")
"Those that need more of the machine than files and a socket."


def make_parser(names: Iterable[str] = tuple(COMMANDS)) -> Parser:
    """The parser of these commands; of all, unless only one is going to be used."""
    parser = Parser(prog="pktlb", description=pktlb.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"pktlb {pktlb.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in names:
        import_module(f"pktlb.cli.{COMMANDS[name]}").add_command(commands)
    parser.set_defaults(make_parser=make_parser)  # a completion is of all commands
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, or that of the error it ended with."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    named = [given[0]] if given and given[0] in COMMANDS else COMMANDS
    try:
        options = make_parser(named).parse_args(given)
        options.command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except PktlbError as error:
        return _complain(error)
    except BrokenPipeError:  # the reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        kind = KernelError if given[0] in _MOVERS else PktlbError
        return _complain(kind(f"the machine refused: {error}"))
    return 0


def _complain(error: PktlbError) -> int:
    """One line each, whatever was in the value of a flag or in the name of a file."""
    for text in error.lines:
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        print(line if isinstance(error, FileError) else f"pktlb: {line}", file=sys.stderr)
    return error.exit_status
