"""In which line of a TOML text each setting stands, which tomllib does not tell.

Only texts that tomllib has read come here, so what stands where a value must be is one, and nothing
is checked again. A text is walked once, when the first line is asked for.
"""

import re
import tomllib
from contextlib import suppress
from typing import Final

from pktlb.config.problem import Path

_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"""[ \t]*(?:([\w-]+)|("(?:[^"\\\n]|\\.)*"|'[^'\n]*'))[ \t]*(\.?)""", re.A)
_TEXT: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|'
    r"'''(?:[^']|'{1,2}(?!'))*'{3,5}|"
    r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'""",
    re.S,
)
_PLAIN: Final = re.compile(r"[^\],}#\n]*")


class Lines:
    """The lines of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[Path, int] | None = None
        self._at = 0
        self._counted = 0
        self._line = 1
        self._items: dict[Path, int] = {}
        "How many tables an array of tables has so far."

    def of(self, path: Path) -> int:
        """The line of a path, or of the innermost table that it would be in; 1 if there is none."""
        if self._found is None:
            self._found = {}
            with suppress(RecursionError):  # what was found until then has to do
                self._walk()
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 1)

    def _walk(self) -> None:
        table: Path = ()
        while (self._skip()) < len(self._text):
            heads = 2 if self._text.startswith("[[", self._at) else int(self._here() == "[")
            if not heads:
                self._pair(table)
                continue
            line = self._now()
            self._at += heads
            table = self._table(self._keys(), is_item=heads == 2, line=line)
            self._at = self._text.index("]", self._at) + heads

    def _here(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self) -> int:
        space = _SPACE.match(self._text, self._at)
        assert space, "it may be empty"
        self._at = space.end()
        return self._at

    def _now(self) -> int:
        """The line of the place that is reached."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path: Path, line: int) -> None:
        assert self._found is not None
        self._found.setdefault(path, line)

    def _keys(self) -> list[str]:
        """The parts of a key."""
        parts = []
        dot = "."
        while dot:
            key = _KEY.match(self._text, self._at)
            if not key:
                break
            bare, quoted, dot = key.groups()
            parts.append(bare or next(iter(tomllib.loads(f"{quoted}=0"))))
            self._at = key.end()
        return parts

    def _table(self, parts: list[str], is_item: bool, line: int) -> Path:
        """The path of a table by its head: of arrays, the item that is the last as yet."""
        path: Path = ()
        for step, part in enumerate(parts):
            path = (*path, part)
            self._note(path, line)
            if is_item and step == len(parts) - 1:
                self._items[path] = self._items.get(path, -1) + 1
            if path in self._items:
                path = (*path, self._items[path])
        self._note(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._now()
        start = self._at
        for part in self._keys():
            table = (*table, part)
            self._note(table, line)
        self._at = self._text.index("=", self._at) + 1
        assert self._at > start
        while self._here() in (" ", "\t"):
            self._at += 1
        self._value(table)

    def _value(self, path: Path) -> None:
        start = self._here()
        if start == "[":
            self._list(path)
        elif start == "{":
            self._inline(path)
        elif text := _TEXT.match(self._text, self._at):
            self._at = text.end()
        elif plain := _PLAIN.match(self._text, self._at):
            self._at = plain.end()

    def _list(self, path: Path) -> None:
        place = 0
        self._at += 1
        self._skip()
        while self._here() not in ("]", ""):
            self._note((*path, place), self._now())
            self._value((*path, place))
            place += 1
            self._skip()
            if self._here() == ",":
                self._at += 1
                self._skip()
        self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        self._skip()
        while self._here() not in ("}", ""):
            self._pair(path)
            self._skip()
            if self._here() == ",":
                self._at += 1
                self._skip()
        self._at += 1
