"""Measure pktlb and its peers on this machine: print a table, write JSON and a plot.

    python -m tests.bench [NAME ...] [--rounds N] [--seconds S]

Figures of one run belong together: contenders take turns, and ratios are of one round.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from netns.errors import LabError, RefusedError
from netns.lab import require_root
from tests.bench import (
    contender,
    core,
    engine,
    frames,
    idle,
    latency,
    many,
    memory,
    plot,
    report,
    requests,
    streams,
    workers,
)
from tests.bench.ledger import Ledger
from tests.bench.machine import Machine
from tests.bench.program import programs
from tests.bench.trial import Settings

RESULTS: Final = Path(__file__).parents[2] / "bench-results"
MEASURES: Final[dict[str, Callable[[Settings], None]]] = {
    "frames": frames.measure,
    "streams": streams.measure,
    "requests": requests.measure,
    "latency": latency.measure,
    "workers": workers.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "many": many.measure,
    "engine": engine.measure,
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"{', '.join(MEASURES)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=1.5, metavar="S", help="of load a turn (%(default)s)"
    )
    parser.add_argument(
        "--engine", choices=contender.ENGINES, action="append", help="(default: all there are)"
    )
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(MEASURES):
        parser.error(f"there is no measure {', '.join(sorted(unknown))}")
    return arguments


def check_machine() -> None:
    require_root()
    if not {core.BALANCER, core.LOAD} <= os.sched_getaffinity(0):
        raise RefusedError("the bench needs two cores: one for the balancer, one for the load")


def run(arguments: argparse.Namespace) -> int:
    check_machine()
    ledger, machine = Ledger(), Machine.here()
    os.sched_setaffinity(0, {core.LOAD})
    engines = contender.engines()
    for wanted in arguments.engine or contender.ENGINES:
        if wanted not in engines:
            ledger.note(f"{contender.ENGINES[wanted]}: not measured, this pktlb does not have it")
    failed = 0
    chosen = tuple(it for it in engines if it in (arguments.engine or engines))
    with programs() as folder:
        settings = Settings(arguments.rounds, arguments.seconds, chosen, folder, ledger)
        for name, measure in MEASURES.items():
            if not arguments.names or name in arguments.names:
                began = time.monotonic()
                print(f"{name} ...", end="", file=sys.stderr, flush=True)
                failed += attempt(name, measure, settings)
                print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    report.print_table(ledger, machine)
    keep(ledger, machine)
    return 1 if failed else 0


def attempt(name: str, measure: Callable[[Settings], None], settings: Settings) -> int:
    """Whether a measure failed: that is no reason to lose the others."""
    try:
        measure(settings)
    except LabError as error:
        settings.ledger.note(f"{name}: failed: {error}")
        return 1
    return 0


def keep(ledger: Ledger, machine: Machine) -> None:
    """Write what is to be looked at later."""
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / time.strftime("%Y%m%d-%H%M%S")
    report.write_json(ledger, machine, stem.with_suffix(".json"))
    plot.draw(ledger, machine, stem.with_suffix(".png"))
    print(f"\n  {stem}.json, .png")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        return run(arguments)
    except LabError as error:
        print(f"\nbench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
