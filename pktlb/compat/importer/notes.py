"""What an import could not carry over, each with its place and what to do instead."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pktlb.errors import FileError


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class InputError(FileError):
    """The input is not what it is taken for."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__([f"{place}: {text}"])


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is not in the result as it was."""

    place: Place
    text: str
    lost: tuple[str, ...] = ()
    "Its lines, to be kept as a comment."


@dataclass(slots=True)
class ServiceDraft:
    """A service to be."""

    place: Place
    keys: dict[str, Any]
    "As in the configuration file, without its backends."
    backends: list[tuple[Place, dict[str, Any]]] = field(default_factory=list)
    by_weight: bool = True
    "Whether the scheduler it had goes by weights."


@dataclass(slots=True)
class Draft:
    """A configuration to be."""

    services: list[ServiceDraft] = field(default_factory=list)
    timeouts: dict[str, int] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, place: Place, text: str, lost: tuple[str, ...] = ()) -> None:
        self.notes.append(Note(place, text, lost))
