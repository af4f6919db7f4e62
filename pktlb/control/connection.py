"""Connections to the control socket: one request each, and a time for every step of it.

Whoever sends no request, sends it too slowly, sends more than one, or does not read the answer is
let go. When there are as many as there may be, the one that has kept us waiting longest makes room
for the next, so that holding connections open locks nobody out.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from pktlb.control.peers import Peer

MAX_CONNECTIONS: Final = 64
REQUEST_S: Final = 10.0
"For the request line and the headers."
BODY_S: Final = 30.0
AFTER_END_S: Final = 0.05
"For the answer to what came to its end, but is no request."
ANSWER_S: Final = 60.0
"For an answer to be fetched."


class Connections:
    """Those that are open, the oldest first."""

    def __init__(self) -> None:
        self._open: Final[dict[asyncio.BaseTransport, Connection]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> "Iterator[Connection]":
        return iter(list(self._open.values()))

    def add(self, connection: "Connection", transport: asyncio.BaseTransport) -> None:
        self._open[transport] = connection

    def forget(self, transport: asyncio.BaseTransport) -> None:
        self._open.pop(transport, None)

    def of(self, transport: asyncio.BaseTransport | None) -> "Connection | None":
        """The connection of a request; None: it is gone."""
        return self._open.get(transport) if transport else None

    def make_room(self) -> bool:
        """Whether there is room for one more, if need be in the place of one that is no use."""
        if len(self) < MAX_CONNECTIONS:
            return True
        for is_useless in (lambda each: not each.heard, lambda each: each.answered):
            for connection in self:
                if is_useless(connection):
                    connection.drop()
                    return True
        return False


class Connection(asyncio.Protocol):
    """Stands between the transport and aiohttp's protocol, which has no such limits."""

    def __init__(self, inner: asyncio.Protocol, peer: Peer, connections: Connections) -> None:
        self.peer: Final = peer
        self.heard = False
        "Its request has arrived, but for the body."
        self.body = b""
        self.answered = False
        self._inner: Final = inner
        self._connections: Final = connections
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None
        self._complete = False
        self._ended = False
        "The client will write no more."
        self._watcher: asyncio.Task[object] | None = None

    @property
    def is_owed_an_answer(self) -> bool:
        """It has asked, and not been answered to the end; whoever watches never is."""
        return self.heard and not self._watcher

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self, transport)
        self._within(REQUEST_S)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._complete:
            self.drop()  # nobody would read it
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool:
        """Whoever has only finished writing still gets an answer, to garbage as well."""
        self._ended = True
        self._inner.eof_received()
        if self._watcher:
            self._watcher.cancel()
        elif not self._complete:
            self._within(AFTER_END_S)
        return not self._watcher

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        self._connections.forget(self._transport)
        if self._watcher:
            self._watcher.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._watcher:
            self._within(ANSWER_S)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._watcher:
            self._within(None)
        self._inner.resume_writing()

    def hear(self) -> None:
        """The head of the request is there."""
        self.heard = True
        self._within(BODY_S)

    def complete(self, body: bytes) -> None:
        """So is the rest."""
        self.body = body
        self._complete = True
        self._within(None)

    def answer(self) -> None:
        """All that is left is to send the answer."""
        self.answered = True
        self._within(ANSWER_S)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The current task, which waits for something, is cancelled when the client goes."""
        if self._ended:
            raise ConnectionResetError("the client is gone")
        self._watcher = asyncio.current_task()
        try:
            yield
        finally:
            self._watcher = None

    def leave(self) -> None:
        """End it, unless it is being served; who only watches is not."""
        if self._watcher:
            self._watcher.cancel()
        elif not self.heard:
            self.drop()

    def drop(self) -> None:
        """End it now."""
        self._connections.forget(self._transport)
        self._transport.abort()

    def _within(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(seconds, self.drop) if seconds else None
