"""One life after another until the time is over, or until the planes differ in one.

    python -m tests.differential --seconds 3600 --seed 1000000

Seeds count up from the first. `--seconds 0 --seed S` leads one life again.
"""

import argparse
import sys
from collections import Counter
from random import SystemRandom
from time import monotonic

from tests.differential.engines import ENGINES
from tests.differential.soak import STEPS, run
from tests.differential.twins import DifferenceError

REPORT_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    parser.add_argument("--steps", type=int, default=STEPS, help="of one life")
    arguments = parser.parse_args()
    return soak(arguments.seed, arguments.seconds, arguments.steps)


def soak(first: int, seconds: float, steps: int) -> int:
    """The exit status: 1 where the planes differ. At least one life is led."""
    counts: Counter[str] = Counter()
    start = reported = monotonic()
    seed = first
    while seed == first or monotonic() < start + seconds:
        try:
            counts.update(run(seed, ENGINES, steps))
        except DifferenceError as difference:
            print(difference)
            print(f"python -m tests.differential --seconds 0 --seed {seed} --steps {steps}")
            return 1
        seed += 1
        if monotonic() > reported + REPORT_S:
            reported = monotonic()
            report(first, seed, counts, reported - start)
    report(first, seed, counts, monotonic() - start)
    return 0


def report(first: int, end: int, counts: Counter[str], seconds: float) -> None:
    listed = " ".join(f"{name.lower()}={count}" for name, count in counts.most_common() if count)
    print(
        f"{seconds:.0f} s, seeds {first}..{end - 1}, {counts.total()} frames: {listed}", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
