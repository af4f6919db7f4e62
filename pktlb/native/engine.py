"""The native engine at work: threads that stay in C for as long as there are frames."""

import errno
import os
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final

from pktlb.engine import Engine
from pktlb.native._core import ERRORS, MAX_PORTS
from pktlb.native.dataplane import NativeDataplane
from pktlb.wire.port import Port
from pktlb.wire.tun import Tun

__all__ = ["MAX_PORTS", "NativeEngine"]

_STOP: Final = 0
_TUN: Final = 1
_PORTS: Final = _TUN + ERRORS
"Places in what a worker shares with us (struct pk_shared): counts of errors by their number."

_SWEEP: Final = 64
"Flows forgotten at a time while nobody else may touch the table."
_SWEEP_S: Final = 0.02
"Seconds of sweeping a tick, at most."


class NativeEngine(Engine):
    """Workers over one flow table. Each has a socket of its own at every port."""

    name = "native"
    tick_s = 1.0

    def __init__(
        self, plane: NativeDataplane, ports: Sequence[Port], tun: Tun, busy_us: int
    ) -> None:
        """`busy_us`: microseconds that a worker goes on looking for frames before it sleeps."""
        super().__init__(plane, ports, tun)
        self._native: Final = plane
        self._busy_us: Final = busy_us
        workers = min(len(port.sockets) for port in ports)
        self._shared = [array("Q", bytes(8 * self._shared_size())) for _ in range(workers)]
        self._failed: list[BaseException] = []

    def _shared_size(self) -> int:
        return _PORTS + 2 * ERRORS * len(self._ports)

    @contextmanager
    def working(self) -> Iterator[None]:
        wake = os.eventfd(0, os.EFD_CLOEXEC)
        threads = [
            threading.Thread(target=self._work, args=(number, wake), name=f"worker-{number}")
            for number in range(len(self._shared))
        ]
        try:
            for thread in threads:
                thread.start()
            yield
        finally:
            for shared in self._shared:
                shared[_STOP] = 1
            os.eventfd_write(wake, 1)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            os.close(wake)

    def _work(self, number: int, wake: int) -> None:
        ports = tuple((port.index, port.sockets[number].fileno()) for port in self._ports.values())
        try:
            self._native.engine.work(
                number, len(self._shared), ports, self._tun.fileno(), wake, self._busy_us,
                self._shared[number],
            )  # fmt: skip
        except BaseException as error:  # told to the daemon, which ends of it
            self._failed.append(error)

    def tick(self) -> None:
        super().tick()
        for error in self._failed:
            raise error
        self._note_errors()
        begin = monotonic()
        while self._native.expire(now := monotonic(), _SWEEP) == _SWEEP:
            if now - begin > _SWEEP_S:
                break

    def _note_errors(self) -> None:
        """Take over what the workers have counted."""
        for number, count in self._sums(_TUN):
            self._tun.errors[f"write {os.strerror(number)}"] = count
        for place, port in enumerate(self._ports.values()):
            first = _PORTS + 2 * ERRORS * place
            for number, count in self._sums(first):
                what = errno.errorcode.get(number, "without header")
                port.errors[f"receive {what}"] = count
            for number, count in self._sums(first + ERRORS):
                port.errors[f"send {errno.errorcode.get(number, str(number))}"] = count

    def _sums(self, first: int) -> Iterator[tuple[int, int]]:
        """Error numbers and how often each was met, by all workers together."""
        columns = zip(*(shared[first : first + ERRORS] for shared in self._shared), strict=True)
        for number, counts in enumerate(columns):
            if any(counts):
                yield number, sum(counts)
