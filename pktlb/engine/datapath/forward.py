"""The last step: rewrite a frame and send it on; cut what does not fit, or tell its sender.

Decides whether a frame fits its link (RFC 1191, RFC 8201; for tunnels RFC 2003, section 5, and RFC
2473, section 7) and whether an ICMP error is sent. It chooses no backend.
"""

from typing import Final

from pktlb.engine.datapath import icmp, related
from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.fragment import fragments
from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, Frame
from pktlb.engine.datapath.icmp import IcmpError
from pktlb.engine.datapath.limiter import Limiter
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.packet import IP, View
from pktlb.engine.datapath.rewrite import (
    MIN_IPV6_MTU,
    complete_checksum,
    encapsulate,
    overhead,
    route,
    translate,
)
from pktlb.engine.datapath.segment import can_segment, segments
from pktlb.engine.datapath.tables import NextHop
from pktlb.engine.datapath.way import Way
from pktlb.model import Reason

LONGEST_INSIDE: Final = {4: 0xFFFF - 20, 16: 0xFFFF}
"Bytes of the longest packet that an outer header takes, by the length of its addresses."


class Forwarder:
    """Sends frames on. It remembers the identification of outer headers and the limit on errors."""

    def __init__(self, secret: bytes) -> None:
        self._limiter = Limiter(secret)
        self._ident = 0

    def send(self, frame: Frame, view: View, way: Way, reason: Reason, now: float) -> Outcome:
        """`reason` and the frames that go out, or another reason and the error for the sender."""
        room = way.hop.mtu
        if way.tunnel:
            room = min(room - overhead(way.tunnel), LONGEST_INSIDE[len(way.tunnel)])
        most = max(room, MIN_IPV6_MTU) if way.tunnel and view.size == 16 else room
        size = _packet_size(frame, view)
        if size > most and view.dont_fragment:
            return self.refuse(frame, view, IcmpError.TOO_BIG, way.answerer, now, most)
        # Checked even where the frame goes on whole: the kernel labels packets of a tunnel as the
        # TCP inside them.
        if frame.offload.gso_type and not can_segment(frame.offload, view):
            return Outcome(Reason.UNSEGMENTABLE)
        if (view.fragment or view.quote) and frame.offload.flags & NEEDS_CHECKSUM:
            return Outcome(Reason.UNSEGMENTABLE)
        whole = not way.tunnel and size <= room
        if way.becomes is None:
            route(frame, view, way.hop)
        elif view.quote:
            related.translate(frame, view, way)
        else:
            translate(frame, view, way)
        return Outcome(reason, (frame,) if whole else self._pieces(frame, view, way))

    def refuse(
        self,
        frame: Frame,
        view: View,
        error: IcmpError,
        source: bytes | None,
        now: float,
        mtu: int = 0,
    ) -> Outcome:
        """Drop a frame as it arrived and tell its sender why, in the name of `source`, where the
        rules of ICMP permit an error. `mtu`: the bytes that fit, for `TOO_BIG`."""
        reason = error.reason
        if source is None or not icmp.may_answer(frame, view):
            return Outcome(reason)
        if not self._limiter.allows(icmp.sender(frame, view), now):
            return Outcome(Reason.UNANSWERED)
        return Outcome(reason, (icmp.answer(frame, view, error, source, mtu),))

    def relay(self, frame: Frame, view: View, flow: Flow, hop: NextHop, now: float) -> Outcome:
        """Tell the client of a flow about an ICMP error that met a packet of its tunnel."""
        source, receiver = related.client_of(flow)
        if not self._limiter.allows(receiver, now):
            return Outcome(Reason.UNANSWERED)
        return Outcome(Reason.RELATED, (related.about_inside(frame, view, hop, source, receiver),))

    def _pieces(self, frame: Frame, view: View, way: Way) -> list[Frame]:
        """The frame as packets that fit the link, each wrapped where the way is a tunnel."""
        if frame.offload.gso_type:
            packets = segments(frame, view)
        else:
            complete_checksum(frame, view.transport)
            packets = [frame]
        if not way.tunnel:
            return [piece for packet in packets for piece in fragments(packet, way.hop.mtu, 0)]
        longest = LONGEST_INSIDE[len(way.tunnel)]
        pieces = []
        for packet in (part for whole in packets for part in fragments(whole, longest, 0)):
            self._ident = (self._ident + 1) & 0xFFFFFFFF
            encapsulate(packet, way.hop, way.tunnel, self._ident)
            pieces += fragments(packet, way.hop.mtu, self._ident)
        return pieces


def _packet_size(frame: Frame, view: View) -> int:
    """Bytes of the longest IP packet that the frame is, or will be cut into."""
    if frame.offload.gso_type:
        return min(view.end, view.payload + frame.offload.segment_size) - IP
    return view.end - IP
