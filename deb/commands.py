"""docs/commands.md: what each command prints with --help. `make docs` writes it anew.

python -m deb.commands PAGE
"""

import argparse
import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Final

from pktlb.cli.main import main, make_parser

MARK: Final = "<!-- Everything below is written by `make docs`. -->\n"
"The page above this line is written by hand."


def page(old: str) -> str:
    """The page with the help of today, from the page as it is; as wide as COLUMNS says."""
    found = list(_commands(make_parser(), ()))
    listed = "".join(
        f"| [`{' '.join(words)}`](#{'-'.join(words)}) | {summary} |\n"
        for words, summary in found
        if len(words) == 2  # pktlb COMMAND
    )
    sections = "".join(
        f"\n{'#' * len(words)} {' '.join(words)}\n\n```\n{help_of(words[1:])}\n```\n"
        for words, _ in found
    )
    head, _, _ = old.partition(MARK)
    return f"{head}{MARK}\n| command | what it does |\n|---|---|\n{listed}{sections}"


def help_of(words: tuple[str, ...]) -> str:
    """What `pktlb WORDS --help` prints, without the blanks at its end."""
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        main([*words, "--help"])
    return out.getvalue().rstrip()


def _commands(
    parser: argparse.ArgumentParser, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The words of each command and action, `pktlb` included, and one line on it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for entry in action._get_subactions():
                words = (*(above or ("pktlb",)), entry.dest)
                yield words, (entry.help or "").replace("%%", "%")
                yield from _commands(action.choices[entry.dest], words)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
