"""The way of a packet: parse, find or open its flow, rewrite, send.

It is given bytes, tables and the time, and returns what to do; it opens no socket and reads no
clock, so every behaviour of it is a plain test. Each frame ends in exactly one `Reason`.
"""

from collections.abc import Iterable
from typing import Final

from pktlb.engine.datapath import icmp, reset
from pktlb.engine.datapath.dump import pack, unpack, widened
from pktlb.engine.datapath.flow import Flow, FlowTable
from pktlb.engine.datapath.forward import Forwarder
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.icmp import Problem
from pktlb.engine.datapath.indirect import Indirect
from pktlb.engine.datapath.keys import (
    FlowKey,
    destination,
    destination_key,
    reversed_key,
    source,
    source_key,
)
from pktlb.engine.datapath.limits import SOURCE_PORTS, Limits
from pktlb.engine.datapath.memory import Loader, save
from pktlb.engine.datapath.opening import Opening
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.packet import RST, View, parse
from pktlb.engine.datapath.pin import Pins
from pktlb.engine.datapath.reset import Course
from pktlb.engine.datapath.schedule import Chosen, Schedulers, hashed, stay
from pktlb.engine.datapath.snat import SourcePorts
from pktlb.engine.datapath.tables import ServiceKey, ServiceTable, Tables
from pktlb.engine.datapath.tally import Count
from pktlb.engine.datapath.tcp import (
    ONE_WAY,
    TWO_WAY,
    State,
    event_of,
    is_under_way,
    opens,
    taken_up,
)
from pktlb.model import Endpoint, Mode, OnRemove, Proto, Reason

__all__ = ["SOURCE_PORTS", "Dataplane", "Limits"]

_MOVABLE: Final = frozenset({State.DATAGRAMS, State.SYN_SENT})
"""Flows that another backend can take over when theirs cannot be reached: nothing is agreed yet.
(Next hops can always be replaced: with them nothing is agreed at all.)"""


class Dataplane(Indirect):
    """The reference engine."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        flows = FlowTable(limits.max_flows, limits.timeouts, self._release)
        super().__init__(tables, Forwarder(limits.secret), flows)
        self._ports = SourcePorts(tables.snat, limits.source_ports)
        self._pins = Pins(limits.max_flows)
        self._schedulers = Schedulers()
        self._schedulers.adapt(tables)
        self._vips = {table.key: table.vip for table in tables.all_services}
        self._opening = Opening(self._flows, self._ports)
        self._counts = dict.fromkeys(Reason, 0)

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
        """What came of each backend that belongs to its service, or has flows."""
        return self._schedulers.counts()

    def has_flows(self, service: ServiceKey, backend: Endpoint) -> bool:
        """Whether there are any of a service to a backend, open or not."""
        tally = self._schedulers.tally(service, backend)
        return tally is not None and tally.flows > 0

    def open_flows(self, service: ServiceKey, backend: Endpoint) -> int:
        """How many open flows of a service a backend has; takes the same time for any table."""
        tally = self._schedulers.tally(service, backend)
        return tally.active if tally else 0

    def swap(self, tables: Tables) -> None:
        """From the next frame on, these tables. The SNAT addresses stay those of the start."""
        self._tables = tables
        self._schedulers.adapt(tables)
        self._vips |= {table.key: table.vip for table in tables.all_services}

    def dump(self, now: float, with_ports: bool = True) -> bytes:
        """Everything remembered, for the next process; the order of the source ports, which never
        changes, may be left out."""
        self.expire(now, len(self._flows) + len(self._pins))  # whose time is over stays behind
        counts = {reason.name: count for reason, count in self._counts.items()}
        ports = self._ports.ports if with_ports else ()
        memory = save(self._flows, self._pins, self._schedulers, self._vips, ports, counts, now)
        return pack(memory)

    def expect(self, flows: int) -> None:
        """So many are about to be loaded: nothing is to be done for that beforehand."""

    def load(self, data: bytes, now: float) -> int:
        """Take over what an engine has dumped, before there are frames; returns how many flows.
        `StateError` where it cannot be read: then nothing is taken over."""
        memory, tables = unpack(data), self._tables
        wide = widened(tables, memory)
        self.swap(wide)
        loader = Loader(memory, wide, self._flows, self._pins, self._schedulers, self._ports, now)
        loaded = loader.load()
        self.swap(tables)
        for name, count in memory.counts.items():
            self._counts[Reason[name]] += count
        return loaded

    def kill(self, keys: Iterable[FlowKey]) -> int:
        """End the flows of these keys, as their clients send: datagrams' are forgotten, TCP's reset
        at their next packet. Returns how many there were."""
        found = 0
        for flow in filter(None, map(self._flows.of_client, keys)):
            found += 1
            if flow.state is State.DATAGRAMS:
                self._flows.remove(flow)
            else:
                flow.killed = True
        return found

    def expire(self, now: float, most: int = 256) -> int:
        """Forget up to `most` flows and pins whose time is over, and fragments; returns how many of
        the former."""
        self._trails.expire(now, most)
        flows = self._flows.expire(now, most)
        return flows + self._pins.expire(now, most - flows)

    def handle(self, frame: Frame, now: float) -> Outcome:
        """Decide on one frame; `now` (seconds) never goes back. `frame` is rewritten in place."""
        outcome = self._step(frame, now)
        self._counts[outcome.reason] += 1
        return outcome

    def _recount(self, reason: Reason, frames: int = 1) -> None:
        """So many fragments that were held have met their fate."""
        self._counts[Reason.HELD] -= frames
        self._counts[reason] += frames

    def _step(self, frame: Frame, now: float) -> Outcome:
        view = parse(frame.data)
        if isinstance(view, Reason):
            return Outcome(view)
        if view.quote:
            return self._error(frame, view, now)
        if view.fragment and self._is_held(frame, view):
            return self._fragment(frame, view, now)
        return self._packet(frame, view, now)

    def _packet(self, frame: Frame, view: View, now: float) -> Outcome:
        """A packet that tells its flow."""
        flow = self._flows.find(view.key, now)
        if flow is None or self._reopens(flow, view) or (flow.parts and not view.fragment):
            return self._without_flow(frame, view, flow, now)
        return self._of_flow(frame, view, flow, now)

    def _reopens(self, flow: Flow, view: View) -> bool:
        """A client that uses the port of a closed or lost connection for a new one."""
        if not opens(view.tcp_flags) or view.key != flow.key:
            return False
        if flow.state is State.CLOSED or flow.backend.address not in self._tables.hops:
            return True
        return reset.fate(flow, self._tables) not in (None, OnRemove.KEEP)

    def _of_flow(self, frame: Frame, view: View, flow: Flow, now: float) -> Outcome:
        if flow.any and self._was_there(frame):
            held = self._is_to_spread(frame, view)
            return Outcome(Reason.NOT_OURS, (frame,) if held else ())
        from_client = view.key == flow.key
        if view.ttl <= 1:
            return self._out_of_time(frame, view, self._answerer(frame, flow, from_client), now)
        course = reset.course(flow, view, self._tables)
        if course is Course.IS_RESET and view.tcp_flags & RST:  # the other end shall hear of it
            course = Course.GOES_ON if self._has_way(flow, from_client) else Course.IS_CUT
        if course is not Course.GOES_ON:
            return self._off_course(frame, view, flow, course, now)
        self._follow(flow, view, from_client, now)
        if not from_client:
            return self._to_client(frame, view, flow, Reason.RETURNED, now)
        movable = (flow.any or flow.state in _MOVABLE) and not view.is_later
        if movable and flow.backend.address not in self._tables.hops:
            return self._without_flow(frame, view, flow, now)
        return self._to_backend(frame, view, flow, Reason.FORWARDED, now)

    def _off_course(
        self, frame: Frame, view: View, flow: Flow, course: Course, now: float
    ) -> Outcome:
        """A packet of a flow that was killed, or whose backend was removed."""
        if course is Course.MOVES:
            self._flows.remove(flow)
            return self._without_flow(frame, view, None, now)
        if course is Course.IS_CUT or not icmp.may_answer(frame, view):
            return Outcome(Reason.REMOVED)
        if flow.state is not State.CLOSED:
            self._flows.move(flow, State.CLOSED)
        self._flows.touch(flow, now)
        send = self._to_backend if view.key == flow.key else self._to_client
        made, seen = reset.instead(frame, view)
        other = send(made, seen, flow, Reason.RESET, now)
        return Outcome(Reason.RESET, (reset.answer(frame, view), *other.frames))

    def _follow(self, flow: Flow, view: View, from_client: bool, now: float) -> None:
        """Note the packet in the flow's state and idle time."""
        if flow.state is not State.DATAGRAMS and not view.is_later:
            transitions = TWO_WAY if flow.mode is Mode.NAT else ONE_WAY
            state = transitions.get((flow.state, event_of(view.tcp_flags, from_client)))
            if state is not None:
                self._flows.move(flow, state)
        self._flows.touch(flow, now)

    def _without_flow(self, frame: Frame, view: View, old: Flow | None, now: float) -> Outcome:
        """A packet that no live flow claims: a new flow instead of an `old` one, or not for us."""
        service = self._tables.services.find(destination_key(view.key))
        if service is None:
            if source(view.key).address in self._tables.direct:
                service = self._tables.services.find(source_key(view.key))
                if service is not None and service.direct:
                    return self._past_the_gateway(frame, view, now)
            return self._of_no_service(frame, view, old, now)
        taken = service.pick_up and is_under_way(view.tcp_flags)
        if view.proto == Proto.TCP and not opens(view.tcp_flags) and not taken:
            return Outcome(Reason.NOT_OPEN, (frame,))
        return self._open(frame, view, service, old, now)

    def _past_the_gateway(self, frame: Frame, view: View, now: float) -> Outcome:
        """A backend's answer in the VIP's name, whose gateway we are: the kernel would take it for
        a packet of our own that came back."""
        flow = self._answered(view.key, now)
        if flow is None:
            return Outcome(Reason.NO_FLOW, (frame,))
        return self._of_flow(frame, view, flow, now)

    def _answered(self, key: FlowKey, now: float) -> Flow | None:
        """The flow whose backend answers clients itself with packets of this key; none of NAT."""
        flow = self._flows.find(reversed_key(key), now)
        return None if flow is None or flow.mode is Mode.NAT else flow

    def _of_no_service(self, frame: Frame, view: View, old: Flow | None, now: float) -> Outcome:
        """What looks like a backend's reply was held back from the kernel: it gets it now."""
        tables = self._tables
        to = destination(view.key)
        own = len(to.address) in tables.pooled and to.port in tables.own_ports
        reply = tables.replies.find(source_key(view.key))
        if reply and tables.may_be_client(to.address) and not own:
            return Outcome(Reason.NO_FLOW, (frame,))
        if tables.any is None or not self._is_to_spread(frame, view):
            return Outcome(Reason.NOT_OURS)
        if self._was_there(frame):
            return Outcome(Reason.NOT_OURS, (frame,))
        return self._open(frame, view, tables.any, old, now)

    def _is_to_spread(self, frame: Frame, view: View) -> bool:
        """Whether the kernel would forward it, on a port where that is our business."""
        ends = source(view.key).address, destination(view.key).address
        return self._tables.spreads(frame.port, bytes(frame.data[:6]), *ends)

    def _was_there(self, frame: Frame) -> bool:
        """It comes from one of those whom it would be spread over."""
        return bytes(frame.data[6:12]) in self._tables.appliances

    def _open(
        self, frame: Frame, view: View, service: ServiceTable, old: Flow | None, now: float
    ) -> Outcome:
        if view.ttl <= 1:
            return self._out_of_time(frame, view, self._speaker(frame, view, service), now)
        alone = service.one_packet and view.proto == Proto.UDP
        single = alone and not view.fragment
        if old is not None and not (single and old.parts):
            self._flows.remove(old)
        if not single and not self._flows.make_room(now):
            return Outcome(Reason.TABLE_FULL)
        persists = service.persist_s > 0 and not alone
        chosen = self._choose(frame, view, service, persists, now)
        if chosen is None:
            return self._unchosen(frame, view, service, now)
        if single:
            return self._send_single(frame, view, service, chosen, now)
        flow = self._opening.flow(view.key, service, chosen, now, parts=alone)
        if flow is None:
            return Outcome(Reason.NO_PORT)
        state, reason = State.DATAGRAMS, Reason.OPENED
        if view.proto == Proto.TCP:
            state = State.SYN_SENT
            if not opens(view.tcp_flags):
                state = taken_up(view.tcp_flags, chosen.mode is Mode.NAT)
                reason = Reason.PICKED_UP
        if persists:
            flow.pin = self._pins.hold(service, source(view.key).address, chosen.tally, now)
        self._flows.add(flow, state, now)
        return self._to_backend(frame, view, flow, reason, now)

    def _choose(
        self, frame: Frame, view: View, service: ServiceTable, persists: bool, now: float
    ) -> Chosen | None:
        """Where its client stays, else where the scheduler says."""
        if persists:
            pin = self._pins.find(service, source(view.key).address, now)
            staying = stay(service, pin.tally) if pin else None
            if staying is not None:
                return staying
        data = hashed(service.hash_on, view.key, frame)
        return self._schedulers.pick(service, data, self._tables.hash_key)

    def _unchosen(self, frame: Frame, view: View, service: ServiceTable, now: float) -> Outcome:
        """No backend takes flows, or no more of them: then the client tries again."""
        if service.backends:
            return Outcome(Reason.ALL_FULL)
        known = view.ported and not service.vip.any
        problem = Problem.PORT_UNREACHABLE if known else Problem.HOST_UNREACHABLE
        speaker = self._speaker(frame, view, service)
        return self._forwarder.refuse(frame, view, problem, speaker, now)

    def _send_single(
        self, frame: Frame, view: View, service: ServiceTable, chosen: Chosen, now: float
    ) -> Outcome:
        """A datagram that says nothing about the next one; NAT must know its reply all the same."""
        if chosen.mode is not Mode.NAT:
            flow = self._opening.flow(view.key, service, chosen, now)
            assert flow is not None
            chosen.tally.connections += 1
            return self._to_backend(frame, view, flow, Reason.OPENED, now)
        known = self._opening.single(view.key, chosen, now)
        if known is not None:
            self._flows.touch(known, now)
            return self._to_backend(frame, view, known, Reason.FORWARDED, now)
        if not self._flows.make_room(now):
            return Outcome(Reason.TABLE_FULL)
        flow = self._opening.flow(view.key, service, chosen, now, single=True)
        if flow is None:
            return Outcome(Reason.NO_PORT)
        self._flows.add(flow, State.DATAGRAMS, now)
        return self._to_backend(frame, view, flow, Reason.OPENED, now)

    def _release(self, flow: Flow) -> None:
        if flow.pool is not None and flow.reverse is not None:
            self._ports.give_back(flow.pool, destination(flow.reverse))
        if flow.pin is not None:
            self._pins.release(flow.pin, flow.seen)
