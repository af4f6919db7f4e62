"""What the log says of frames: at intervals what went wrong, at the end everything."""

import asyncio
import logging
from typing import Final

from pktlb.engine.engine import Engine
from pktlb.host.presence import notify

log: Final = logging.getLogger(__name__)

_REPORT_S: Final = 10.0


class Report:
    """Tells only what was not told before."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self._reported: dict[str, int] = {}

    def explain(self) -> None:
        """Log what happened to all frames so far."""
        log.info("%s", self._engine.summary())
        for sentence, count in self._engine.trouble().items():
            log.info("%d frames: %s", count, sentence)

    async def feed(self, interval_s: float) -> None:
        """Feed the watchdog of the service manager as long as the workers look for packets."""
        while True:
            await asyncio.sleep(interval_s)
            if self._engine.is_alive():
                notify("WATCHDOG=1")
            else:
                log.error("a worker looks for no packets any more")

    async def watch(self) -> None:
        """Log what went wrong since the last time; until cancelled."""
        while True:
            await asyncio.sleep(_REPORT_S)
            trouble = self._engine.trouble()
            for sentence, count in trouble.items():
                new = count - self._reported.get(sentence, 0)
                if new:
                    log.warning("%d frames: %s", new, sentence)
            self._reported = trouble
