"""What a worker and control share: an array of counters that each side reads at any time.

It is a struct pk_shared, and a struct pk_shared_port for each port.
"""

import os
from array import array
from collections.abc import Iterator
from typing import Final

from pktlb.engine.native.contract import SHARED, SHARED_PORT

_CODE: Final = "Q"
_WORD: Final = 8
"Bytes: everything in both records is a counter of this code and size."

_STOP: Final = SHARED.words("stop", _CODE).start
_STARTED: Final = SHARED.words("started", _CODE).start
_ROUNDS: Final = SHARED.words("rounds", _CODE).start
_TUN_ERRORS: Final = SHARED.words("tun_errors", _CODE)
_PORTS: Final = SHARED.size // _WORD

_RECEIVED: Final = SHARED_PORT.words("received", _CODE).start
_SLOW: Final = SHARED_PORT.words("slow", _CODE).start
_STUCK: Final = SHARED_PORT.words("stuck", _CODE).start
_BLOCKED: Final = SHARED_PORT.words("blocked", _CODE).start
_RING: Final = SHARED_PORT.words("ring", _CODE).start
_RECEIVE_ERRORS: Final = SHARED_PORT.words("receive_errors", _CODE)
_SEND_ERRORS: Final = SHARED_PORT.words("send_errors", _CODE)
_PORT_SIZE: Final = SHARED_PORT.size // _WORD


class Shared:
    """One worker's part, as control sees it. Ports are named by their place."""

    def __init__(self, ports: int) -> None:
        self.words: Final = array(_CODE, bytes(_WORD * (_PORTS + ports * _PORT_SIZE)))
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
        """Have it look once more, though there may be nothing, and count what was lost."""
        os.eventfd_write(self.wake, 1)

    def stop(self) -> None:
        self.words[_STOP] = 1
        os.eventfd_write(self.wake, 1)

    def received(self, port: int) -> int:
        """Frames that came in at a port."""
        return self.words[_at(port) + _RECEIVED]

    def slow(self, port: int) -> int:
        """Frames that were lost because the worker did not fetch them in time."""
        return self.words[_at(port) + _SLOW]

    def stuck(self, port: int) -> int:
        """How often one frame stopped the ring of a port."""
        return self.words[_at(port) + _STUCK]

    def blocked(self, port: int) -> int:
        """Frames that were lost because the ring of a port had stopped."""
        return self.words[_at(port) + _BLOCKED]

    def ring(self, port: int) -> int:
        """Where a worker that has ended left the ring of a port; 0: it has none."""
        return self.words[_at(port) + _RING]

    def give_ring(self, port: int, ring: int) -> None:
        """Have a worker that has not started yet go on with a ring that another one has left."""
        self.words[_at(port) + _RING] = ring

    def tun_errors(self) -> Iterator[tuple[int, int]]:
        """Error numbers, and how often each was met."""
        return self._errors(0, _TUN_ERRORS)

    def receive_errors(self, port: int) -> Iterator[tuple[int, int]]:
        """Error numbers of a port that receives, and how often each was met."""
        return self._errors(_at(port), _RECEIVE_ERRORS)

    def send_errors(self, port: int) -> Iterator[tuple[int, int]]:
        """Error numbers of a port that sends, and how often each was met."""
        return self._errors(_at(port), _SEND_ERRORS)

    def _errors(self, record: int, field: range) -> Iterator[tuple[int, int]]:
        counts = self.words[record + field.start : record + field.stop]
        return ((number, count) for number, count in enumerate(counts) if count)


def _at(port: int) -> int:
    """The first word of a port's record."""
    return _PORTS + port * _PORT_SIZE
