"""The tables of all options in docs/configuration.md. `make docs` writes them anew.

python -m deb.options PAGE
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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
_PLACE: Final = re.compile(r"(<!-- options of (\S+) -->\n).*?(<!-- end -->\n)", re.S)


def written(page: str) -> str:
    """A page with the parts between `<!-- options of HEAD -->` and `<!-- end -->` as they are to
    be."""
    return _PLACE.sub(lambda found: "".join((found[1], *_lines(found[2]), found[3])), page)


def _lines(head: str) -> Iterator[str]:
    return (f"{row}\n" for row in rows(head))


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


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
