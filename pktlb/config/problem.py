"""What is wrong with a setting, and where it stands.

A path is that of the configuration file, `("service", 0, "backend", 1, "weight")`, wherever the
setting came from; files name its line instead, and command lines its flag.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

Path = tuple[str | int, ...]

MAX_PROBLEMS: Final = 1000
"That are told with their lines; of more, only the number is told."
_LONGEST: Final = 64
"Characters of a value that are shown."
_BITS: Final = 256
"Of a number that is shown; Python refuses to print very long ones."


class Problem(NamedTuple):
    """What is wrong with the setting at a path."""

    path: Path
    what: str
    "A sentence without its end: what was expected, and what was there instead."


def dotted(path: Path) -> str:
    """`service[0].backend[1].weight`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _is_bare(part) else show(part))
    return text


def _is_bare(key: str) -> bool:
    return len(key) <= _LONGEST and key.isascii() and key.replace("-", "_").isidentifier()


def show(value: object) -> str:
    """A value as an error quotes it: on one line, of bounded length."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    text = value if isinstance(value, str) else str(value)
    dots = "..." if len(text) > _LONGEST else ""
    return (repr(text[:_LONGEST]) if isinstance(value, str) else text[:_LONGEST]) + dots


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint to append, if a known word is close to this one."""
    if not isinstance(word, str) or len(word) > _LONGEST:
        return ""
    from difflib import get_close_matches  # noqa: PLC0415 - not for --help

    close = get_close_matches(word.lower(), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
