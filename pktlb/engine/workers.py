"""The native engine at work: threads that stay in C for as long as there are frames."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from time import monotonic, sleep
from typing import Final

from pktlb.engine.engine import Engine
from pktlb.engine.native._core import MAX_PORTS
from pktlb.engine.native.contract import WORKER_PORT
from pktlb.engine.native.dataplane import NativeDataplane
from pktlb.engine.shared import Shared
from pktlb.engine.wire.port import Port
from pktlb.engine.wire.tun import Tun
from pktlb.errors import KernelError, refused

log: Final = logging.getLogger(__name__)

__all__ = ["MAX_PORTS", "NativeEngine"]

_SWEEP: Final = 64
"Flows forgotten at a time, during which no worker may touch the table."
_SWEEP_S: Final = 0.02
"Seconds of sweeping a tick, at most."


class NativeEngine(Engine):
    """Workers over one flow table. Each has a socket of its own at every port."""

    name = "native"
    tick_s = 1.0
    needs_loop = False

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
        and does not keep away the threads of the kernel that bring the frames.
        """
        super().__init__(plane, ports, tun)
        self._native: Final = plane
        self._busy_us: Final = busy_us
        self._realtime: Final = realtime
        self._shared: list[Shared] = []
        self._threads: list[threading.Thread] = []
        self._rounds: list[int] = []
        self._past: dict[tuple[str, int], Counter[int]] = {}
        "Errors that were counted by workers that are gone."
        self._dropped_before = 0
        "Frames that were lost by workers that are gone."
        self._failed: list[OSError] = []

    def start(self) -> None:
        workers = min((len(port.sockets) for port in self._ports.values()), default=0)
        self._shared = [Shared(len(self._ports)) for _ in range(workers)]
        for number, shared in enumerate(self._shared):
            for place, port in enumerate(self._ports.values()):
                shared.give_ring(place, port.rings[number])
                port.rings[number] = 0
            thread = threading.Thread(target=self._work, args=(number,), name=f"worker-{number}")
            _start(thread)
            self._threads.append(thread)
        for thread, shared in zip(self._threads, self._shared, strict=True):
            while thread.is_alive() and not shared.started():
                sleep(0.0002)
        self._raise_failed()

    def stop(self) -> None:
        for shared in self._shared:
            shared.stop()
        for thread in self._threads:
            thread.join()
        for number, shared in enumerate(self._shared[: len(self._threads)]):
            for place, port in enumerate(self._ports.values()):
                port.rings[number] = shared.ring(place)
        self._note_errors()
        self._past = self._errors()
        self._dropped_before = self.dropped
        for shared in self._shared:
            shared.close()
        self._shared, self._threads = [], []

    def _work(self, number: int) -> None:
        shared = self._shared[number]
        ports = [
            WORKER_PORT.pack(ifindex=p.index, fd=p.sockets[number].fileno(), mtu=p.mtu)
            for p in self._ports.values()
        ]
        try:
            self._hurry()
            self._native.core.work(
                number=number,
                of=len(self._shared),
                ports=b"".join(ports),
                tun_fd=self._tun.fileno(),
                wake_fd=shared.wake,
                busy_us=self._busy_us,
                shared=shared.words,
            )
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

    def is_alive(self) -> bool:
        rounds = [shared.rounds() for shared in self._shared]
        for shared in self._shared:
            shared.rouse()
        before, self._rounds = self._rounds, rounds
        return len(before) != len(rounds) or all(
            now > then for now, then in zip(rounds, before, strict=True)
        )

    def tick(self) -> None:
        self._raise_failed()
        for shared in self._shared:
            shared.rouse()
        begin = monotonic()
        while self._native.expire(now := monotonic(), _SWEEP) == _SWEEP:
            if now - begin > _SWEEP_S:
                break

    def trouble(self) -> dict[str, int]:
        self._note_errors()
        return super().trouble()

    def _errors(self) -> dict[tuple[str, int], Counter[int]]:
        """All that workers have counted: by what they did and the port (0: the TUN device), how
        often each number was met."""
        total = {key: Counter(counted) for key, counted in self._past.items()}

        def add(what: str, port: int, found: Iterable[tuple[int, int]]) -> None:
            total.setdefault((what, port), Counter()).update(dict(found))

        for shared in self._shared:
            add("write", 0, shared.tun_errors())
            for place, port in enumerate(self._ports):
                add("receive", port, shared.receive_errors(place))
                add("send", port, shared.send_errors(place))
                add("blocked", port, [(0, shared.blocked(place))])
        return total

    def _note_errors(self) -> None:
        """Take over what the workers have counted."""
        places = range(len(self._ports))
        slow = sum(shared.slow(place) for shared in self._shared for place in places)
        self.dropped = self._dropped_before + slow
        for (what, index), counted in self._errors().items():
            for number, count in counted.items():
                if not index:
                    self._tun.errors[f"{what} {os.strerror(number)}"] = count
                elif count and (port := self._ports.get(index)):
                    port.errors[_sentence(what, number, port)] = count


def _sentence(what: str, number: int, port: Port) -> str:
    if what == "blocked":
        return "frames lost because one whose offloads cannot be passed on had stopped the ring"
    return port.sentence(what, number)


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:
        raise KernelError(f"a worker cannot start: {error}") from error
