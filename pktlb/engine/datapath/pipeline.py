"""The reference plane: bytes, tables and the time in; what to do with a frame out.

It opens no socket and reads no clock, so every behaviour is a plain test. Each frame ends in
exactly one `Reason`. The way of a packet: `Dataplane` parses it and tells the kinds apart,
`Indirect` finds the flow of fragments and ICMP errors, `Direct` finds or opens that of all others,
`Ways` knows where packets of a flow go.
"""

from collections.abc import Iterable
from dataclasses import replace

from pktlb.engine.datapath.dump import pack, unpack, widened
from pktlb.engine.datapath.flow import FlowTable
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.indirect import Indirect
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.memory import Contents, Loader, save
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.packet import parse
from pktlb.engine.datapath.tables import ServiceKey, Tables
from pktlb.engine.datapath.tally import Count
from pktlb.engine.datapath.tcp import State
from pktlb.model import Endpoint, Reason


class Dataplane(Indirect):
    """The reference plane; it does what `pktlb.engine.plane.Plane` says."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        super().__init__(tables, limits)
        self._vips = {table.key: table.vip for table in tables.all_services}
        "The addresses of all services that the schedulers may remember."
        self._contents = Contents(self._flows, self._pins, self._schedulers, self._ports)

    @property
    def flows(self) -> FlowTable:
        return self._flows

    @property
    def counts(self) -> dict[Reason, int]:
        """How many frames ended in each reason; their sum is the number of frames handled."""
        return dict(self._counts)

    @property
    def pin_count(self) -> int:
        """How many clients persistence remembers."""
        return len(self._pins)

    def tallies(self) -> dict[tuple[ServiceKey, Endpoint], Count]:
        """What was counted for each backend that belongs to its service or has flows."""
        return self._schedulers.counts()

    def has_flows(self, service: ServiceKey, backend: Endpoint) -> bool:
        """Whether the table holds a flow, open or closed, of the service to the backend."""
        tally = self._schedulers.tally(service, backend)
        return tally is not None and tally.flows > 0

    def open_flows(self, service: ServiceKey, backend: Endpoint) -> int:
        """How many open flows of a service a backend has; takes the same time for any table."""
        tally = self._schedulers.tally(service, backend)
        return tally.active if tally else 0

    def swap(self, tables: Tables) -> None:
        """Decide by these tables from the next frame on; the SNAT addresses stay those of the
        start."""
        self._tables = tables
        self._schedulers.adapt(tables)
        self._vips |= {table.key: table.vip for table in tables.all_services}

    def dump(self, now: float, with_ports: bool = True) -> bytes:
        """All that the plane remembers; what has expired is left out. The order of the source
        ports never changes; `with_ports` says whether it is contained."""
        self.expire(now, len(self._flows) + len(self._pins))
        counts = {reason.name: count for reason, count in self._counts.items()}
        memory = save(self._contents, self._vips, counts, now)
        return pack(memory if with_ports else replace(memory, ports=()))

    def expect(self, flows: int) -> None:
        """Prepare for the `load` of so many flows: there is nothing to do."""

    def load(self, data: bytes, now: float) -> int:
        """Take over what a plane has dumped, before the first frame; returns how many flows.
        Raises `DumpError`, and takes over nothing, where `data` cannot be read."""
        memory, tables = unpack(data), self._tables
        wide = widened(tables, memory)
        self.swap(wide)
        loaded = Loader(memory, wide, self._contents, now).load()
        self.swap(tables)
        for name, count in memory.counts.items():
            self._counts[Reason[name]] += count
        return loaded

    def kill(self, keys: Iterable[FlowKey]) -> int:
        """End the flows whose clients send packets of these keys: datagrams' flows are forgotten,
        TCP's are reset at their next packet. Returns how many flows there were."""
        found = 0
        for flow in filter(None, map(self._flows.of_client, keys)):
            found += 1
            if flow.state is State.DATAGRAMS:
                self._flows.remove(flow)
            else:
                flow.killed = True
        return found

    def expire(self, now: float, most: int = 256) -> int:
        """Forget up to `most` flows and pins whose time is over, and as many packets of which
        fragments are missing; returns how many flows and pins."""
        self._trails.expire(now, most)
        flows = self._flows.expire(now, most)
        return flows + self._pins.expire(now, most - flows)

    def handle(self, frame: Frame, now: float) -> Outcome:
        """Decide on one frame, which is rewritten in place; `now` (seconds) never goes back."""
        outcome = self._step(frame, now)
        self._counts[outcome.reason] += 1
        return outcome

    def _step(self, frame: Frame, now: float) -> Outcome:
        view = parse(frame.data)
        if isinstance(view, Reason):
            return Outcome(view)
        if view.quote:
            return self._error(frame, view, now)
        if view.fragment and self._is_held(frame, view):
            return self._fragment(frame, view, now)
        return self._packet(frame, view, now)
