"""The reference engine at work: frames from ports through the datapath and out again."""

import logging
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

from pktlb.datapath.pipeline import Dataplane
from pktlb.model import Reason, Verdict
from pktlb.wire.port import Port
from pktlb.wire.tun import Tun

log: Final = logging.getLogger(__name__)

BATCH: Final = 64
"Frames of one port in a row: enough to spread the cost of a wake-up, too few to starve others."
_EXPIRE_A_BATCH: Final = 2 * BATCH
"More than a batch can open, so the table shrinks faster than it can be filled with dead flows."

_ORDINARY: Final = frozenset({Reason.NOT_OURS, Reason.NO_FLOW, Reason.TOO_BIG})
"Not the way of most frames, but nothing to worry an operator about."


class PythonEngine:
    """Ports, and the datapath between them. Owns nothing: who made the ports closes them."""

    def __init__(self, dataplane: Dataplane, ports: Sequence[Port], tun: Tun) -> None:
        self.dataplane: Final = dataplane
        self._ports: Final[Mapping[int, Port]] = {port.index: port for port in ports}
        self._tun: Final = tun
        self.dropped = 0
        "Frames that the kernel lost because they were not fetched in time."

    def read(self, port: Port) -> None:
        """Handle what has arrived on a port, a batch at most."""
        handle, ports, now = self.dataplane.handle, self._ports, monotonic()
        for frame in port.receive(BATCH):
            reason, frames = handle(frame, now)
            if not frames:
                continue
            if reason.verdict is Verdict.PASS:
                self._tun.give_back(frame)
                continue
            for out in frames:
                ports[out.port].send(out)
        self.dataplane.expire(now, _EXPIRE_A_BATCH)

    def tick(self) -> None:
        """To be called now and then, so that flows end without traffic as well."""
        self.dataplane.expire(monotonic(), 1024)
        self.dropped += sum(port.dropped() for port in self._ports.values())

    def trouble(self) -> dict[str, int]:
        """Everything that is not the normal way of a frame, by a sentence for the operator."""
        counts = self.dataplane.counts
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
        counts = {r.name.lower(): n for r, n in self.dataplane.counts.items() if n}
        listed = " ".join(f"{name}={count}" for name, count in counts.items())
        return f"flows={len(self.dataplane.flows)} frames={sum(counts.values())} {listed}".rstrip()
