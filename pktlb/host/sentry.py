"""Keeps the guard in place: who flushes the ruleset must not hand our frames to the kernel."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pktlb.errors import KernelError
from pktlb.host import nft
from pktlb.host.guard import Guard, is_whole
from pktlb.host.signals import Signals

log: Final = logging.getLogger(__name__)

_REST: Final = 10
"Pause after a look that found nothing to do, in terms of what it took: others are busy there."
_FRAMES_FIRST_S: Final = 0.01
_LOOK_ANYWAY_S: Final = 60.0


class Sentry:
    """The guard as it should be, and as it looked when it was put in place."""

    def __init__(self, wanted: Guard) -> None:
        self._wanted = wanted
        self._listing: Sequence[str] = ()
        self._changed = asyncio.Event()
        self._changed.set()

    def put(self) -> None:
        """Put the guard in place."""
        nft.apply(self._wanted)
        self._listing = ()

    def want(self, wanted: Guard) -> None:
        """From now on, this one; `KernelError` where it is refused, and what was is still there."""
        if wanted == self._wanted:
            return
        try:
            nft.apply(wanted, self._wanted)
        except KernelError:
            nft.apply(wanted)  # somebody else may have changed what is there
        self._wanted, self._listing = wanted, ()

    async def _is_in_place(self) -> bool:
        """Whether it is as it was; the first look after a change of our own says how that is, if
        nobody was faster. A long table is long looked at, and nobody waits for it."""
        wanted, listing = None, self._listing
        while wanted is not self._wanted:  # else it was changed under our eyes
            wanted = self._wanted
            listing = await asyncio.to_thread(nft.listing)
        if not self._listing and is_whole(self._wanted, listing):
            self._listing = listing
        return bool(self._listing) and listing == self._listing

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Be told of changes of the ruleset."""
        with Signals.of_rules().told_to(self._changed):
            yield

    async def watch(self) -> None:
        """Put the guard back whenever it is not as it was; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_ANYWAY_S):
                    await self._changed.wait()
            self._changed.clear()
            begin = loop.time()
            try:
                while not await self._is_in_place():
                    log.warning("the nftables table netdev pktlb was changed; putting it back")
                    self.put()
                    await asyncio.sleep(_FRAMES_FIRST_S)
                    begin = loop.time()
            except KernelError as error:
                log.error("the guard is not in place: %s", error)
            await asyncio.sleep(_REST * (loop.time() - begin))
