"""Packets whose ports tell their flow: find the flow, follow its life, or open one.

Decides whether a packet belongs to a known flow, to a new one of some service, or to the kernel.
It owns what is remembered: flows, clients' pins, source ports and the standings of schedulers. It
knows neither fragments that wait nor ICMP errors; see `indirect`.
"""

from collections.abc import Callable
from typing import Final

from pktlb.engine.datapath import icmp, reset, track
from pktlb.engine.datapath.flow import Flow, FlowTable
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.icmp import IcmpError
from pktlb.engine.datapath.keys import (
    FlowKey,
    destination,
    destination_key,
    reversed_key,
    source,
    source_key,
)
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.opening import Opening
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.packet import RST, View
from pktlb.engine.datapath.pin import Pins
from pktlb.engine.datapath.reset import Course
from pktlb.engine.datapath.schedule import Chosen, Schedulers, hashed, stay
from pktlb.engine.datapath.snat import SourcePorts
from pktlb.engine.datapath.tables import ServiceTable, Tables
from pktlb.engine.datapath.tcp import State, is_under_way, opens, taken_up
from pktlb.engine.datapath.track import is_intact
from pktlb.engine.datapath.ways import Ways
from pktlb.model import HASHES, HashFields, Mode, OnRemove, Proto, Reason

_MOVABLE: Final = frozenset({State.DATAGRAMS, State.SYN_SENT})
"""States in which another backend can take a flow over when its own cannot be reached: the two ends
have agreed on nothing yet. A flow of the service `any` can move in every state: the ends of its
connection are elsewhere."""


_SINGLES: Final = 64
"Backends that are asked for the flow of a single datagram."
_Pick = Callable[[ServiceTable, bytes, bytes], Chosen | None]


class Direct(Ways):
    """Decides on packets whose ports tell their flow."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        super().__init__(tables, limits)
        self._flows = FlowTable(limits.max_flows, limits.timeouts, self._release)
        self._ports = SourcePorts(tables.snat, limits.source_ports)
        self._pins = Pins(limits.max_flows)
        self._schedulers = Schedulers()
        self._schedulers.adapt(tables)
        self._opening = Opening(self._flows, self._ports)

    def _packet(self, frame: Frame, view: View, now: float) -> Outcome:
        """Decide on a packet; `view.key` tells its flow."""
        flow = self._flows.find(view.key, now)
        if flow is None or self._reopens(frame, view, flow) or (flow.parts and not view.fragment):
            return self._without_flow(frame, view, flow, now)
        return self._of_flow(frame, view, flow, now)

    def _reopens(self, frame: Frame, view: View, flow: Flow) -> bool:
        """Whether a client uses the port of a closed or lost connection for a new one."""
        if not opens(view.tcp_flags) or view.key != flow.key:
            return False
        over = flow.state is State.CLOSED or flow.backend.address not in self._tables.hops
        if not over and reset.fate(flow, self._tables) in (None, OnRemove.KEEP):
            return False
        return is_intact(frame, view)

    def _of_flow(self, frame: Frame, view: View, flow: Flow, now: float) -> Outcome:
        """Decide on a packet whose flow is known."""
        if flow.any and self._was_there(frame):
            held = self._is_to_spread(frame, view)
            return Outcome(Reason.NOT_OURS, (frame,) if held else ())
        from_client = view.key == flow.key
        if view.ttl <= 1:
            return self._out_of_time(frame, view, self._answerer(frame, flow, from_client), now)
        course = reset.course(flow, view, self._tables)
        if course is Course.IS_RESET and view.tcp_flags & RST:  # so the other end learns of it
            course = Course.GOES_ON if self._has_way(flow, from_client) else Course.IS_CUT
        if course is not Course.GOES_ON:
            return self._off_course(frame, view, flow, course, now)
        self._follow(frame, view, flow, from_client, now)
        if not from_client:
            return self._to_client(frame, view, flow, Reason.RETURNED, now)
        movable = (flow.any or flow.state in _MOVABLE) and not view.is_later
        if movable and flow.backend.address not in self._tables.hops:
            return self._without_flow(frame, view, flow, now)
        return self._to_backend(frame, view, flow, Reason.FORWARDED, now)

    def _off_course(
        self, frame: Frame, view: View, flow: Flow, course: Course, now: float
    ) -> Outcome:
        """Decide on a packet of a flow that was killed, or whose backend was removed."""
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

    def _follow(self, frame: Frame, view: View, flow: Flow, from_client: bool, now: float) -> None:
        """Note the packet in the flow's state, idle time and way back."""
        if flow.state is State.DATAGRAMS:
            effect = track.Effect(refreshes=True, proves=True)
        elif view.is_later:
            effect = track.Effect(refreshes=True)
        else:
            two_way = flow.mode is Mode.NAT
            effect = track.follow(flow.track, flow.state, two_way, frame, view, from_client)
        if effect.state is not None:
            self._flows.move(flow, effect.state)
        if effect.refreshes:
            self._flows.touch(flow, now)
        if effect.proves and from_client:
            self._note_way_back(frame, flow)

    def _without_flow(self, frame: Frame, view: View, old: Flow | None, now: float) -> Outcome:
        """Decide on a packet that no live flow claims: it opens a new flow instead of the `old`
        one, or is not for us."""
        service = self._tables.services.find(destination_key(view.key))
        if service is None:
            if source(view.key).address in self._tables.direct:
                service = self._tables.services.find(source_key(view.key))
                if service is not None and service.direct:
                    return self._past_the_gateway(frame, view, now)
            return self._of_no_service(frame, view, old, now)
        if self._tables.is_impossible(source(view.key).address):
            return Outcome(Reason.BAD_SOURCE)
        taken = service.pick_up and is_under_way(view.tcp_flags)
        if view.proto == Proto.TCP and not opens(view.tcp_flags) and not taken:
            return Outcome(Reason.NOT_OPEN, (frame,))
        return self._open(frame, view, service, old, now)

    def _past_the_gateway(self, frame: Frame, view: View, now: float) -> Outcome:
        """Decide on a backend's answer in the VIP's name that passes us as the backend's gateway.
        The kernel would drop it: its source is an address of this machine."""
        flow = self._answered(view.key, now)
        if flow is None:
            return Outcome(Reason.NO_FLOW, (frame,))
        return self._of_flow(frame, view, flow, now)

    def _answered(self, key: FlowKey, now: float) -> Flow | None:
        """The flow of DSR or tunnel whose backend answers its client with packets of this key."""
        flow = self._flows.find(reversed_key(key), now)
        return None if flow is None or flow.mode is Mode.NAT else flow

    def _of_no_service(self, frame: Frame, view: View, old: Flow | None, now: float) -> Outcome:
        """Decide on a packet to no address of a service. The kernel was kept from what looks like a
        backend's reply: where it is none, the kernel gets the frame now."""
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
        if tables.is_impossible(source(view.key).address):
            return Outcome(Reason.BAD_SOURCE)
        return self._open(frame, view, tables.any, old, now)

    def _open(
        self, frame: Frame, view: View, service: ServiceTable, old: Flow | None, now: float
    ) -> Outcome:
        """Open a flow of `service` instead of the `old` one and send the packet to its backend."""
        if view.ttl <= 1:
            return self._out_of_time(frame, view, self._speaker(frame, view, service), now)
        alone = service.one_packet and view.proto == Proto.UDP
        single = alone and not view.fragment
        if old is not None and not (single and old.parts):
            self._flows.remove(old)
        if not single and not self._flows.make_room(now):
            return Outcome(Reason.TABLE_FULL)
        persists = service.persist_s > 0 and not alone
        chosen = self._choose(frame, view, service, persists, self._schedulers.pick, now)
        if chosen is None:
            return self._unchosen(frame, view, service, now)
        if single:
            return self._send_single(frame, view, service, chosen, now)
        flow = self._opening.flow(view.key, service, chosen, now, parts=alone)
        if flow is None or self._leaves_its_link(frame, view, flow):
            return Outcome(Reason.BAD_SOURCE if flow else Reason.NO_PORT)
        state, reason = State.DATAGRAMS, Reason.OPENED
        if view.proto == Proto.TCP:
            state = State.SYN_SENT
            if not opens(view.tcp_flags):
                state = taken_up(view.tcp_flags, chosen.mode is Mode.NAT)
                reason = Reason.PICKED_UP
            flow.track.open(track.read(frame, view))
        if persists:
            flow.pin = self._pins.hold(service, source(view.key).address, chosen.tally, now)
        self._flows.add(flow, state, now)
        self._note_way_back(frame, flow)
        return self._to_backend(frame, view, flow, reason, now)

    def _flow_elsewhere(self, frame: Frame, view: View, now: float) -> Flow | None:
        """The flow of an ICMP error that is not found by its key, where it can be told all the
        same. It is not put in the table.

        In DSR and tunnel another balancer may have the flow: the error comes to any of them, the
        choice of a backend by hash is the same at each. In NAT a single datagram is found by its
        reply; of several the latest counts.
        """
        service = self._tables.services.find(destination_key(view.key))
        if service is None or self._tables.is_impossible(source(view.key).address):
            return None
        alone = service.one_packet and view.key[-1] == Proto.UDP
        if alone and (found := self._latest_single(view, service, now)):
            return found
        if service.scheduler not in HASHES or service.hash_on.fields is HashFields.MAC:
            return None
        persists = service.persist_s > 0 and not alone
        chosen = self._choose(frame, view, service, persists, self._schedulers.peek, now)
        if chosen is None or chosen.mode is Mode.NAT:
            return None
        return self._opening.flow(view.key, service, chosen, now)

    def _latest_single(self, view: View, service: ServiceTable, now: float) -> Flow | None:
        """NAT: of the single datagrams from one client port, the flow that was used last."""
        found: Flow | None = None
        for place, backend in enumerate(service.backends[:_SINGLES]):
            tally = self._schedulers.tally(service.key, backend)
            assert tally is not None
            chosen = Chosen(backend, tally, service.mode_at(place))
            flow = self._opening.single(view.key, chosen, now)
            if flow is not None and (found is None or flow.seen > found.seen):
                found = flow
        return found

    def _choose(
        self, frame: Frame, view: View, service: ServiceTable, persists: bool, pick: _Pick,
        now: float,
    ) -> Chosen | None:  # fmt: skip
        """The backend that the client stays with, else the scheduler's choice."""
        if persists:
            pin = self._pins.find(service, source(view.key).address, now)
            staying = stay(service, pin.tally) if pin else None
            if staying is not None:
                return staying
        data = hashed(service.hash_on, view.key, frame)
        return pick(service, data, self._tables.hash_key)

    def _unchosen(self, frame: Frame, view: View, service: ServiceTable, now: float) -> Outcome:
        """Refuse a packet for which there is no backend. Where all are full it is dropped without
        an answer, so that the client tries again."""
        if service.backends:
            return Outcome(Reason.ALL_FULL)
        known = view.ported and not service.vip.any
        error = IcmpError.PORT_UNREACHABLE if known else IcmpError.HOST_UNREACHABLE
        speaker = self._speaker(frame, view, service)
        return self._forwarder.refuse(frame, view, error, speaker, now)

    def _send_single(
        self, frame: Frame, view: View, service: ServiceTable, chosen: Chosen, now: float
    ) -> Outcome:
        """Send a datagram that is a flow of its own. With NAT a flow is remembered all the same, to
        translate the reply."""
        if chosen.mode is not Mode.NAT:
            flow = self._opening.flow(view.key, service, chosen, now)
            assert flow is not None
            if self._leaves_its_link(frame, view, flow):
                return Outcome(Reason.BAD_SOURCE)
            chosen.tally.connections += 1
            return self._to_backend(frame, view, flow, Reason.OPENED, now)
        known = self._opening.single(view.key, chosen, now)
        if known is not None:
            self._flows.touch(known, now)
            self._note_way_back(frame, known)
            return self._to_backend(frame, view, known, Reason.FORWARDED, now)
        if not self._flows.make_room(now):
            return Outcome(Reason.TABLE_FULL)
        flow = self._opening.flow(view.key, service, chosen, now, single=True)
        if flow is None or self._leaves_its_link(frame, view, flow):
            return Outcome(Reason.BAD_SOURCE if flow else Reason.NO_PORT)
        self._flows.add(flow, State.DATAGRAMS, now)
        self._note_way_back(frame, flow)
        return self._to_backend(frame, view, flow, Reason.OPENED, now)

    def _release(self, flow: Flow) -> None:
        """Give back what a flow that has left the table held: its source port and its pin."""
        if flow.pool is not None and flow.reverse is not None:
            self._ports.give_back(flow.pool, destination(flow.reverse))
        if flow.pin is not None:
            self._pins.release(flow.pin, flow.seen)
