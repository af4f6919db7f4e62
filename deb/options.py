"""The tables of all options in docs/configuration.md. `make docs` writes them anew.

python -m deb.options PAGE
"""

import json
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from pktlb.config.config import Config
from pktlb.config.group import Group
from pktlb.config.option import Option, options
from pktlb.config.service import Backend, Service

_OUTER: Final = {
    "[balancer]": options(Config),
    "[[service]]": options(Service),
    "[[service.backend]]": options(Backend),
}
_INNER: Final = {
    head: {
        f"[{head.strip('[]')}.{each.key}]": tuple(
            replace(one, live=one.live and each.live) for one in each.kind.options
        )
        for each in of
        if isinstance(each.kind, Group)
    }
    for head, of in _OUTER.items()
}
"The tables inside each table."
TABLES: Final = _OUTER | {head: of for inner in _INNER.values() for head, of in inner.items()}
"Options by the head of their table."
_PLACE: Final = re.compile(r"(<!-- options of (\S+) -->\n).*?(<!-- end -->\n)", re.S)


def written(page: str) -> str:
    """A page with the parts between `<!-- options of HEAD -->` and `<!-- end -->` as they are to
    be. A table inside another one that has no such place stands behind that one."""
    placed = {found[2] for found in _PLACE.finditer(page)}
    return _PLACE.sub(lambda found: "".join((found[1], *_lines(found[2], placed), found[3])), page)


def _lines(head: str, placed: Collection[str]) -> Iterator[str]:
    yield from (f"{row}\n" for row in rows(head))
    for inner in _INNER.get(head, {}):
        if inner not in placed:
            yield f"\n`{inner}`:\n\n"
            yield from (f"{row}\n" for row in rows(inner))


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
    return "" if option.plain_default is None else json.dumps(option.plain_default)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
