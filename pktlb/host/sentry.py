"""Keeps the guard in place: after a flush of the ruleset, the kernel would take pktlb's frames.

The kept table holds them meanwhile, which no other program can flush. Two looks go on side by side.
A quick one follows each signal of the kernel: are the tables there, with all chains and rules? What
is lost is put back at once. A thorough one compares a listing of nft, set by set; it is slow, so it
rests in between.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pktlb.errors import KernelError
from pktlb.host import nft, ruleset
from pktlb.host.guard import KEPT, ORDINARY, Guard, Table, is_whole, size
from pktlb.host.signals import Signals

log: Final = logging.getLogger(__name__)

_REST: Final = 10
"Times the length of a look: the pause after it. Other programs may be changing the ruleset."
_FRAMES_FIRST_S: Final = 0.01
"Pause between two repairs while no kept table holds the frames."
_LOOK_ANYWAY_S: Final = 60.0
"Between two looks without a signal."
_AGAIN_S: Final = 0.1
"Pause after the first failure; it doubles with each further one."
_AGAIN_AT_MOST_S: Final = 10.0
"The longest pause after a failure, unless the kernel signals a change."
_TROUBLES: Final = (KernelError, OSError, MemoryError, RuntimeError)
"A RuntimeError says that there is no new thread."


class Sentry:
    """The guard as it should be, and as it looked when it was put in place."""

    def __init__(self, wanted: Guard) -> None:
        self._wanted = wanted
        self._size = size(wanted)
        self._tables: Final = nft.Tables()
        self._lock: Final = threading.Lock()
        "Held while the tables change: a thread repairs them."
        self._version = 0
        "Of the tables; it grows with each change of ours."
        self._is_over = False
        self._listing: Sequence[str] = ()
        self._is_harmed = False
        "The thorough look has found a difference."
        self._changed: Final = asyncio.Event()
        "A quick look is due."
        self._unsure: Final = asyncio.Event()
        "A thorough look is due."
        self._changed.set()

    def put(self) -> None:
        """Put the guard in place. Raises `KernelError`."""
        self._put(ORDINARY)
        try:
            self._put(KEPT)
        except KernelError as error:
            log.warning("%s is not in place yet: %s", KEPT.name, error)

    def want(self, wanted: Guard) -> None:
        """Put another guard in the place of this one. After a `KernelError` the table is as
        it was, and the old guard is still wanted."""
        if wanted == self._wanted:
            self._changed.set()  # an interface may be another one of the same name
            return
        with self._lock:
            if self._tables.change(self._wanted, wanted):
                self._size = size(wanted)
            self._wanted = wanted
            self._note_change()

    def close(self) -> None:
        """Take the kept table away, and put nothing in place any more."""
        with self._lock:
            self._is_over = True
            self._tables.close()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Look after the ruleset when it is changed, until the end of the `with` block."""
        with Signals.of_rules().told_to(self._changed):
            yield

    async def watch(self) -> None:
        """Put the guard back whenever it is not as it was. Ends when it is cancelled."""
        await asyncio.gather(
            _again_and_again(self._look, self._changed),
            _again_and_again(self._look_closely, self._unsure),
        )

    async def _look(self) -> None:
        """Put back what is lost."""
        begin = time.thread_time()
        lost = self._lost()
        rest = _REST * (time.thread_time() - begin)
        self._unsure.set()
        if lost:
            for table in lost:
                log.warning("the nftables table %s was changed; putting it back", table.name)
            begin = time.monotonic()
            await asyncio.to_thread(self._put, *lost)
            rest = _FRAMES_FIRST_S
            if KEPT in self._tables.wanted and KEPT not in lost:
                rest = max(rest, _REST * (time.monotonic() - begin))
        await asyncio.sleep(rest)

    def _lost(self) -> list[Table]:
        """The tables that are not in place."""
        wanted, ours = self._tables.wanted, set(self._tables.there)
        if self._is_harmed:
            ours.discard(ORDINARY)
        there = ruleset.sizes(*(table.name for table in wanted))
        return [
            table for table in wanted if table not in ours or there.get(table.name) != self._size
        ]

    def _put(self, *tables: Table) -> None:
        with self._lock:
            for table in () if self._is_over else tables:
                self._tables.put(self._wanted, table)
                self._note_change()

    def _note_change(self) -> None:
        self._version += 1
        self._listing, self._is_harmed = (), False

    async def _look_closely(self) -> None:
        """Compare the ordinary table with what it was. The first look after a change of ours is
        what later ones are compared with, if it is whole."""
        begin = time.monotonic()
        version, listing = -1, self._listing
        while version != self._version:  # else the table has changed during the look
            version = self._version
            listing = await asyncio.to_thread(nft.listing)
        if not self._listing and is_whole(self._wanted, listing):
            self._listing = listing
        if listing != self._listing or not listing:
            self._is_harmed = True
            self._changed.set()
        await asyncio.sleep(_REST * (time.monotonic() - begin))


async def _again_and_again(
    look: Callable[[], Coroutine[Any, Any, None]], due: asyncio.Event
) -> None:
    """Look whenever that is due, and sometimes without; after a failure soon, then later."""
    pause, told = 0.0, ""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause - _AGAIN_S if pause else _LOOK_ANYWAY_S):
                await due.wait()
        due.clear()
        try:
            await look()
        except _TROUBLES as error:
            said = str(error) or "no memory"
            if said != told:
                log.error("the guard may not be in place: %s; trying again", said)
            told, pause = said, min(2 * pause or _AGAIN_S, _AGAIN_AT_MOST_S)
            await asyncio.sleep(_AGAIN_S)
        else:
            if told:
                log.warning("the guard is looked after again")
            pause, told = 0.0, ""
