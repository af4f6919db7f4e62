"""What a worker and control share: an array of counters that each side reads at any time.

The layout is that of struct pk_shared and struct pk_shared_port.
"""

import os
from array import array
from collections.abc import Iterator
from typing import Final

from pktlb.engine.native._core import ERRORS

_STOP: Final = 0
_STARTED: Final = 1
_ROUNDS: Final = 2
_TUN: Final = 3
_PORTS: Final = _TUN + ERRORS

_RECEIVED: Final = 0
_REOPEN: Final = 1
_RING: Final = 2
_RECEIVE: Final = 3
_SEND: Final = _RECEIVE + ERRORS
_PORT_SIZE: Final = _SEND + ERRORS


class Shared:
    """One worker's part, as control sees it."""

    def __init__(self, ports: int) -> None:
        self.words: Final = array("Q", bytes(8 * (_PORTS + ports * _PORT_SIZE)))
        "What the worker is given."
        self.wake: Final = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self) -> None:
        os.close(self.wake)

    def started(self) -> bool:
        return bool(self.words[_STARTED])

    def rounds(self) -> int:
        """How often it has looked for frames."""
        return self.words[_ROUNDS]

    def rouse(self) -> None:
        """Have it look once more, though there may be nothing."""
        os.eventfd_write(self.wake, 1)

    def stop(self) -> None:
        self.words[_STOP] = 1
        os.eventfd_write(self.wake, 1)

    def reopen(self, port: int) -> None:
        """Have the worker make a new ring for a port, by place."""
        self.words[_PORTS + port * _PORT_SIZE + _REOPEN] = 1
        os.eventfd_write(self.wake, 1)

    def received(self, port: int) -> int:
        """Frames that came in at a port, by place."""
        return self.words[_PORTS + port * _PORT_SIZE + _RECEIVED]

    def ring(self, port: int) -> int:
        """Where a worker that has ended left the ring of a port, by place; 0: it has none."""
        return self.words[_PORTS + port * _PORT_SIZE + _RING]

    def give_ring(self, port: int, ring: int) -> None:
        """Have a worker that has not started yet go on with a ring that another one has left."""
        self.words[_PORTS + port * _PORT_SIZE + _RING] = ring

    def tun_errors(self) -> Iterator[tuple[int, int]]:
        """Error numbers, and how often each was met."""
        return self._errors(_TUN)

    def receive_errors(self, port: int) -> Iterator[tuple[int, int]]:
        return self._errors(_PORTS + port * _PORT_SIZE + _RECEIVE)

    def send_errors(self, port: int) -> Iterator[tuple[int, int]]:
        return self._errors(_PORTS + port * _PORT_SIZE + _SEND)

    def _errors(self, first: int) -> Iterator[tuple[int, int]]:
        counts = self.words[first : first + ERRORS]
        return ((number, count) for number, count in enumerate(counts) if count)
