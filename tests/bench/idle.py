"""CPU time of a balancer that has nothing to do."""

import time
from typing import Final

from tests.bench import contender, target
from tests.bench.stage import Receiving
from tests.bench.trial import Settings, turns

SETTLE_S: Final = 2.0
IDLE_S: Final = 10.0


def measure(settings: Settings) -> None:
    """All at once: who does nothing disturbs nobody."""
    contenders = [*contender.PROXIES, *contender.pktlbs(settings.engines, "tcp")]
    found = settings.ledger.measure(target.IDLE, "% of a core")
    with turns(contenders, Receiving.STEERED, lambda stage: None) as ready:
        time.sleep(SETTLE_S)
        before = [turn.cpu() for turn in ready]
        start = time.monotonic()
        time.sleep(IDLE_S)
        for turn, earlier in zip(ready, before, strict=True):
            found.add(turn.name, (turn.cpu() - earlier) / (time.monotonic() - start) * 100)
