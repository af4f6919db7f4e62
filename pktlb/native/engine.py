"""The native engine at work: threads that stay in C for as long as there are frames."""

import errno
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Final

from pktlb.engine import Engine
from pktlb.errors import KernelError, refused
from pktlb.native._core import MAX_PORTS
from pktlb.native.dataplane import NativeDataplane
from pktlb.native.shared import Shared
from pktlb.wire.port import Port
from pktlb.wire.tun import Tun

log: Final = logging.getLogger(__name__)

__all__ = ["MAX_PORTS", "NativeEngine"]

_SWEEP: Final = 64
"Flows forgotten at a time while nobody else may touch the table."
_SWEEP_S: Final = 0.02
"Seconds of sweeping a tick, at most."


class NativeEngine(Engine):
    """Workers over one flow table. Each has a socket of its own at every port."""

    name = "native"
    tick_s = 1.0

    def __init__(
        self,
        plane: NativeDataplane,
        ports: Sequence[Port],
        tun: Tun,
        busy_us: int,
        realtime: bool | None,
    ) -> None:
        """`busy_us`: microseconds that a worker goes on looking for frames before it sleeps.

        `realtime`: whether workers run before all ordinary threads; None: where that is allowed
        and does not keep those away who bring the frames.
        """
        super().__init__(plane, ports, tun)
        self._native: Final = plane
        self._busy_us: Final = busy_us
        self._realtime: Final = realtime
        self._shared: list[Shared] = []
        self._received: dict[tuple[int, int], int] = {}
        self._failed: list[OSError] = []

    @contextmanager
    def working(self) -> Iterator[None]:
        workers = min(len(port.sockets) for port in self._ports.values())
        self._shared = [Shared(len(self._ports)) for _ in range(workers)]
        threads = [
            threading.Thread(target=self._work, args=(number,), name=f"worker-{number}")
            for number in range(workers)
        ]
        try:
            for thread, shared in zip(threads, self._shared, strict=True):
                _start(thread)
                while thread.is_alive() and not shared.started():
                    sleep(0.001)
            self._raise_failed()
            yield
        finally:
            for shared in self._shared:
                shared.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            for shared in self._shared:
                shared.close()

    def _work(self, number: int) -> None:
        shared = self._shared[number]
        ports = tuple(
            (port.index, port.sockets[number].fileno(), port.mtu) for port in self._ports.values()
        )
        try:
            self._hurry()
            self._native.engine.work(
                number, len(self._shared), ports, self._tun.fileno(), shared.wake, self._busy_us,
                shared.words,
            )  # fmt: skip
        except OSError as error:
            self._failed.append(error)

    def _hurry(self) -> None:
        """Put this thread before all ordinary ones."""
        if self._realtime is False or (self._realtime is None and self._busy_us):
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except PermissionError:
            if self._realtime:
                raise
            log.warning("workers may not run in real time (needs CAP_SYS_NICE)")

    def _raise_failed(self) -> None:
        for error in self._failed:
            needs = "CAP_NET_RAW, with --realtime CAP_SYS_NICE"
            raise refused("a worker cannot start", error, needs) from error

    def tick(self) -> None:
        self._raise_failed()
        self._look_for_jams()
        begin = monotonic()
        while self._native.expire(now := monotonic(), _SWEEP) == _SWEEP:
            if now - begin > _SWEEP_S:
                break

    def _look_for_jams(self) -> None:
        """Count what was lost, and mend a ring that loses frames and hands over none.

        One frame whose offloads the header cannot express is enough: the kernel (seen with 6.18)
        then waits for its slot for ever.
        """
        for place, port in enumerate(self._ports.values()):
            for number, lost in enumerate(port.dropped()):
                self.dropped += lost
                shared = self._shared[number]
                received = shared.received(place)
                if lost and received == self._received.get((number, place)):
                    shared.reopen(place)
                self._received[number, place] = received

    def trouble(self) -> dict[str, int]:
        self._note_errors()
        return super().trouble()

    def _note_errors(self) -> None:
        """Take over what the workers have counted."""
        for number, count in _sum(shared.tun_errors() for shared in self._shared).items():
            self._tun.errors[f"write {os.strerror(number)}"] = count
        for place, port in enumerate(self._ports.values()):
            for what, found in (
                ("receive", [shared.receive_errors(place) for shared in self._shared]),
                ("send", [shared.send_errors(place) for shared in self._shared]),
            ):
                for number, count in _sum(found).items():
                    port.errors[f"{what} {errno.errorcode.get(number, str(number))}"] = count


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:
        raise KernelError(f"a worker cannot start: {error}") from error


def _sum(found: Iterable[Iterable[tuple[int, int]]]) -> Counter[int]:
    """All workers' counts by the number of the error."""
    total: Counter[int] = Counter()
    for errors in found:
        for number, count in errors:
            total[number] += count
    return total
