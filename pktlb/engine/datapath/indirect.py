"""Packets that do not tell their flow themselves: fragments (RFC 791, RFC 8200), ICMP errors.

A later fragment has no ports: the first fragment of its packet tells where it goes. An ICMP error
belongs to the flow of the packet that it quotes. How a flow is opened or followed is decided in
`direct`.
"""

from pktlb.engine.datapath import icmp, related
from pktlb.engine.datapath.address import can_be_answered
from pktlb.engine.datapath.direct import Direct
from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey, destination, source
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.packet import View, address_key
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.datapath.trail import Trail, Trails
from pktlb.model import Mode, Reason, Verdict


class Indirect(Direct):
    """Decides on fragments and ICMP errors."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        super().__init__(tables, limits)
        self._counts = dict.fromkeys(Reason, 0)
        "Frames by the reason they ended in; `HELD`: fragments that wait now."
        self._trails = Trails(self._recount, limits.secret)

    def _recount(self, reason: Reason, frames: int = 1) -> None:
        """Count so many fragments, held until now, in the reason they have ended in."""
        self._counts[Reason.HELD] -= frames
        self._counts[reason] += frames

    def _is_held(self, frame: Frame, view: View) -> bool:
        """Whether the guard keeps later fragments of this packet from the kernel: then we decide on
        all of them."""
        tables = self._tables
        here, there = source(view.key).address, destination(view.key).address
        return (
            there in tables.services.addresses
            or here in tables.direct
            or (here in tables.replies.addresses and tables.may_be_client(there))
            or self._is_to_spread(frame, view)
        )

    def _fragment(self, frame: Frame, view: View, now: float) -> Outcome:
        """Decide on a fragment: the first one of its packet tells where all of them go."""
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
                outcome = Outcome(Reason.FRAGMENT_LOST)  # it came another way than the first
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
        """Decide on a later fragment by what became of the `first` one: its key, or its reason."""
        if isinstance(first, Reason):
            return Outcome(first, (frame,) if first.verdict is Verdict.PASS else ())
        flow = self._flows.find(first, now)
        if flow is None and source(first).address in self._tables.direct:
            flow = self._answered(first, now)
        if flow is None:
            return Outcome(Reason.FRAGMENT_LOST)
        return self._of_flow(frame, view._replace(key=first), flow, now)

    def _error(self, frame: Frame, view: View, now: float) -> Outcome:
        """Send an ICMP error to the sender of the packet that it quotes."""
        assert view.quote is not None
        if view.quote.around is not None:
            flow = self._flows.find(view.key, now)
            if flow is not None and self._is_tunnel(flow, view.quote.around):
                if not can_be_answered(icmp.sender(frame, view.around())):
                    return Outcome(Reason.BAD_SOURCE)
                return self._about_tunnel(frame, view, flow, now)
            view = view.around()
        flow = self._flows.find(view.key, now)
        if flow is None and icmp.sender(frame, view) in self._tables.direct:
            flow = self._answered(view.key, now)
        if flow is None:
            flow = self._flow_elsewhere(frame, view, now)
        if flow is None or (flow.any and self._was_there(frame)):
            return self._unrelated(frame, view, now)
        if not can_be_answered(icmp.sender(frame, view)):
            return Outcome(Reason.BAD_SOURCE)
        if view.ttl <= 1:
            return Outcome(Reason.TTL_EXPIRED)
        if view.key == flow.key:
            return self._to_backend(frame, view, flow, Reason.RELATED, now)
        return self._to_client(frame, view, flow, Reason.RELATED, now)

    @staticmethod
    def _is_tunnel(flow: Flow, around: FlowKey) -> bool:
        """Whether the flow goes through the tunnel whose packets are answered with the key
        `around`."""
        return flow.mode is Mode.TUNNEL and source(around).address == flow.backend.address

    def _about_tunnel(self, frame: Frame, view: View, flow: Flow, now: float) -> Outcome:
        """Tell the client of the flow about an error that met a packet which we wrapped.

        That a backend takes no packets of a tunnel says nothing about the client's packet: a raw
        socket may have taken it all the same.
        """
        if related.refuses_tunnel(frame, view):
            return Outcome(Reason.TUNNEL_REFUSED)
        hop = self._hop_to_client(flow)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        return self._forwarder.relay(frame, view, flow, hop, now)

    def _unrelated(self, frame: Frame, view: View, now: float) -> Outcome:
        """Decide on an error about no flow: where every packet is spread, it is a packet like
        others."""
        key = address_key(frame.data, view)
        if not self._is_to_spread(frame, view._replace(key=key)):
            return Outcome(Reason.NOT_OURS)
        return self._packet(frame, view._replace(key=key), now)
