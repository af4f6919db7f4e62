"""Engines at work: frames from ports through the datapath and out again.

`Engine` is what the daemon knows of any of them; here too is the reference engine, which works on
the daemon's own loop.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final, Protocol

from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.datapath.tables import ServiceKey, Tables
from pktlb.engine.datapath.tally import Count, Tally
from pktlb.engine.datapath.tcp import State
from pktlb.engine.wire.port import Port
from pktlb.engine.wire.tun import Tun
from pktlb.model import Endpoint, Mode, Reason, Verdict

log: Final = logging.getLogger(__name__)

BATCH: Final = 64
"Frames of one port in a row: enough to spread the cost of a wake-up, too few to starve others."
_EXPIRE_A_BATCH: Final = 2 * BATCH
"More than a batch can open, so the table shrinks faster than it can be filled with dead flows."

_ORDINARY: Final = frozenset(
    {Reason.NOT_OURS, Reason.NO_FLOW, Reason.TOO_BIG, Reason.HELD, Reason.REMOVED, Reason.RESET}
)
"Not the way of most frames, but nothing to worry an operator about."


class AnyFlow(Protocol):
    """What every engine tells of a flow; see `pktlb.engine.datapath.flow.Flow`."""

    @property
    def key(self) -> FlowKey: ...
    @property
    def reverse(self) -> FlowKey | None: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def backend(self) -> Endpoint: ...
    @property
    def tally(self) -> Tally: ...
    @property
    def state(self) -> State: ...
    @property
    def seen(self) -> float: ...
    @property
    def killed(self) -> bool: ...


class Flows(Protocol):
    """A look at a flow table."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[AnyFlow]: ...


class Plane(Protocol):
    """What the daemon needs of a datapath."""

    @property
    def flows(self) -> "Flows": ...
    @property
    def counts(self) -> dict[Reason, int]: ...
    @property
    def pin_count(self) -> int: ...
    def tallies(self) -> dict[tuple[ServiceKey, Endpoint], Count]: ...
    def has_flows(self, service: ServiceKey, backend: Endpoint) -> bool: ...
    def open_flows(self, service: ServiceKey, backend: Endpoint) -> int: ...
    def swap(self, tables: Tables) -> None: ...
    def dump(self, now: float, with_ports: bool = True) -> bytes: ...
    def expect(self, flows: int) -> None: ...
    def load(self, data: bytes, now: float) -> int: ...
    def kill(self, keys: Iterable[FlowKey]) -> int: ...


class Engine(ABC):
    """Ports, and the datapath between them. Owns nothing: who made the ports closes them."""

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
        """From here on frames move."""

    @abstractmethod
    def stop(self) -> None:
        """Frames move no more: they wait in the ports. Does nothing where none do."""

    @contextmanager
    def working(self) -> Iterator[None]:
        """Frames move as long as this is entered."""
        try:
            self.start()
            yield
        finally:
            self.stop()

    def use(self, ports: Sequence[Port]) -> None:
        """Go on with these ports; who made them closes those that are not among them."""
        if list(self._ports.values()) != list(ports):
            self.stop()
            self._ports = {port.index: port for port in ports}
            self.start()

    @abstractmethod
    def tick(self) -> None:
        """To be called every `tick_s`, so that flows end without traffic as well."""

    def is_alive(self) -> bool:
        """Whether frames have been looked for since the last time that this was asked."""
        return True

    def trouble(self) -> dict[str, int]:
        """Everything that is not the normal way of a frame, by a sentence for the operator."""
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


class PythonEngine(Engine):
    """The reference engine."""

    name = "python"
    tick_s = 0.1
    needs_loop = True

    def __init__(self, plane: Dataplane, ports: Sequence[Port], tun: Tun) -> None:
        super().__init__(plane, ports, tun)
        self._dataplane: Final = plane

    def start(self) -> None:
        for port in self._ports.values():
            asyncio.get_running_loop().add_reader(port.fileno(), self._read, port)

    def stop(self) -> None:
        for port in self._ports.values():
            asyncio.get_running_loop().remove_reader(port.fileno())

    def _read(self, port: Port) -> None:
        """Handle what has arrived on a port, a batch at most."""
        handle, ports, now = self._dataplane.handle, self._ports, monotonic()
        for frame in port.receive(BATCH):
            reason, frames = handle(frame, now)
            for out in frames:
                if reason.verdict is Verdict.PASS:
                    self._tun.give_back(out)
                else:
                    ports[out.port].send(out)
        self._dataplane.expire(now, _EXPIRE_A_BATCH)

    def tick(self) -> None:
        self.dropped += sum(sum(port.dropped()) for port in self._ports.values())
        self._dataplane.expire(monotonic(), 1024)
