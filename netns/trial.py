"""A trial: its requests, their answers and a complaint; and the table of all trials."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from netns.table import Cell, Colour, header, line

ANSWER: Final = re.compile(r"^(\w+) \[?([\da-f.:]+?)\]?:\d+ -> ", re.MULTILINE)
"An answer of netns/server.py: its name, and the client's address as it sees it."

ASKED: Final = 61
"Columns for what was asked and the counts of all servers."
COUNT: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a server."""

    server: str
    client: str
    "The client's address, as the server saw it."


def parse(text: str) -> list[Answer]:
    """The answers in what curl printed."""
    return [Answer(*match) for match in ANSWER.findall(text)]


@dataclass(frozen=True, slots=True)
class Trial:
    """One line of the demonstration."""

    scheduler: str
    what: str
    answers: list[Answer] = field(default_factory=list)
    complaint: str = ""
    "What is wrong; empty if nothing is."
    passed: Mapping[str, int] = field(default_factory=dict)
    "How many connections went through each machine, where these are not the servers."

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.passed) or Counter(answer.server for answer in self.answers)

    @property
    def clients_seen(self) -> list[str]:
        return sorted({answer.client for answer in self.answers})


class Sheet:
    """The table that the trials make."""

    def __init__(self, counted: list[str]) -> None:
        self.counted = counted
        asked = ASKED - (COUNT + 1) * len(counted)
        self.widths = [10, asked, *[-COUNT for _ in counted], 2, 18, 4]

    def title(self) -> str:
        return header(["scheduler", "asked", *self.counted, "", "servers saw", ""], self.widths)

    def row(self, trial: Trial) -> str:
        counts = [str(trial.counts[name]) if trial.counts else "" for name in self.counted]
        seen = trial.clients_seen
        told = f"{seen[0]} …{last_part(seen[-1])}" if len(seen) > 1 else "".join(seen)
        cells = [Cell(text) for text in (trial.scheduler, trial.what, *counts, "", told)]
        verdict = Cell("FAIL", Colour.BAD) if trial.complaint else Cell("ok", Colour.GOOD)
        return line([*cells, verdict], self.widths)


def last_part(address: str) -> str:
    """The last part of an address: 36 of 10.0.1.36 and of fd01::36."""
    return re.split(r"[.:]", address)[-1]
