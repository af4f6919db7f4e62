"""Where a packet of a flow goes, and in whose name its sender is told what is wrong."""

from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.forward import Forwarder, Way
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.icmp import Problem
from pktlb.engine.datapath.keys import destination
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.packet import IP, View
from pktlb.engine.datapath.tables import NextHop, ServiceTable, Tables
from pktlb.model import Mode, Reason


class Ways:
    """The ways that the tables know; what takes them is counted."""

    def __init__(self, tables: Tables, forwarder: Forwarder) -> None:
        self._tables = tables
        self._forwarder = forwarder

    def _to_backend(
        self, frame: Frame, view: View, flow: Flow, reason: Reason, now: float
    ) -> Outcome:
        if reason is not Reason.RELATED:  # an error comes from a router
            flow.client_port, flow.client_mac = frame.port, bytes(frame.data[6:12])
        hop = self._tables.hops.get(flow.backend.address)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        if reason not in (Reason.RELATED, Reason.RESET):  # no packets of the client's
            flow.tally.packets_in += 1
            flow.tally.bytes_in += view.end - IP
        tunnel = flow.backend.address if flow.mode is Mode.TUNNEL else b""
        answerer = self._answerer(frame, flow, True) if reason is not Reason.RESET else None
        way = Way(hop, flow.reverse, tunnel, answerer)
        return self._forwarder.send(frame, view, flow, way, reason, now)

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
        way = Way(hop, becomes, b"", answerer)
        return self._forwarder.send(frame, view, flow, way, reason, now)

    def _has_way(self, flow: Flow, from_client: bool) -> bool:
        """Whether its packets can be sent on."""
        if from_client:
            return flow.backend.address in self._tables.hops
        return self._hop_to_client(flow) is not None

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
