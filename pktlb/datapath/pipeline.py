"""The way of a packet: parse, find or open its flow, rewrite, send.

It is given bytes, tables and the time, and returns what to do; it opens no socket and reads no
clock, so every behaviour of it is a plain test. Each frame ends in exactly one `Reason`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pktlb.datapath import icmp
from pktlb.datapath.flow import Flow, FlowTable, Tally
from pktlb.datapath.fragment import fragments
from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import (
    IP,
    FlowKey,
    View,
    destination,
    destination_key,
    endpoint_key,
    flow_key,
    parse,
    source,
    source_key,
)
from pktlb.datapath.rewrite import OUTER, complete_checksum, encapsulate, route, translate
from pktlb.datapath.schedule import Schedulers
from pktlb.datapath.segment import can_segment, segments
from pktlb.datapath.snat import SourcePorts
from pktlb.datapath.tables import NextHop, ServiceTable, Tables
from pktlb.datapath.tcp import ONE_WAY, TWO_WAY, State, event_of, opens
from pktlb.model import Endpoint, Mode, Proto, Reason, Timeouts

SOURCE_PORTS: Final = range(1024, 65536)
"Ports that a translated client may have (RFC 6056: the system ports stay out)."
_CLASH_TRIES: Final = 64
_MOVABLE: Final = frozenset({State.DATAGRAMS, State.SYN_SENT})
"Flows that another backend can take over when theirs cannot be reached: nothing is agreed yet."
_LONGEST: Final = 0xFFFF
"Bytes of the longest IPv4 packet, whatever a link takes."


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the flow table, fixed for the life of an engine."""

    max_flows: int = 262144
    timeouts: Timeouts = field(default_factory=Timeouts)
    source_ports: Sequence[int] = SOURCE_PORTS
    "Ports allotted to translated clients; those that the kernel itself may choose stay out."


class Outcome(NamedTuple):
    """What became of one frame."""

    reason: Reason
    frames: Sequence[Frame] = ()
    """SEND and ANSWER: what goes out, each with its port. PASS: what the kernel has to be given,
    which is nothing where it has the frame already."""


class Dataplane:
    """The reference engine."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        self._tables = tables
        self._flows = FlowTable(limits.max_flows, limits.timeouts, self._release)
        self._schedulers = Schedulers()
        self._ports = SourcePorts(sorted(tables.snat), limits.source_ports)
        self._ident = 0
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
        """Forget up to `most` flows whose time is over; returns how many."""
        return self._flows.expire(now, most)

    def handle(self, frame: Frame, now: float) -> Outcome:
        """Decide on one frame; `now` (seconds) never goes back. `frame` is rewritten in place."""
        outcome = self._step(frame, now)
        self._counts[outcome.reason] += 1
        return outcome

    def _step(self, frame: Frame, now: float) -> Outcome:
        view = parse(frame.data)
        if isinstance(view, Reason):
            return Outcome(view)
        flow = self._flows.find(view.key, now)
        if flow is None or (flow.state is State.CLOSED and self._reopens(flow, view)):
            return self._without_flow(frame, view, flow, now)
        if view.fragment:
            return Outcome(Reason.FRAGMENT, (frame,))
        if view.ttl <= 1:
            return Outcome(Reason.TTL_EXPIRED)
        from_client = view.key == flow.key
        self._follow(flow, view, from_client, now)
        if not from_client:
            return self._to_client(frame, view, flow)
        if flow.state in _MOVABLE and flow.backend.address not in self._tables.hops:
            return self._without_flow(frame, view, flow, now)
        return self._to_backend(frame, view, flow, Reason.FORWARDED)

    @staticmethod
    def _reopens(flow: Flow, view: View) -> bool:
        """A client that uses the port of a closed connection for a new one."""
        return opens(view.tcp_flags) and view.key == flow.key

    def _follow(self, flow: Flow, view: View, from_client: bool, now: float) -> None:
        """Note the packet in the flow's state and idle time."""
        if flow.state is not State.DATAGRAMS:
            transitions = TWO_WAY if flow.mode is Mode.NAT else ONE_WAY
            state = transitions.get((flow.state, event_of(view.tcp_flags, from_client)))
            if state is not None:
                self._flows.move(flow, state)
        self._flows.touch(flow, now)

    def _without_flow(self, frame: Frame, view: View, old: Flow | None, now: float) -> Outcome:
        """A packet that no live flow claims: a new flow instead of an `old` one, or not for us."""
        service = self._tables.services.get(destination_key(view.key))
        if service is None:
            return self._of_no_service(frame, view)
        if view.fragment:
            return Outcome(Reason.FRAGMENT, (frame,))
        if view.proto == Proto.TCP and not opens(view.tcp_flags):
            return Outcome(Reason.NOT_OPEN, (frame,))
        if view.ttl <= 1:
            return Outcome(Reason.TTL_EXPIRED)
        if old is not None:
            self._flows.remove(old)
        return self._open(frame, view, service, now)

    def _of_no_service(self, frame: Frame, view: View) -> Outcome:
        """What looks like a backend's reply was held back from the kernel: it gets it now."""
        tables = self._tables
        if source_key(view.key) not in tables.replies:
            return Outcome(Reason.NOT_OURS)
        to = destination(view.key)
        if (
            to.address in tables.own
            if not tables.snat
            else (to.address not in tables.snat or to.port in tables.own_ports)
        ):
            return Outcome(Reason.NOT_OURS)
        return Outcome(Reason.FRAGMENT if view.fragment else Reason.NO_FLOW, (frame,))

    def _open(self, frame: Frame, view: View, service: ServiceTable, now: float) -> Outcome:
        if not self._flows.make_room(now):
            return Outcome(Reason.TABLE_FULL)
        chosen = self._schedulers.pick(service, view.key, self._tables.hash_key)
        if chosen is None:
            answer = icmp.unreachable(frame, view, icmp.PORT_UNREACHABLE, service.vip.address)
            return Outcome(Reason.NO_BACKEND, (answer,) if answer else ())
        flow = self._new_flow(view, service, *chosen, now)
        if flow is None:
            return Outcome(Reason.NO_PORT)
        state = State.SYN_SENT if view.proto == Proto.TCP else State.DATAGRAMS
        self._flows.add(flow, state, now)
        return self._to_backend(frame, view, flow, Reason.OPENED)

    def _new_flow(
        self, view: View, service: ServiceTable, backend: Endpoint, tally: Tally, now: float
    ) -> Flow | None:
        """A flow to `backend`, or None where no source port is free towards it."""
        if service.mode is not Mode.NAT:
            return Flow(view.key, None, service.mode, backend, tally)
        if self._ports:
            client = self._allotted(view, backend, now)
        else:
            client = self._unclaimed(view, backend, now)
        if client is None:
            return None
        return Flow(view.key, flow_key(view.proto, backend, client), Mode.NAT, backend, tally)

    def _allotted(self, view: View, backend: Endpoint, now: float) -> Endpoint | None:
        """A source endpoint from the pool.

        The pool knows only what it gave out: where a service is dialled at an address of the pool,
        the backend may be a client of its own service, and such a packet looks like a reply.
        """
        pool = endpoint_key(view.proto, backend)
        for _ in range(_CLASH_TRIES):
            client = self._ports.take(pool)
            if client is None or self._is_free(flow_key(view.proto, backend, client), view, now):
                return client
            self._ports.give_back(pool, client)
        return None

    def _unclaimed(self, view: View, backend: Endpoint, now: float) -> Endpoint | None:
        """The client as the backend may see it: itself, but for a port that is in use there.

        Two services with one backend: the same client port may dial both at the same time, and
        the backend must be able to tell them apart. So must we, when it replies.
        """
        client = source(view.key)
        for step in range(_CLASH_TRIES):
            port = client.port if not step else 1024 + (client.port + step * 997) % 64512
            seen_as = Endpoint(client.address, port)
            if self._is_free(flow_key(view.proto, backend, seen_as), view, now):
                return seen_as
        return None

    def _is_free(self, reply: FlowKey, view: View, now: float) -> bool:
        """Whether replies with this key would be taken for nothing else than replies to `view`."""
        return reply != view.key and self._flows.find(reply, now) is None

    def _release(self, flow: Flow) -> None:
        if flow.reverse is not None and self._ports:
            backend = endpoint_key(flow.reverse[-1], flow.backend)
            self._ports.give_back(backend, destination(flow.reverse))

    def _to_backend(self, frame: Frame, view: View, flow: Flow, reason: Reason) -> Outcome:
        if frame.port != flow.client_port or frame.data[6:12] != flow.client_mac:
            flow.client_port, flow.client_mac = frame.port, bytes(frame.data[6:12])
        hop = self._tables.hops.get(flow.backend.address)
        if hop is None:
            return Outcome(Reason.NO_NEXT_HOP)
        return self._send(frame, view, flow, hop, flow.reverse, reason)

    def _to_client(self, frame: Frame, view: View, flow: Flow) -> Outcome:
        port = self._tables.ports.get(flow.client_port)
        if port is None:
            return Outcome(Reason.NO_NEXT_HOP)
        hop = NextHop(flow.client_port, flow.client_mac + port.mac, port.mtu)
        return self._send(frame, view, flow, hop, flow.key, Reason.RETURNED)

    def _send(
        self, frame: Frame, view: View, flow: Flow, hop: NextHop,
        becomes: FlowKey | None, reason: Reason,
    ) -> Outcome:  # fmt: skip
        """Rewrite and send on; cut what does not fit, or say so to its sender."""
        tunnel = flow.mode is Mode.TUNNEL
        room = min(hop.mtu, _LONGEST) - OUTER if tunnel else hop.mtu
        size = _packet_size(frame, view)
        if size > room and view.dont_fragment:
            return self._refuse_size(frame, view, flow, room)
        # Also where it goes on whole: a tunnel's packets may arrive labelled as the TCP inside.
        if frame.offload.gso_type and not can_segment(frame.offload, view):
            return Outcome(Reason.UNSEGMENTABLE)
        whole = not tunnel and size <= room
        if becomes is None:
            route(frame, view, hop)
        else:
            translate(frame, view, hop, flow, becomes)
        return Outcome(reason, (frame,) if whole else self._pieces(frame, view, flow, hop))

    def _pieces(self, frame: Frame, view: View, flow: Flow, hop: NextHop) -> list[Frame]:
        """A frame as packets that fit the link, wrapped where its flow goes through a tunnel."""
        if frame.offload.gso_type:
            packets = segments(frame, view)
        else:
            complete_checksum(frame, view.transport)
            packets = [frame]
        if flow.mode is Mode.TUNNEL:
            packets = [part for whole in packets for part in fragments(whole, _LONGEST - OUTER)]
            for packet in packets:
                self._ident = (self._ident + 1) & 0xFFFF
                encapsulate(packet, hop, flow.backend.address, self._ident)
        return [piece for packet in packets for piece in fragments(packet, hop.mtu)]

    def _refuse_size(self, frame: Frame, view: View, flow: Flow, room: int) -> Outcome:
        vip = destination(flow.key).address
        answer = icmp.unreachable(frame, view, icmp.FRAGMENTATION_NEEDED, vip, room)
        return Outcome(Reason.TOO_BIG, (answer,) if answer else ())


def _packet_size(frame: Frame, view: View) -> int:
    """Bytes of the longest IP packet that a frame stands for."""
    if frame.offload.gso_type:
        return min(view.end, view.payload + frame.offload.segment_size) - IP
    return view.end - IP
