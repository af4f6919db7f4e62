"""The plane: what decides on frames and remembers flows, as everything outside it sees it.

There are two: the reference in `datapath.pipeline` and the native one in `native.dataplane`. A
plane knows neither ports nor threads: an `Engine` moves the frames.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.tables import ServiceKey, Tables
from pktlb.engine.datapath.tally import Count, Tally
from pktlb.engine.datapath.tcp import State
from pktlb.model import Endpoint, Mode, Reason


class AnyFlow(Protocol):
    """A flow of any plane; for the fields see `pktlb.engine.datapath.flow.Flow`."""

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
    def client_mac(self) -> bytes: ...
    @property
    def client_port(self) -> int: ...
    @property
    def numbers(self) -> tuple[int, ...]: ...
    @property
    def killed(self) -> bool: ...


class Flows(Protocol):
    """The flows of a plane, to be counted and looked through."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[AnyFlow]: ...


class Plane(Protocol):
    """Decides on frames by `Tables`. `now` is in seconds and never goes back."""

    @property
    def flows(self) -> Flows: ...

    @property
    def counts(self) -> dict[Reason, int]:
        """A copy of how many frames ended in each reason; the sum is all frames handled."""
        ...

    @property
    def pin_count(self) -> int:
        """How many clients persistence remembers."""
        ...

    def tallies(self) -> dict[tuple[ServiceKey, Endpoint], Count]:
        """What was counted for each backend that belongs to its service or has flows."""
        ...

    def has_flows(self, service: ServiceKey, backend: Endpoint) -> bool:
        """Whether the table holds a flow, open or closed, of the service to the backend."""
        ...

    def open_flows(self, service: ServiceKey, backend: Endpoint) -> int:
        """How many open flows of a service a backend has; takes the same time for any table."""

    def swap(self, tables: Tables) -> None:
        """Decide by these tables from the next frame on; `Tables.snat` stays that of the start."""
        ...

    def handle(self, frame: Frame, now: float) -> Outcome:
        """Decide on one frame: its reason, and the frames that go out or back to the kernel. The
        reference rewrites `frame` in place."""
        ...

    def expire(self, now: float, most: int = 256) -> int:
        """Forget up to `most` flows and pins whose time is over, and as many packets of which
        fragments are missing; returns how many flows and pins."""
        ...

    def kill(self, keys: Iterable[FlowKey]) -> int:
        """End the flows whose clients send packets of these keys: datagrams' flows are forgotten,
        TCP's are reset at their next packet. Returns how many flows there were."""
        ...

    def dump(self, now: float, with_ports: bool = True) -> bytes:
        """All that the plane remembers, in the format of `datapath.dump`. No frame may be handled
        meanwhile. The order of the source ports never changes; `with_ports` says whether it is
        contained."""
        ...

    def expect(self, flows: int) -> None:
        """Prepare for the `load` of so many flows."""
        ...

    def load(self, data: bytes, now: float) -> int:
        """Take over what a plane has dumped, before the first frame; returns how many flows.
        Raises `DumpError`, and takes over nothing, where `data` cannot be read."""
        ...
