"""Answers for people: tables that line up, numbers that can be read, states in colour."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

_RIGHT: Final = ">"
_COLOURS: Final = {
    "up": "32",
    "starting": "36",
    "drained": "33",
    "full": "33",
    "removed": "2",
    "unreachable": "31",
}
"By the state of a backend: SGR parameters."


def emit(text: str) -> None:
    """Print it; where the reader has gone, end quietly."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(_encodable(text) + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from error


def _encodable(text: str) -> str:
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def counted(number: int, what: str) -> str:
    """ "1 flow", "2 flows"."""
    return f"{number} {what}{'s' * (number != 1)}"


def clean(text: object) -> str:
    """On one line, without what a terminal would obey."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def is_coloured() -> bool:
    """On a terminal, unless it is not wanted (https://no-color.org)."""
    return (
        not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
        and sys.stdout is not None
        and sys.stdout.isatty()
    )


def coloured(state: str, text: str) -> str:
    """The text in the colour of a state."""
    code = _COLOURS.get(state)
    return f"\x1b[{code}m{text}\x1b[0m" if code and is_coloured() else text


def count(number: float) -> str:
    """A number with a suffix where it is long: 950, 61.0k, 8.1M."""
    for suffix in ("", "k", "M", "G", "T"):
        if abs(number) < 999.5:
            if suffix or isinstance(number, float):
                return f"{number:.1f}{suffix}" if abs(number) < 99.95 else f"{number:.0f}{suffix}"
            return f"{number}"
        number /= 1000
    return f"{number:.0f}P"


def size(number: float) -> str:
    """Bytes."""
    return count(number) + "B"


def span(seconds: float) -> str:
    """A time in its two largest units: 12s, 3m 5s, 2d 4h."""
    rest, parts = int(seconds), []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        whole, rest = divmod(rest, length)
        if whole:
            parts.append(f"{whole}{unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0s"


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], indent: str = "", state: int = -1
) -> list[str]:
    """Lines of a table. Columns whose head begins with `>` stand on the right; column `state` is
    coloured."""
    cells = [[clean(cell) for cell in row] for row in rows]
    names = [name.removeprefix(_RIGHT) for name in head]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]

    def line(row: Sequence[str], paint: bool) -> str:
        parts = [
            text.rjust(width) if name.startswith(_RIGHT) else text.ljust(width)
            for text, width, name in zip(row, widths, head, strict=True)
        ]
        if paint and state >= 0:
            parts[state] = coloured(row[state], parts[state])
        return (indent + "  ".join(parts)).rstrip()

    return [line(names, False), *(line(row, True) for row in cells)]
