"""Keeps the guard in place: after a flush of the ruleset, the kernel would take pktlb's frames."""

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
"Times the length of a look: the pause after it. Other programs may be changing the ruleset."
_FRAMES_FIRST_S: Final = 0.01
"Pause between two repairs."
_LOOK_ANYWAY_S: Final = 60.0
"Between two looks without a signal."


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
        """Put another guard in the place of this one. After a `KernelError` the table is as
        it was, and the old guard is still wanted."""
        if wanted == self._wanted:
            return
        try:
            nft.apply(wanted, self._wanted)
        except KernelError:
            nft.apply(wanted)  # another program may have changed the table
        self._wanted, self._listing = wanted, ()

    async def _is_in_place(self) -> bool:
        """Whether the table is as it was. The first look after a change of pktlb's own is what
        later looks are compared with, if it is whole. A thread looks: a long table takes long."""
        wanted, listing = None, self._listing
        while wanted is not self._wanted:  # else `want` has changed it during the look
            wanted = self._wanted
            listing = await asyncio.to_thread(nft.listing)
        if not self._listing and is_whole(self._wanted, listing):
            self._listing = listing
        return bool(self._listing) and listing == self._listing

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Look after the ruleset when it is changed, until the end of the `with` block."""
        with Signals.of_rules().told_to(self._changed):
            yield

    async def watch(self) -> None:
        """Put the guard back whenever it is not as it was. Ends when it is cancelled."""
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
