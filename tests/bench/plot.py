"""One picture of all measures: bars of medians, the range on each, ratios written beside them."""

from pathlib import Path
from typing import Any, Final

from netns.errors import RefusedError
from tests.bench.ledger import Ledger, Measure
from tests.bench.machine import Machine
from tests.bench.report import number, targets
from tests.bench.target import TIMES

COLUMNS: Final = 2
WIDTH: Final = 15.0
BAR: Final = 0.34
FRAME: Final = 1.15
"Inches: the picture's width, a bar's height, and what stands around the bars of a measure."
OURS, OTHERS, SLOW, BOUND = "#1f6fb4", "#b8bec6", "#9cc3e4", "#c62828"


def draw(ledger: Ledger, machine: Machine, file: Path) -> None:
    """Write the picture."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  (it takes its time, and only the end needs it)
    except ImportError as error:
        raise RefusedError("no plot: the package matplotlib is missing (extra `bench`)") from error
    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    measures = [measure for measure in ledger.measures.values() if measure.values]
    if not measures:
        return
    rows = [measures[i : i + COLUMNS] for i in range(0, len(measures), COLUMNS)]
    heights = [max(len(it.values) for it in row) * BAR + FRAME for row in rows]
    figure, grid = pyplot.subplots(
        len(rows), COLUMNS, squeeze=False, figsize=(WIDTH, sum(heights) + 1),
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    for place, measure in zip(grid.flat, measures, strict=False):
        draw_measure(place, measure)
    for place in grid.flat[len(measures) :]:
        place.axis("off")
    facts = machine.facts
    figure.suptitle(
        f"pktlb {facts['pktlb']} on {facts['CPU']}, {facts['cores']} cores, "
        f"Linux {facts['kernel']}, {facts['date']}\nbars: medians; thin lines: lowest and highest "
        f"round; red: a target, given the figures of its peer"
    )
    figure.savefig(file, dpi=100)
    pyplot.close(figure)


def draw_measure(place: Any, measure: Measure) -> None:
    """A bar for each contender, the first one on top, and the bounds it should keep."""
    names = list(measure.values)
    found = [series for who in names if (series := measure.series(who))]
    medians = [series.median for series in found]
    errors = [[it.median - it.low for it in found], [it.high - it.median for it in found]]
    place.barh(names, medians, xerr=errors, color=[colour(measure, it) for it in names], capsize=3,
               error_kw={"ecolor": "#444444", "linewidth": 1})  # fmt: skip
    place.invert_yaxis()
    right = max(series.high for series in found) or 1
    marks = [bound for who in names for bound in bounds(measure, who)]
    place.set_xlim(0, max(right, *marks, 0) * 1.7)
    for i, (who, series) in enumerate(zip(names, found, strict=True)):
        at = max(series.high, *bounds(measure, who), 0)
        place.text(at + right * 0.02, i, label(measure, who), va="center", fontsize=9)
    place.set_title(f"{measure.name} ({measure.unit})", fontsize=11, loc="left", weight="bold")
    place.xaxis.set_major_formatter(lambda value, _: number(value) if value else "0")
    place.xaxis.get_major_locator().set_params(nbins=5)
    place.spines[["top", "right"]].set_visible(False)
    for i, who in enumerate(names):
        for bound in bounds(measure, who):
            place.plot([bound, bound], [i - 0.45, i + 0.45], color=BOUND, linewidth=2)


def bounds(measure: Measure, who: str) -> list[float]:
    """Where the targets of a figure lie; those in terms of a peer by the peer's median."""
    found = []
    for target in targets(measure.name, who):
        peer = measure.series(target.times or target.plus)
        if target.times and peer:
            found.append(peer.median * target.bound)
        elif target.plus and peer:
            found.append(peer.median + target.bound)
        elif not (target.times or target.plus):
            found.append(target.bound)
    return found


def label(measure: Measure, who: str) -> str:
    """The median, and its ratio to the one all are compared with."""
    series, base = measure.series(who), measure.series(measure.base)
    assert series is not None
    text = number(series.median)
    if base and who != measure.base and (ratios := series.over(base)).values:
        text += f"   {ratios.median:.2f} {TIMES} {measure.base}"
    return text


def colour(measure: Measure, who: str) -> str:
    if measure.name.startswith("engine alone") or who.startswith("pktlb native"):
        return OURS
    return SLOW if who.startswith("pktlb") else OTHERS
