"""The draft that an import makes, and notes on what it could not carry over."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pktlb.errors import FileError


class Place(NamedTuple):
    """A line of a file, from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class InputError(FileError):
    """The input cannot be read as what it is taken for."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__([f"{place}: {text}"])


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that was not carried over, or was changed."""

    place: Place
    text: str
    lost: tuple[str, ...] = ()
    "The lines of the input, to be kept as a comment."


@dataclass(slots=True)
class ServiceDraft:
    """A service that is not checked yet."""

    place: Place
    keys: dict[str, Any]
    "The keys of the configuration file, without the backends."
    backends: list[tuple[Place, dict[str, Any]]] = field(default_factory=list)
    by_weight: bool = True
    "Whether its scheduler used weights before the import."


@dataclass(slots=True)
class Draft:
    """A configuration that is not checked yet."""

    services: list[ServiceDraft] = field(default_factory=list)
    timeouts: dict[str, int] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, place: Place, text: str, lost: tuple[str, ...] = ()) -> None:
        self.notes.append(Note(place, text, lost))
