"""The way of a packet: parse, find or open its flow, rewrite, send.

It is given bytes, tables and the time, and returns what to do; it opens no socket and reads no
clock, so every behaviour of it is a plain test. Each frame ends in exactly one `Reason`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pktlb.datapath import icmp
from pktlb.datapath.flow import Flow, FlowTable
from pktlb.datapath.forward import Forwarder, Way
from pktlb.datapath.frame import Frame
from pktlb.datapath.icmp import Problem
from pktlb.datapath.keys import (
    FlowKey,
    destination,
    destination_key,
    reversed_key,
    source,
    source_key,
)
from pktlb.datapath.opening import Chosen, Opening
from pktlb.datapath.outcome import Outcome
from pktlb.datapath.packet import View, address_key, parse
from pktlb.datapath.schedule import Schedulers, hashed
from pktlb.datapath.snat import SourcePorts
from pktlb.datapath.tables import NextHop, ServiceTable, Tables
from pktlb.datapath.tcp import ONE_WAY, TWO_WAY, State, event_of, is_under_way, opens, taken_up
from pktlb.datapath.trail import Trail, Trails
from pktlb.model import Mode, Proto, Reason, Timeouts, Verdict

SOURCE_PORTS: Final = range(1024, 65536)
"Ports that a translated client may have (RFC 6056: the system ports stay out)."
_MOVABLE: Final = frozenset({State.DATAGRAMS, State.SYN_SENT})
"""Flows that another backend can take over when theirs cannot be reached: nothing is agreed yet.
(Next hops can always be replaced: with them nothing is agreed at all.)"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the flow table, fixed for the life of an engine."""

    max_flows: int = 262144
    timeouts: Timeouts = field(default_factory=Timeouts)
    source_ports: Sequence[int] = SOURCE_PORTS
    "Ports allotted to translated clients; those that the kernel itself may choose stay out."
    secret: bytes = bytes(16)
    "16 bytes: key of the hashes that nobody else may know."


class Dataplane:
    """The reference engine."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        self._tables = tables
        self._ports = SourcePorts(tables.snat, limits.source_ports)
        self._flows = FlowTable(limits.max_flows, limits.timeouts, self._release)
        self._trails = Trails(self._recount)
        self._schedulers = Schedulers()
        self._opening = Opening(self._flows, self._ports)
        self._forwarder = Forwarder(limits.secret)
        self._counts = dict.fromkeys(Reason, 0)

    @property
    def flows(self) -> FlowTable:
        return self._flows

    @property
    def counts(self) -> dict[Reason, int]:
        """How many frames ended in each reason; their sum is the number of frames handled."""
        return dict(self._counts)

    def swap(self, tables: Tables) -> None:
        """From the next frame on, these tables. The SNAT addresses stay those of the start."""
        self._tables = tables
        self._schedulers.adapt(tables)

    def expire(self, now: float, most: int = 256) -> int:
        """Forget up to `most` flows whose time is over, and fragments; returns how many flows."""
        self._trails.expire(now, most)
        return self._flows.expire(now, most)

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
        return flow.state is State.CLOSED or flow.backend.address not in self._tables.hops

    def _of_flow(self, frame: Frame, view: View, flow: Flow, now: float) -> Outcome:
        if flow.any and self._was_there(frame):
            held = self._is_to_spread(frame, view)
            return Outcome(Reason.NOT_OURS, (frame,) if held else ())
        from_client = view.key == flow.key
        if view.ttl <= 1:
            return self._out_of_time(frame, view, self._answerer(frame, flow, from_client), now)
        self._follow(flow, view, from_client, now)
        if not from_client:
            return self._to_client(frame, view, flow, Reason.RETURNED, now)
        movable = (flow.any or flow.state in _MOVABLE) and not view.is_later
        if movable and flow.backend.address not in self._tables.hops:
            return self._without_flow(frame, view, flow, now)
        return self._to_backend(frame, view, flow, Reason.FORWARDED, now)

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
                if service is not None and service.mode is not Mode.NAT:
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
        data = hashed(service.hash_on, view.key, frame)
        chosen = self._schedulers.pick(service, data, self._tables.hash_key)
        if chosen is None:
            known = view.ported and not service.vip.any
            problem = Problem.PORT_UNREACHABLE if known else Problem.HOST_UNREACHABLE
            speaker = self._speaker(frame, view, service)
            return self._forwarder.refuse(frame, view, problem, speaker, now)
        if single:
            return self._send_single(frame, view, service, chosen, now)
        flow = self._opening.flow(view.key, service, chosen, now, parts=alone)
        if flow is None:
            return Outcome(Reason.NO_PORT)
        state, reason = State.DATAGRAMS, Reason.OPENED
        if view.proto == Proto.TCP:
            state = State.SYN_SENT
            if not opens(view.tcp_flags):
                state = taken_up(view.tcp_flags, service.mode is Mode.NAT)
                reason = Reason.PICKED_UP
        self._flows.add(flow, state, now)
        return self._to_backend(frame, view, flow, reason, now)

    def _send_single(
        self, frame: Frame, view: View, service: ServiceTable, chosen: Chosen, now: float
    ) -> Outcome:
        """A datagram that says nothing about the next one; NAT must know its reply all the same."""
        if service.mode is not Mode.NAT:
            flow = self._opening.flow(view.key, service, chosen, now)
            assert flow is not None
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

    def _to_backend(
        self, frame: Frame, view: View, flow: Flow, reason: Reason, now: float
    ) -> Outcome:
        if reason is not Reason.RELATED:  # an error comes from a router
            flow.client_port, flow.client_mac = frame.port, bytes(frame.data[6:12])
        hop = self._tables.hops.get(flow.backend.address)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        tunnel = flow.backend.address if flow.mode is Mode.TUNNEL else b""
        way = Way(hop, flow.reverse, tunnel, self._answerer(frame, flow, True))
        return self._forwarder.send(frame, view, flow, way, reason, now)

    def _to_client(
        self, frame: Frame, view: View, flow: Flow, reason: Reason, now: float
    ) -> Outcome:
        hop = self._hop_to_client(flow)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        becomes = flow.key if flow.mode is Mode.NAT else None
        way = Way(hop, becomes, b"", self._answerer(frame, flow, False))
        return self._forwarder.send(frame, view, flow, way, reason, now)

    def _hop_to_client(self, flow: Flow) -> NextHop | None:
        """The way that the client's last packet came."""
        port = self._tables.ports.get(flow.client_port)
        if port is None:
            return None
        return NextHop(flow.client_port, flow.client_mac + port.mac, port.mtu)

    def _answerer(self, frame: Frame, flow: Flow, from_client: bool) -> bytes | None:
        """Who tells the sender of a packet of a flow what is wrong: the VIP, unless it is the
        sender's own as well, or not ours."""
        vip = destination(flow.key).address
        if flow.any or not (from_client or flow.mode is Mode.NAT):
            return self._tables.own_address(frame.port, len(vip))
        return vip

    def _speaker(self, frame: Frame, view: View, service: ServiceTable) -> bytes | None:
        """As `_answerer`, where there is no flow."""
        if service.vip.any:
            return self._tables.own_address(frame.port, view.size)
        return service.vip.address

    def _out_of_time(self, frame: Frame, view: View, source: bytes | None, now: float) -> Outcome:
        return self._forwarder.refuse(frame, view, Problem.TIME_EXCEEDED, source, now)

    def _is_held(self, frame: Frame, view: View) -> bool:
        """Whether the kernel is kept from later fragments of this packet, so that we decide."""
        tables = self._tables
        here, there = source(view.key).address, destination(view.key).address
        return (
            there in tables.services.addresses
            or here in tables.direct
            or (here in tables.replies.addresses and tables.may_be_client(there))
            or self._is_to_spread(frame, view)
        )

    def _fragment(self, frame: Frame, view: View, now: float) -> Outcome:
        """A part of a packet: the first one tells where all of them go."""
        assert view.fragment is not None
        name = view.fragment.of
        trail = self._trails.of(name, now)
        if not trail.note(view.fragment):
            if trail.refused:
                self._trails.refuse(trail)
            return Outcome(Reason.BAD_FRAGMENT)
        if view.is_later:
            outcome = self._later_fragment(frame, view, trail, now)
        else:
            outcome = self._first_fragment(frame, view, trail, now)
        if trail.complete:
            self._trails.end(name, Reason.FRAGMENT_LOST)
        return outcome

    def _first_fragment(self, frame: Frame, view: View, trail: Trail, now: float) -> Outcome:
        reason, frames = self._packet(frame, view, now)
        trail.first = Reason.FRAGMENT_LOST
        if reason.verdict is Verdict.SEND:
            trail.first = view.key
        elif reason.verdict is Verdict.PASS:
            trail.first = reason
        waited: list[Frame] = []
        for held in self._trails.release(trail):
            outcome = self._follow_first(held.frame, held.view, trail.first, now)
            if reason.verdict is Verdict.SEND and outcome.reason.verdict is Verdict.PASS:
                outcome = Outcome(Reason.FRAGMENT_LOST)  # it did not come the same way
            self._recount(outcome.reason)
            waited += outcome.frames
        return Outcome(reason, [*frames, *waited])

    def _later_fragment(self, frame: Frame, view: View, trail: Trail, now: float) -> Outcome:
        if trail.first is not None:
            return self._follow_first(frame, view, trail.first, now)
        held = self._trails.hold(trail, frame, view)
        return Outcome(Reason.HELD if held else Reason.FRAGMENT_LOST)

    def _follow_first(
        self, frame: Frame, view: View, first: FlowKey | Reason, now: float
    ) -> Outcome:
        """A later fragment whose first one is known."""
        if isinstance(first, Reason):
            return Outcome(first, (frame,) if first.verdict is Verdict.PASS else ())
        flow = self._flows.find(first, now)
        if flow is None and source(first).address in self._tables.direct:
            flow = self._answered(first, now)
        if flow is None:
            return Outcome(Reason.FRAGMENT_LOST)
        return self._of_flow(frame, view._replace(key=first), flow, now)

    def _error(self, frame: Frame, view: View, now: float) -> Outcome:
        """An ICMP error: of use to whom sent the packet that it quotes."""
        assert view.quote is not None
        if view.quote.around is not None:
            flow = self._flows.find(view.key, now)
            if flow is not None and self._is_tunnel(flow, view.quote.around):
                return self._about_tunnel(frame, view, flow, now)
            view = view.around()
        flow = self._flows.find(view.key, now)
        if flow is None and icmp.sender(frame, view) in self._tables.direct:
            flow = self._answered(view.key, now)
        if flow is None or (flow.any and self._was_there(frame)):
            return self._unrelated(frame, view, now)
        if view.ttl <= 1:
            return Outcome(Reason.TTL_EXPIRED)
        if view.key == flow.key:
            return self._to_backend(frame, view, flow, Reason.RELATED, now)
        return self._to_client(frame, view, flow, Reason.RELATED, now)

    @staticmethod
    def _is_tunnel(flow: Flow, around: FlowKey) -> bool:
        """Whether the packets of a flow are wrapped in such that are answered with this key."""
        return flow.mode is Mode.TUNNEL and source(around).address == flow.backend.address

    def _about_tunnel(self, frame: Frame, view: View, flow: Flow, now: float) -> Outcome:
        """An error about a packet that we wrapped: its sender is the client of the one inside."""
        hop = self._hop_to_client(flow)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        return self._forwarder.relay(frame, view, flow, hop, now)

    def _unrelated(self, frame: Frame, view: View, now: float) -> Outcome:
        """An error about nothing that we know: a packet like others, where all are spread."""
        key = address_key(frame.data, view)
        if not self._is_to_spread(frame, view._replace(key=key)):
            return Outcome(Reason.NOT_OURS)
        return self._packet(frame, view._replace(key=key), now)
