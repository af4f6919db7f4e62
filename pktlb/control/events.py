"""Events on their way to listeners: pktlb waits for none of them.

Each listener has a queue of its own. An event that does not fit is dropped, and the listener is
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
    """All events of the balancer: they are published here, and listeners subscribe."""

    def __init__(self) -> None:
        self._listeners: Final[set[Listener]] = set()

    @property
    def count(self) -> int:
        """The number of listeners."""
        return len(self._listeners)

    def publish(self, kind: str, text: str, **fields: str | int) -> None:
        """Send an event of this moment to all listeners; see `Event` for the arguments."""
        event = Event(time.time(), kind, text, fields)
        for listener in self._listeners:
            listener.put(event)

    def subscribe(self) -> "Listener":
        """A listener for all events from this call on, until `aclose`."""
        listener = Listener(self._listeners)
        self._listeners.add(listener)
        return listener


class Listener(AsyncIterator[Event]):
    """The queue of one listener, and an iterator of its events."""

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
