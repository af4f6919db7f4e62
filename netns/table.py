"""Tables for a terminal of 100 columns, in colour unless NO_COLOR is set."""

import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Colour(Enum):
    """Meanings of colours, and the escape sequences that switch them on."""

    PLAIN = ""
    TITLE = "\033[1m"
    GOOD = "\033[32m"
    BAD = "\033[1;31m"
    CHANGED = "\033[1;33m"
    FAINT = "\033[2m"


COLUMNS: Final = 100
CONTINUED: Final = " \\"
GLUE: Final = "\N{NO-BREAK SPACE}"
RESET: Final = "\033[0m"


@dataclass(frozen=True, slots=True)
class Cell:
    """A word in a table."""

    text: str
    colour: Colour = Colour.PLAIN


def paint(text: str, colour: Colour) -> str:
    """Colour a text, if standard output is a terminal and NO_COLOR is not set."""
    if colour is Colour.PLAIN or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"{colour.value}{text}{RESET}"


def line(cells: Sequence[Cell], widths: Sequence[int], indent: int = 2) -> str:
    """One line of a table; a negative width aligns to the right."""
    columns = [
        paint(f"{cell.text:<{width}}" if width > 0 else f"{cell.text:>{-width}}", cell.colour)
        for cell, width in zip(cells, widths, strict=True)
    ]
    return (" " * indent + " ".join(columns)).rstrip()


def header(titles: Sequence[str], widths: Sequence[int]) -> str:
    """The line above a table."""
    return line([Cell(title, Colour.FAINT) for title in titles], widths)


def command(argv: Sequence[str], indent: int) -> str:
    """A command over as many lines as it needs, such that a shell takes it when pasted.

    A flag stays on one line with its value.
    """
    margin = " " * indent
    glued = shlex.join(argv).replace(" ", GLUE).replace(f"{GLUE}--", " --")
    lines = textwrap.wrap(
        glued,
        COLUMNS - len(CONTINUED),
        initial_indent=margin,
        subsequent_indent=margin + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{CONTINUED}\n".join(lines).replace(GLUE, " ")
