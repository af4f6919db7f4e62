"""The reference engine at work: the daemon's own asyncio loop reads ports and handles frames."""

import asyncio
from time import monotonic
from typing import Final

from pktlb.engine.engine import Engine
from pktlb.engine.wire.port import Port
from pktlb.model import Verdict

BATCH: Final = 64
"Frames of one port in a row: enough to spread the cost of a wake-up, too few to starve others."
_EXPIRE_A_BATCH: Final = 2 * BATCH
"More than a batch can open, so the table shrinks faster than it can be filled with dead flows."
_EXPIRE_A_TICK: Final = 1024


class PythonEngine(Engine):
    """Moves frames on the loop that runs when it is started."""

    name = "python"
    tick_s = 0.1
    needs_loop = True

    def start(self) -> None:
        for port in self._ports.values():
            asyncio.get_running_loop().add_reader(port.fileno(), self._read, port)

    def stop(self) -> None:
        for port in self._ports.values():
            asyncio.get_running_loop().remove_reader(port.fileno())

    def _read(self, port: Port) -> None:
        """Handle what has arrived on a port, a batch at most."""
        handle, ports, now = self.plane.handle, self._ports, monotonic()
        for frame in port.receive(BATCH):
            reason, frames = handle(frame, now)
            for out in frames:
                if reason.verdict is Verdict.PASS:
                    self._tun.give_back(out)
                else:
                    ports[out.port].send(out)
        self.plane.expire(now, _EXPIRE_A_BATCH)

    def tick(self) -> None:
        self.dropped += sum(sum(port.dropped()) for port in self._ports.values())
        self.plane.expire(monotonic(), _EXPIRE_A_TICK)
