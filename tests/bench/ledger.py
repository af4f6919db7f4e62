"""What was measured: figures with a value a round, and what is to be said beside them."""

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Series:
    """Values of the same thing, one a round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def over(self, other: "Series") -> "Series":
        """The ratios, round by round: what disturbs a round disturbs both."""
        return Series(tuple(a / b for a, b in zip(self.values, other.values, strict=False) if b))

    def minus(self, other: "Series") -> "Series":
        return Series(tuple(a - b for a, b in zip(self.values, other.values, strict=False)))


@dataclass(slots=True)
class Measure:
    """One table's worth: the same thing of all that were compared."""

    name: str
    unit: str
    base: str = ""
    "Whom the others are compared with; nobody where it makes no sense."
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, who: str, value: float) -> None:
        self.values.setdefault(who, []).append(value)

    def series(self, who: str) -> Series | None:
        found = self.values.get(who)
        return Series(tuple(found)) if found else None


@dataclass(slots=True)
class Ledger:
    """Everything that a run has found."""

    measures: dict[str, Measure] = field(default_factory=dict)
    details: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    "By measure and contender: sums over all rounds, such as what was lost and where."
    notes: list[str] = field(default_factory=list)
    "What a reader of the figures has to know."

    def measure(self, name: str, unit: str, base: str = "") -> Measure:
        return self.measures.setdefault(name, Measure(name, unit, base))

    def detail(self, measure: str, who: str, counts: dict[str, float]) -> None:
        sums = self.details.setdefault(measure, {}).setdefault(who, {})
        for key, value in counts.items():
            sums[key] = sums.get(key, 0) + value

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
