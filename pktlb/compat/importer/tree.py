"""The statements and blocks of a keepalived.conf, without any meaning of their words."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pktlb.compat.importer.notes import InputError, Place
from pktlb.compat.importer.source import Line

MAX_DEPTH: Final = 16
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([{}])|((?:\$\{\w*\}|[^\s{}"])+)|(")')


@dataclass(slots=True)
class Statement:
    """The words of a line, and the block behind them."""

    place: Place
    words: list[str]
    body: "list[Statement] | None" = None
    "None: there is no block."
    quoted: set[int] = field(default_factory=set)
    "Places of words that stood in quotes."

    @property
    def keyword(self) -> str:
        return self.words[0]

    @property
    def statements(self) -> "list[Statement]":
        return self.body or []

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The statement with its block as lines of a file."""
        indent = "  " * depth
        words = " ".join(
            f'"{word}"' if place in self.quoted else word for place, word in enumerate(self.words)
        )
        if self.body is None:
            yield indent + words
            return
        yield f"{indent}{words} {{"
        for statement in self.body:
            yield from statement.lines(depth + 1)
        yield indent + "}"


def parse(lines: Iterable[Line]) -> list[Statement]:
    """The statements of a file. The brace of a block may stand on the line after its words. Raises
    `InputError`."""
    blocks = _Blocks()
    for place, text in lines:
        blocks.end_statement()
        for token in _TOKEN.finditer(text):
            quoted, brace, word, stray = token.groups()
            if stray:
                raise InputError(place, "expected a quote at the end of what one begins")
            if brace == "{":
                blocks.begin(place)
            elif brace:
                blocks.end(place)
            else:
                blocks.word(place, quoted if word is None else word, word is None)
    return blocks.finished()


class _Blocks:
    """The blocks that are open, and the statement that is being read."""

    def __init__(self) -> None:
        self._top: list[Statement] = []
        self._open: list[tuple[Statement, list[Statement]]] = []
        self._current: Statement | None = None

    @property
    def _body(self) -> list[Statement]:
        return self._open[-1][1] if self._open else self._top

    def end_statement(self) -> None:
        self._current = None

    def word(self, place: Place, text: str, is_quoted: bool) -> None:
        if self._current is None:
            self._current = Statement(place, [])
            self._body.append(self._current)
        if is_quoted:
            self._current.quoted.add(len(self._current.words))
        self._current.words.append(text)

    def begin(self, place: Place) -> None:
        """Begin the block of the words before it, on this line or on the one before."""
        owner = self._current
        if owner is None and self._body and self._body[-1].body is None:
            owner = self._body[-1]
        if owner is None:
            raise InputError(place, "'{' without a word before it")
        owner.body, self._current = [], None
        self._open.append((owner, owner.body))
        if len(self._open) > MAX_DEPTH:
            raise InputError(place, f"expected blocks {MAX_DEPTH} deep at most")

    def end(self, place: Place) -> None:
        if not self._open:
            raise InputError(place, "'}' without a block that it ends")
        self._open.pop()
        self._current = None

    def finished(self) -> list[Statement]:
        if self._open:
            owner, _ = self._open[-1]
            raise InputError(owner.place, f"{owner.keyword}: its block has no end")
        return self._top
