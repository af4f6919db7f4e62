"""What the documentation has of the program itself, written anew: the tables of all keys in
docs/configuration.md, and the help of commands in README.md.

python -m deb.pages DIRECTORY
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pktlb.cli.main import make_parser
from pktlb.config.config import TIMEOUTS, Config
from pktlb.config.kinds import Group
from pktlb.config.option import Option, options
from pktlb.config.service import Backend, Service

TABLES: Final = {
    "[balancer]": options(Config),
    "[balancer.timeouts]": TIMEOUTS,
    "[[service]]": options(Service),
    "[[service.backend]]": options(Backend),
}
"Options by the head of their table."
PAGES: Final = ("README.md", "docs/configuration.md")
_PLACE: Final = re.compile(r"<!-- (options of|pktlb) (\S+)( --help)? -->\n.*?<!-- end -->\n", re.S)
_COLUMNS: Final = "80"


def written(page: str) -> str:
    """A page with the parts between `<!-- options of HEAD -->`, or `<!-- pktlb COMMAND --help -->`,
    and `<!-- end -->` as they have to be."""
    return _PLACE.sub(_part, page)


def _part(found: re.Match[str]) -> str:
    what, name, rest = found.groups("")
    made = "\n".join([*rows(name), ""]) if what == "options of" else f"```\n{help_of(name)}```\n"
    return f"<!-- {what} {name}{rest} -->\n{made}<!-- end -->\n"


def rows(head: str) -> Iterator[str]:
    """The lines of the table with this head."""
    yield "| key | takes | default | changed by | |"
    yield "|---|---|---|---|---|"
    for each in TABLES[head]:
        if isinstance(each.kind, Group):
            continue  # a table of its own
        by = "reload" if each.live else "restart"
        yield f"| `{each.key}` | {each.kind.takes()} | {_default(each)} | {by} | {each.meaning} |"


def _default(option: Option) -> str:
    if option.is_required:
        return "required"
    is_told = option.default in (None, "", ())
    return "" if is_told else json.dumps(option.kind.plain(option.default))


def help_of(command: str) -> str:
    """`pktlb COMMAND --help` as on a terminal of 80 columns."""
    os.environ["COLUMNS"] = _COLUMNS
    for action in make_parser([command])._actions:
        if isinstance(action, argparse._SubParsersAction):
            parser = action.choices[command]
            assert isinstance(parser, argparse.ArgumentParser)
            return parser.format_help()
    raise AssertionError("the parser has commands")


def main(directory: Path) -> None:
    """Write all pages of a source tree."""
    for name in PAGES:
        page = directory / name
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
