"""The lines of a keepalived.conf: without comments, with parameters and included files put in.

`$NAME=value` defines a parameter (over several lines if they end in a backslash), and `${NAME}` or
`$NAME` stands for it from there on. Lines for one configuration id (`@id ...`) are left out.
Secrets are hidden here, because no later step needs them.
"""

import os
import re
from collections.abc import Iterator
from glob import glob
from typing import Final, NamedTuple

from pktlb.compat.importer.mask import masked
from pktlb.compat.importer.notes import Draft, InputError, Place

MAX_BYTES: Final = 16 << 20
"Of the input, and of the lines with parameters put in."
MAX_LINES: Final = 1_000_000
_MAX_LINE: Final = 1 << 14
_MAX_REPLACEMENTS: Final = 100_000
"In all; a bound is needed because parameters may name each other, or themselves."
_MAX_FILES: Final = 256
_MAX_DEPTH: Final = 8

_DEFINITION: Final = re.compile(r"\s*\$([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_USE: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_INCLUDE: Final = re.compile(r"\s*include[a-z]?\s+(\S.*?)\s*$")


class Line(NamedTuple):
    """A line that is left after all of this."""

    place: Place
    text: str


def read_bounded(path: str) -> str:
    """The text of a file; bytes that are not UTF-8 are replaced. Raises `OSError`, `InputError`."""
    with open(path, "rb") as file:
        return decode(file.read(MAX_BYTES + 1), path)


def decode(content: bytes, name: str) -> str:
    """The text of bytes, without a byte order mark. Raises `InputError` if it is too large."""
    if len(content) > MAX_BYTES:
        raise InputError(Place(name, 1), f"expected {MAX_BYTES} bytes at most")
    return content.decode("utf-8-sig", "replace").replace("\r\n", "\n")


def without_comment(text: str) -> str:
    """The text before a `#` or `!` that is not inside quotes."""
    quoted = False
    for place, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char in "#!" and not quoted:
            return text[:place]
    return text


class Source:
    """The lines of a file and of the files that it includes."""

    def __init__(self, draft: Draft, follow: bool) -> None:
        self._draft, self._follow = draft, follow
        self._parameters: dict[str, str] = {}
        self.has_includes = False
        self._files = self._size = self._count = self._replaced = 0

    def lines(self, text: str, name: str, folder: str, depth: int = 0) -> Iterator[Line]:
        """The lines of a text; files that it includes are relative to its `folder`. Raises
        `InputError`."""
        for place, raw in _logical(text, name):
            if (definition := _DEFINITION.fullmatch(raw)) is not None:
                self._parameters[definition[1]] = definition[2].rstrip()
                continue
            if raw.startswith("@"):
                yield from self._line(place, raw, folder, depth)
                continue
            for each in self._put_in(place, raw).split("\n"):
                yield from self._line(place, each, folder, depth)

    def _line(self, place: Place, text: str, folder: str, depth: int) -> Iterator[Line]:
        self._size += len(text)
        self._count += 1
        if self._size > MAX_BYTES or self._count > MAX_LINES:
            raise InputError(place, f"expected {MAX_BYTES} bytes and {MAX_LINES} lines in all")
        if text.startswith("@"):
            whose = text.split(maxsplit=1)[0][1:]
            self._draft.note(
                place, f"only for configuration id {whose}: left out; add it where it is meant",
                (masked(text.strip()),),
            )  # fmt: skip
        elif (include := _INCLUDE.fullmatch(text)) is not None:
            yield from self._included(place, include[1].strip('"'), folder, depth)
        elif text.strip():
            yield Line(place, masked(text))

    def _put_in(self, place: Place, text: str) -> str:
        """The text with parameters put in, also in the values of parameters; unknown ones stay."""
        position = 0
        while (use := _USE.search(text, position)) is not None:
            name = use[1] or use[2]
            if name not in self._parameters:
                position = use.end()
                continue
            position = use.start()
            text = text[:position] + self._parameters[name] + text[use.end() :]
            self._replaced += 1
            if len(text) > _MAX_LINE or self._replaced > _MAX_REPLACEMENTS:
                raise InputError(place, f"${name}: becomes too long, or contains itself")
        return text

    def _included(self, place: Place, pattern: str, folder: str, depth: int) -> Iterator[Line]:
        self.has_includes = True
        if not self._follow:
            self._draft.note(
                place, f"include {pattern}: not read; give --follow-includes to read it too"
            )
            return
        if depth >= _MAX_DEPTH:
            raise InputError(place, f"expected files that include others {_MAX_DEPTH} deep at most")
        found = sorted(glob(os.path.join(folder, pattern)))
        if not found:
            self._draft.note(place, f"include {pattern}: no such file")
        for path in found:
            self._files += 1
            if self._files > _MAX_FILES:
                raise InputError(place, f"expected {_MAX_FILES} included files at most")
            try:
                text = read_bounded(path)
            except OSError as error:
                self._draft.note(place, f"include {path}: {error.strerror}")
                continue
            yield from self.lines(text, path, os.path.dirname(path), depth + 1)


def _logical(text: str, name: str) -> Iterator[tuple[Place, str]]:
    """The lines without comments; a definition over several lines is one line."""
    lines = iter(enumerate(text.split("\n"), 1))
    for number, raw in lines:
        line = without_comment(raw).rstrip()
        if line.endswith("\\") and _DEFINITION.match(line):
            parts = [line[:-1].rstrip()]
            for _, following in lines:
                more = without_comment(following).rstrip()
                parts.append(more.removesuffix("\\").rstrip())
                if not more.endswith("\\"):
                    break
            line = "\n".join(parts)
        yield Place(name, number), line
