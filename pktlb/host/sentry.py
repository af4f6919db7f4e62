"""Keeps the guard in place: who flushes the ruleset must not hand our frames to the kernel."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pktlb.errors import KernelError
from pktlb.host import guard
from pktlb.host.changes import Changes

log: Final = logging.getLogger(__name__)

_REST: Final = 10
"Pause after a look at the ruleset, in terms of what the look took: others may be busy with it."


class Sentry:
    """The guard as it should be, and as it was when it was put in place."""

    def __init__(self, wanted: guard.Guard) -> None:
        self._wanted: Final = wanted
        self._listing: Sequence[str] = ()
        self._changed = asyncio.Event()

    def put(self) -> None:
        """Put the guard in place."""
        guard.apply(self._wanted)
        self._listing = guard.listing()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Be told of changes of the ruleset."""
        with Changes.of_rules().told_to(self._changed):
            yield

    async def watch(self) -> None:
        """Put the guard back whenever it is not as it was; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            begin = loop.time()
            try:
                if guard.listing() != self._listing:
                    log.warning("the nftables table netdev pktlb was changed; putting it back")
                    self.put()
            except KernelError as error:
                log.error("the guard is not in place: %s", error)
            await asyncio.sleep(_REST * (loop.time() - begin))
