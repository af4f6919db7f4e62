"""The flow table: what was decided for each 5-tuple, for as long as it is in use.

One dictionary finds both directions of a NAT flow. Flows queue by state, the idlest first, so the
expired ones stand at the head of a queue: expiry takes off as many as it is allowed to and never
scans. The table does not know how a backend is chosen or where ports come from.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.keys import EndpointKey, FlowKey
from pktlb.engine.datapath.pin import Pin
from pktlb.engine.datapath.schedule import Chosen
from pktlb.engine.datapath.tcp import State
from pktlb.engine.datapath.track import Track
from pktlb.model import Timeouts


class Flow:
    """The remembered choice for one 5-tuple."""

    __slots__ = (
        "address_delta",
        "any",
        "backend",
        "client_mac",
        "client_port",
        "key",
        "killed",
        "mode",
        "name",
        "parts",
        "pin",
        "pool",
        "reverse",
        "seen",
        "state",
        "tally",
        "track",
        "transport_delta",
    )

    def __init__(
        self,
        key: FlowKey,
        reverse: FlowKey | None,
        chosen: Chosen,
        *,
        any: bool = False,
        reply_only: bool = False,
        parts: bool = False,
        pool: EndpointKey | None = None,
    ) -> None:
        """A flow to the `chosen` backend, port and all; it is in no table yet. `reply_only`: it is
        found by its reply alone."""
        self.key: Final = key
        "The 5-tuple as the client sends it."
        self.reverse: Final = reverse
        "NAT: the 5-tuple of the backend's replies, before translation."
        self.backend: Final = chosen.backend
        self.tally: Final = chosen.tally
        self.mode: Final = chosen.mode
        self.any: Final = any
        "The flow is of the service `any`: its destination is not ours to speak for."
        self.parts: Final = parts
        "Only fragments belong to it: each whole datagram of its client is another flow."
        self.name: Final = reverse if reply_only and reverse is not None else key
        """The key that the table files it under. The flow of a single datagram is filed under that
        of its reply: the sender's next datagram is another flow."""
        self.pool: Final = pool
        "The pool that the client's source port was taken from, if any."
        self.pin: Pin | None = None
        "The pin of its client, where the service persists."
        self.killed = False
        "TCP: an operator has ended it."
        self.state = State.SYN_SENT
        self.seen = 0.0
        "Seconds: when its last packet came by."
        self.client_mac = b""
        self.client_port = 0
        "Source MAC and port (interface index) of the client's packets: the way back to it."
        self.track: Final = Track()
        "TCP: the sequence numbers of both ends."
        self.address_delta, self.transport_delta = _deltas(key, reverse) if reverse else (0, 0)

    @property
    def numbers(self) -> tuple[int, ...]:
        """See `Track.numbers`."""
        return self.track.numbers


def _deltas(key: FlowKey, reverse: FlowKey) -> tuple[int, int]:
    """What translation towards the backend adds to a sum over addresses, and to one over addresses
    and ports, modulo 0xffff.

    The translated packet has the ends of `reverse` in reversed order; a sum does not depend on the
    order of words. Translation towards the client adds the negative of it.
    """
    addresses = checksum.delta(key[:-5], reverse[:-5])
    return addresses, (addresses + checksum.delta(key[-5:-1], reverse[-5:-1])) % 0xFFFF


class FlowTable:
    """At most `capacity` flows, each forgotten when idle for longer than its state permits."""

    def __init__(
        self, capacity: int, timeouts: Timeouts, on_end: Callable[[Flow], None] = lambda flow: None
    ) -> None:
        """`on_end` is called with each flow that leaves the table."""
        self.capacity: Final = capacity
        self._on_end = on_end
        self._flows: dict[FlowKey, Flow] = {}
        self._idle: tuple[OrderedDict[FlowKey, Flow], ...] = tuple(OrderedDict() for _ in State)
        self._timeouts = tuple(
            {
                State.SYN_SENT: timeouts.syn,
                State.SYN_RECEIVED: timeouts.syn,
                State.CLOSED: timeouts.fin,
                State.DATAGRAMS: timeouts.udp,
            }.get(state, timeouts.tcp)
            for state in State
        )

    def __len__(self) -> int:
        return sum(map(len, self._idle))

    def __iter__(self) -> Iterator[Flow]:
        for queue in self._idle:
            yield from queue.values()

    def find(self, key: FlowKey, now: float) -> Flow | None:
        """The flow that has this key in either direction. Forgets it instead where its time is
        over."""
        flow = self._flows.get(key)
        if flow is not None and flow.seen + self._timeouts[flow.state] <= now:
            self.remove(flow)
            return None
        return flow

    def of_client(self, key: FlowKey) -> Flow | None:
        """The flow whose client sends packets of this key, even where its time is over."""
        flow = self._flows.get(key)
        return flow if flow is not None and flow.key == key else None

    def add(self, flow: Flow, state: State, now: float) -> None:
        """Take in a new flow. Its keys must be free, and the table must have room."""
        flow.state = state
        flow.seen = now
        flow.tally.flows += 1
        flow.tally.connections += 1
        if state is not State.CLOSED:
            flow.tally.add(1)
        self._flows[flow.name] = flow
        if flow.reverse is not None:
            self._flows[flow.reverse] = flow
        self._idle[state][flow.name] = flow

    def restore(self, flow: Flow, state: State, seen: float, now: float) -> bool:
        """Take in a flow of an earlier process. False, and not taken in, where its time is over, a
        key of it is in use, or the table is full."""
        keys = {flow.name, flow.reverse} - {None}
        taken = any(self.find(key, now) for key in keys if key)
        over = seen + self._timeouts[state] <= now
        if taken or over or len(self) >= self.capacity or flow.reverse == flow.key:
            return False
        self.add(flow, state, seen)
        return True

    def touch(self, flow: Flow, now: float) -> None:
        """Note that a packet of the flow came by."""
        if flow.seen == now:
            return  # the order among flows seen at the same moment does not matter
        flow.seen = now
        self._idle[flow.state].move_to_end(flow.name)

    def move(self, flow: Flow, state: State) -> None:
        """Put the flow in another state; to be called together with `touch`, in either order."""
        del self._idle[flow.state][flow.name]
        if state is State.CLOSED:
            flow.tally.add(-1)
        elif flow.state is State.CLOSED:
            flow.tally.add(1)
        flow.state = state
        self._idle[state][flow.name] = flow

    def remove(self, flow: Flow) -> None:
        """Forget a flow."""
        del self._idle[flow.state][flow.name]
        del self._flows[flow.name]
        if flow.reverse is not None:
            self._flows.pop(flow.reverse, None)
        flow.tally.flows -= 1
        if flow.state is not State.CLOSED:
            flow.tally.add(-1)
        self._on_end(flow)

    def make_room(self, now: float) -> bool:
        """Whether there is room for one more flow; a full table forgets two expired ones first."""
        if len(self) >= self.capacity:
            self.expire(now, 2)
        return len(self) < self.capacity

    def expire(self, now: float, most: int) -> int:
        """Forget up to `most` flows that were idle for too long; returns how many."""
        left = most
        for queue, timeout in zip(self._idle, self._timeouts, strict=True):
            while queue and left:
                flow = next(iter(queue.values()))
                if flow.seen + timeout > now:
                    break
                self.remove(flow)
                left -= 1
        return most - left
