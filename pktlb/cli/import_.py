"""`pktlb import`: from IPVS or keepalived to a configuration file."""

import argparse
import sys

from pktlb.cli.arguments import Parser
from pktlb.cli.display import clean, emit
from pktlb.errors import ConfigError

_KINDS = ("ipvsadm", "keepalived")


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "import",
        help="make a configuration file of ipvsadm's rules or a keepalived.conf",
        description="Make a configuration file, on standard output, of what `ipvsadm -S` prints "
        "or of a keepalived.conf. What cannot be carried over is named on standard error, each "
        "with its line and what to do instead, and kept as a comment.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE",
        help="what to read (default: -, standard input)",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="kind", choices=_KINDS,
        help="what it is (default: found out from its words)",
    )  # fmt: skip
    parser.add_argument(
        "--follow-includes", action="store_true",
        help="keepalived: read the files that it includes, too",
    )  # fmt: skip
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> None:
    """Print the file, and then what is missing in it."""
    from pktlb.compat.importer.program import convert  # noqa: PLC0415 - loads pydantic
    from pktlb.compat.importer.source import MAX_BYTES  # noqa: PLC0415

    try:
        if options.file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(options.file, "rb") as file:
                content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{options.file}: {error.strerror}") from error
    text, notes = convert(content, options.file, options.kind, options.follow_includes)
    emit(text.rstrip("\n"))
    for note in notes:
        print(clean(f"{note.place}: {note.text}"), file=sys.stderr)
