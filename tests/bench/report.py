"""What a run leaves: one table on standard output, one file of JSON."""

import json
from pathlib import Path
from typing import Final

from netns.table import Cell, Colour, header, line
from tests.bench.ledger import Ledger, Measure, Series
from tests.bench.machine import Machine
from tests.bench.target import TARGETS, Target

WIDTHS: Final = (24, -10, -21, -6, -17, -12)
MILLION: Final = 1_000_000


def number(value: float) -> str:
    """With as many digits as say something."""
    if abs(value) >= MILLION:
        return f"{value / MILLION:.2f} M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(series: Series) -> str:
    return f"{number(series.low)} .. {number(series.high)}"


def print_table(ledger: Ledger, machine: Machine) -> None:
    """Everything, measure by measure; a line more for each further target of a figure."""
    print(f"\n{machine}\n")
    for measure in ledger.measures.values():
        print(header([f"{measure.name}, {measure.unit}", *("",) * 5], WIDTHS))
        titles = ("", "median", "range", "ratio", "to", "target")
        print(header(titles, WIDTHS))
        for who in measure.values:
            for cells in rows(ledger, measure, who):
                print(line(cells, WIDTHS))
        print()
    for note in ledger.notes:
        print(f"  {note}")


def rows(ledger: Ledger, measure: Measure, who: str) -> list[list[Cell]]:
    """The lines of one figure: its values, and how it stands to others and to its targets."""
    series = measure.series(who)
    assert series is not None
    head = [Cell(who), Cell(number(series.median)), Cell(spread(series))]
    tails = [judgement(target, ledger) for target in targets(measure.name, who)]
    base = measure.series(measure.base)
    shown = {it.times or it.plus for it in targets(measure.name, who)}
    if base and measure.base not in {who, *shown}:
        tails.append([Cell(f"{series.over(base).median:.2f}"), Cell(measure.base), Cell("")])
    first, *others = tails or [[Cell("")] * 3]
    above = []
    if len(who) > WIDTHS[0]:  # a name that is too long for its column gets a line
        above = [[head[0], *[Cell("")] * 5]]
        head[0] = Cell("")
    return [*above, [*head, *first], *([*[Cell("")] * 3, *tail] for tail in others)]


def judgement(target: Target, ledger: Ledger) -> list[Cell]:
    """How a figure stands to a target: three columns."""
    found = target.judged(ledger)
    if found is None:
        return [Cell(""), Cell(target.times or target.plus), Cell("?")]
    bound = f"{'≥' if target.at_least else '≤'} {number(target.bound)}"
    verdict = Cell(
        f"{bound} {'✓' if target.met(found) else '✗'}",
        Colour.GOOD if target.met(found) else Colour.BAD,
    )
    if target.plus:
        return [Cell(f"+{number(found.median)}"), Cell(target.plus), verdict]
    return [Cell(f"{found.median:.2f}" if target.times else ""), Cell(target.times), verdict]


def targets(measure: str, who: str) -> list[Target]:
    return [target for target in TARGETS if (target.measure, target.who) == (measure, who)]


def write_json(ledger: Ledger, machine: Machine, file: Path) -> None:
    """All values of all rounds, the ratios, and the machine."""
    document = {
        "machine": machine.facts,
        "measures": [
            {"name": it.name, "unit": it.unit, "base": it.base, "values": it.values}
            for it in ledger.measures.values()
        ],
        "targets": [
            {
                "measure": target.measure,
                "who": target.who,
                "target": str(target),
                "found": found.values,
                "median": found.median,
                "met": target.met(found),
            }
            for target in TARGETS
            if (found := target.judged(ledger)) is not None
        ],
        "details": ledger.details,
        "notes": ledger.notes,
    }
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
