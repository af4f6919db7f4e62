"""Events on their way to those who listen: nobody waits for a slow one.

Each listener has a queue of its own; what does not fit is dropped and counted, and the listener is
told how many it has missed.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from pktlb.control.operator import Event

QUEUE: Final = 256
"Events that wait for one listener."


class Events:
    """Where events are published, and from where they are fetched."""

    def __init__(self) -> None:
        self._listeners: Final[set[Listener]] = set()

    @property
    def count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def publish(self, kind: str, text: str, **fields: str | int) -> None:
        """Something has happened now."""
        event = Event(time.time(), kind, text, fields)
        for listener in self._listeners:
            listener.put(event)

    def subscribe(self) -> "Listener":
        """Everything published from this call on, until it is closed."""
        listener = Listener(self._listeners)
        self._listeners.add(listener)
        return listener


class Listener(AsyncIterator[Event]):
    """The queue of one listener."""

    def __init__(self, among: "set[Listener]") -> None:
        self._among: Final = among
        self._events: Final[deque[Event]] = deque()
        self._missed = 0
        self._filled: Final = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._events) < QUEUE:
            self._events.append(event)
        else:
            self._missed += 1
        self._filled.set()

    async def aclose(self) -> None:
        self._among.discard(self)

    async def __anext__(self) -> Event:
        while not self._events and not self._missed:
            self._filled.clear()
            await self._filled.wait()
        if self._events:
            return self._events.popleft()
        missed, self._missed = self._missed, 0
        text = f"{missed} events were dropped: they were not fetched in time"
        return Event(time.time(), "trouble", text, {"missed": missed})
