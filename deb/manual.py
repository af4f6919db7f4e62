"""The manual: pktlb(1) and a page for each command, from the parser itself.

python -m deb.manual DIRECTORY
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from argparse_manpage.manpage import Manpage

import pktlb
from pktlb.cli.main import make_parser

MANUAL: Final = "Packet load balancer"


def pages() -> Iterator[tuple[str, str]]:
    """The names and texts of all pages."""
    parser = make_parser()
    listed = _commands(parser)
    contents = argparse.ArgumentParser(
        prog=parser.prog, description=parser.description, usage="pktlb COMMAND ...",
        epilog="Each command has a page of its own: pktlb-COMMAND(1).",
    )  # fmt: skip
    contents.add_argument("--version", action="version", help="print the version and exit")
    group = contents.add_argument_group("commands")
    for name, (_, summary) in listed.items():
        group.add_argument(name, help=summary)
    yield "pktlb", _page(contents, "packet load balancer")
    for name, (command, summary) in listed.items():
        yield f"pktlb-{name}", _page(command, summary, f"pktlb-{name}")


def _commands(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Commands that the help lists, each with its parser and one line on it."""
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for entry in action._get_subactions():
                found[entry.dest] = action.choices[entry.dest], entry.help or ""
    return found


def _page(parser: argparse.ArgumentParser, summary: str, title: str = "") -> str:
    about = {
        "project_name": "pktlb",
        "version": pktlb.__version__,
        "manual_title": MANUAL,
        "description": summary.replace("%%", "%"),
    }
    page = Manpage(parser, about)
    page.prog = title or page.prog
    escaped = page.date.replace("-", r"\-")
    return str(page).replace(escaped, page.date, 1)  # in a date, mandoc wants plain ones


def main(directory: Path) -> None:
    """Write them all."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (directory / f"{name}.1").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
