"""`pktlb ipvsadm`: hands the words over as they are, for they are not argparse's."""

import argparse
import sys
from io import StringIO
from typing import TYPE_CHECKING

from pktlb.cli.arguments import Parser
from pktlb.cli.display import emit
from pktlb.compat.ipvsadm.usage import USAGE
from pktlb.control.place import DEFAULT_NAME, socket_path

if TYPE_CHECKING:
    from pktlb.compat.ipvsadm.api import Api


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "ipvsadm",
        help="ipvsadm's command lines and listings",
        description="Take ipvsadm's command lines, and print its listings, for a running pktlb, so "
        "that scripts and monitoring made for IPVS go on working. A link named `ipvsadm` to pktlb "
        "is the same, `ipvsadm-save` and `ipvsadm-restore` are -S and -R of it. "
        "docs/migrating.md says what differs; `pktlb ipvsadm --help` lists the commands.",
        prefix_chars="\0",  # no word is an option of this parser
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="...", help="as to ipvsadm, such as -L -n"
    )
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> None:
    """Ends with ipvsadm's exit status."""
    words, name = options.words, DEFAULT_NAME
    if words in (["-h"], ["--help"]):
        return emit(USAGE.rstrip())
    from pktlb.compat.ipvsadm import program  # noqa: PLC0415 - it takes time to load

    if words[:1] == ["--name"] and len(words) > 1:
        words, name = words[2:], words[1]

    def connect() -> "Api":
        from pktlb.control.client import Client  # noqa: PLC0415 - not needed for --help

        return Client(socket_path(name))

    out = StringIO()
    status = program.run(words, program.Surroundings(connect, sys.stdin, out, sys.stderr))
    if text := out.getvalue():
        emit(text.removesuffix("\n"))
    raise SystemExit(status)
