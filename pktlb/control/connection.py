"""Connections to the control socket: one request each, and a time limit for each step of it.

A connection is closed when its client sends no request, sends it too slowly, sends more than one,
or does not read the answer. When `MAX_CONNECTIONS` are open, the oldest of which no request has
come makes room for the next one: clients that hold connections open lock no other client out.
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
"For the answer to something that is no whole request, after the client has ended it."
ANSWER_S: Final = 60.0
"For the client to read the answer."


class Connections:
    """The open connections, the oldest first."""

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
        """The connection of a request, by its transport; None: it is closed."""
        return self._open.get(transport) if transport else None

    def make_room(self) -> bool:
        """Whether there is room for one more connection. If there is none, the oldest without a
        request is closed, or else the oldest that has its answer."""
        if len(self) < MAX_CONNECTIONS:
            return True
        for is_useless in (lambda each: not each.heard, lambda each: each.answered):
            for connection in self:
                if is_useless(connection):
                    connection.drop()
                    return True
        return False


class Connection(asyncio.Protocol):
    """Stands between the transport and aiohttp's protocol, which has no such time limits."""

    def __init__(self, inner: asyncio.Protocol, peer: Peer, connections: Connections) -> None:
        self.peer: Final = peer
        self.heard = False
        "The request line and the headers have arrived."
        self.body = b""
        "The body of the request, once all of it has arrived."
        self.answered = False
        "The answer is made; the client may not have read it yet."
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
        """Whether the client has asked, and waits for an answer that ends."""
        return self.heard and not self._watcher

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self, transport)
        self._within(REQUEST_S)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._complete:
            self.drop()  # a second request
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool:
        """The client has finished writing. It still gets an answer, even to garbage."""
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
        """The request line and the headers are there."""
        self.heard = True
        self._within(BODY_S)

    def complete(self, body: bytes) -> None:
        """The whole request is there."""
        self.body = body
        self._complete = True
        self._within(None)

    def answer(self) -> None:
        """The answer is made, and is being sent."""
        self.answered = True
        self._within(ANSWER_S)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In the `with` block, the current task is cancelled when the client goes. Raises
        `ConnectionResetError` if it is gone already."""
        if self._ended:
            raise ConnectionResetError("the client is gone")
        self._watcher = asyncio.current_task()
        try:
            yield
        finally:
            self._watcher = None

    def leave(self) -> None:
        """End a connection without a request, and the task of one that watches; others get their
        answers."""
        if self._watcher:
            self._watcher.cancel()
        elif not self.heard:
            self.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        self._connections.forget(self._transport)
        self._transport.abort()

    def _within(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(seconds, self.drop) if seconds else None
