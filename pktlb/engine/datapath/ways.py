"""Ways: where a packet of a known flow goes next, and which address an ICMP error about it names.

Reads next hops, ports and own addresses from the tables, counts a packet that takes a way in its
backend's tally, and leaves rewriting to the forwarder. It knows neither services nor how a flow is
found.
"""

from pktlb.engine.datapath import icmp
from pktlb.engine.datapath.address import is_link_local
from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.forward import Forwarder
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.icmp import IcmpError
from pktlb.engine.datapath.keys import destination, reversed_key, source
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.packet import IP, View
from pktlb.engine.datapath.tables import NextHop, ServiceTable, Tables
from pktlb.engine.datapath.way import Way
from pktlb.model import Mode, Reason


class Ways:
    """Sends packets to backends and to clients, by the tables."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        self._tables = tables
        self._forwarder = Forwarder(limits.secret)

    def _note_way_back(self, frame: Frame, flow: Flow) -> None:
        """Send what the client of the flow gets from now on to where this frame came from."""
        flow.client_port, flow.client_mac = frame.port, bytes(frame.data[6:12])

    def _to_backend(
        self, frame: Frame, view: View, flow: Flow, reason: Reason, now: float
    ) -> Outcome:
        hop = self._tables.hops.get(flow.backend.address)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        if self._leaves_its_link(frame, view, flow):
            return Outcome(Reason.BAD_SOURCE)
        if reason not in (Reason.RELATED, Reason.RESET):  # the client did not send these packets
            flow.tally.packets_in += 1
            flow.tally.bytes_in += view.end - IP
        tunnel = flow.backend.address if flow.mode is Mode.TUNNEL else b""
        answerer = self._answerer(frame, flow, True) if reason is not Reason.RESET else None
        way = Way(flow, hop, flow.reverse, tunnel, answerer)
        return self._forwarder.send(frame, view, way, reason, now)

    def _to_client(
        self, frame: Frame, view: View, flow: Flow, reason: Reason, now: float
    ) -> Outcome:
        hop = self._hop_to_client(flow)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        if reason is Reason.RETURNED:
            flow.tally.packets_out += 1
            flow.tally.bytes_out += view.end - IP
        becomes = flow.key if flow.mode is Mode.NAT else None
        answerer = self._answerer(frame, flow, False) if reason is not Reason.RESET else None
        way = Way(flow, hop, becomes, b"", answerer)
        return self._forwarder.send(frame, view, way, reason, now)

    def _has_way(self, flow: Flow, from_client: bool) -> bool:
        """Whether a packet of the flow, from its client or to it, can be sent on."""
        if from_client:
            return flow.backend.address in self._tables.hops
        return self._hop_to_client(flow) is not None

    def _leaves_its_link(self, frame: Frame, view: View, flow: Flow) -> bool:
        """Whether a packet for the backend of a flow would go to another link with a link-local
        source."""
        hop = self._tables.hops.get(flow.backend.address)
        if hop is None or hop.port == frame.port:
            return False
        if view.quote:
            return is_link_local(icmp.sender(frame, view))
        return is_link_local(destination(flow.reverse or reversed_key(flow.key)).address)

    def _hop_to_client(self, flow: Flow) -> NextHop | None:
        """The way back along which the client's packets came; None where its port is gone."""
        port = self._tables.ports.get(flow.client_port)
        if port is None:
            return None
        return NextHop(port.successor or flow.client_port, flow.client_mac + port.mac, port.mtu)

    def _answerer(self, frame: Frame, flow: Flow, from_client: bool) -> bytes | None:
        """The address in whose name the sender of a packet of the flow gets an ICMP error.

        It is the VIP, unless the VIP is the sender's own address as well (a backend of DSR or
        tunnel holds it), or the destination is not ours (`flow.any`). Then it is an address of the
        interface; None where that has none.
        """
        vip = destination(flow.key).address
        if flow.any or not (from_client or flow.mode is Mode.NAT):
            return self._tables.own_address(frame.port, len(vip))
        return vip

    def _speaker(self, frame: Frame, view: View, service: ServiceTable) -> bytes | None:
        """As `_answerer`, for a packet to `service` that has no flow."""
        if service.vip.any:
            return self._tables.own_address(frame.port, view.size)
        return service.vip.address

    def _out_of_time(self, frame: Frame, view: View, source: bytes | None, now: float) -> Outcome:
        return self._forwarder.refuse(frame, view, IcmpError.TIME_EXCEEDED, source, now)

    def _is_to_spread(self, frame: Frame, view: View) -> bool:
        """Whether the kernel would forward the packet, on a port whose frames are for `any`."""
        ends = source(view.key).address, destination(view.key).address
        return self._tables.spreads(frame.port, bytes(frame.data[:6]), *ends)

    def _was_there(self, frame: Frame) -> bool:
        """Whether the frame comes from a backend of the service `any`."""
        return bytes(frame.data[6:12]) in self._tables.appliances
