"""What moves frames: from ports through a plane and out again.

`Engine` is what the daemon knows of each: `loop` has the engine of the reference plane, `workers`
that of the native one. An engine opens and closes no port; whatever made the ports does.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from pktlb.engine.plane import Plane
from pktlb.engine.wire.port import Port
from pktlb.engine.wire.tun import Tun
from pktlb.model import Reason, Verdict

_ORDINARY: Final = frozenset(
    {Reason.NOT_OURS, Reason.NO_FLOW, Reason.TOO_BIG, Reason.HELD, Reason.REMOVED, Reason.RESET}
)
"Reasons that most frames do not end in, but that are no trouble for an operator."


class Engine(ABC):
    """Ports, a TUN device, and the plane between them."""

    name: str
    "As --engine calls it."
    tick_s: float
    "Seconds from one `tick` to the next."
    needs_loop: bool
    "Whether it works on the daemon's loop; else on threads of its own, in any process."

    def __init__(self, plane: Plane, ports: Sequence[Port], tun: Tun) -> None:
        self.plane: Final = plane
        self._ports: Mapping[int, Port] = {port.index: port for port in ports}
        self._tun: Final = tun
        self.dropped = 0
        "Frames that the kernel lost because they were not fetched in time."

    @abstractmethod
    def start(self) -> None:
        """Begin to move frames; `KernelError` where the kernel refuses what that takes."""

    @abstractmethod
    def stop(self) -> None:
        """Move frames no more: they wait in the ports. Does nothing where none move."""

    @contextmanager
    def working(self) -> Iterator[None]:
        """Frames move as long as this is entered."""
        try:
            self.start()
            yield
        finally:
            self.stop()

    def use(self, ports: Sequence[Port]) -> None:
        """Go on with these ports. The caller closes the former ports that are not among them."""
        if list(self._ports.values()) != list(ports):
            self.stop()
            self._ports = {port.index: port for port in ports}
            self.start()

    @abstractmethod
    def tick(self) -> None:
        """Let flows end where there is no traffic; to be called every `tick_s`."""

    def is_alive(self) -> bool:
        """Whether the engine has looked for frames since the last call."""
        return True

    def trouble(self) -> dict[str, int]:
        """How often frames did not go their normal way, by a sentence for the operator."""
        counts = self.plane.counts
        found = {
            f"{reason.name}: {reason.sentence}": count
            for reason, count in counts.items()
            if count and reason.verdict is not Verdict.SEND and reason not in _ORDINARY
        }
        if self.dropped:
            found["frames lost because the engine was too slow to fetch them"] = self.dropped
        for port in self._ports.values():
            for error, count in port.errors.items():
                found[f"{port.name}: {error}"] = count
        for error, count in self._tun.errors.items():
            found[f"{self._tun.name}: {error}"] = count
        return found

    def summary(self) -> str:
        """What happened so far, in one line."""
        counts = {r.name.lower(): n for r, n in self.plane.counts.items() if n}
        listed = " ".join(f"{name}={count}" for name, count in counts.items())
        return f"flows={len(self.plane.flows)} frames={sum(counts.values())} {listed}".rstrip()
