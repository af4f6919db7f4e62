"""The flow table: what was decided for each 5-tuple, for as long as it is in use.

Both directions of a NAT flow are found in the same dictionary. Flows queue by state, the idlest
first, so whatever has expired stands at the head of a queue: expiry takes off as many as it is
allowed to and never scans. It does not know how a backend is chosen or where ports come from.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.keys import EndpointKey, FlowKey
from pktlb.engine.datapath.pin import Pin
from pktlb.engine.datapath.tally import Tally
from pktlb.engine.datapath.tcp import State
from pktlb.model import Endpoint, Mode, Timeouts


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
        "transport_delta",
    )

    def __init__(
        self,
        key: FlowKey,
        reverse: FlowKey | None,
        mode: Mode,
        backend: Endpoint,
        tally: Tally,
        *,
        any: bool = False,
        reply_only: bool = False,
        parts: bool = False,
        pool: EndpointKey | None = None,
    ) -> None:
        self.key: Final = key
        "The 5-tuple as the client sends it."
        self.reverse: Final = reverse
        "NAT: the 5-tuple of the backend's replies, before translation."
        self.mode: Final = mode
        self.backend: Final = backend
        self.tally: Final = tally
        self.any: Final = any
        "Its destination is not ours: nothing can be said in its name."
        self.parts: Final = parts
        "Only fragments belong to it: each whole datagram of its client is a flow of its own."
        self.name: Final = reverse if reply_only and reverse is not None else key
        """What it is found by: of a single datagram, whose sender's next one is another flow, only
        by the reply."""
        self.pool: Final = pool
        "Where the client's stand-in came from."
        self.pin: Pin | None = None
        "What keeps its client at a backend, where the service persists."
        self.killed = False
        "TCP: an operator has ended it."
        self.state = State.SYN_SENT
        self.seen = 0.0
        "Seconds: when its last packet came by."
        self.client_mac = b""
        self.client_port = 0
        "Where the client's last packet came from: the way back to it."
        self.address_delta, self.transport_delta = _deltas(key, reverse) if reverse else (0, 0)


def _deltas(key: FlowKey, reverse: FlowKey) -> tuple[int, int]:
    """What translation towards the backend adds to a sum over addresses, and over ports as well.

    The translated packet has the reversed ends of `reverse`, and a sum does not see the order of
    words. On the way back it is the same with the sign turned.
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
        """The flow that has this key in either direction; one whose time is over is forgotten."""
        flow = self._flows.get(key)
        if flow is not None and flow.seen + self._timeouts[flow.state] <= now:
            self.remove(flow)
            return None
        return flow

    def of_client(self, key: FlowKey) -> Flow | None:
        """The flow whose client sends packets of this key, also one whose time is over."""
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
        """Take in a flow of an earlier process; False where it is over, or there is no place."""
        keys = {flow.name, flow.reverse} - {None}
        taken = any(self.find(key, now) for key in keys if key)
        over = seen + self._timeouts[state] <= now
        if taken or over or len(self) >= self.capacity or flow.reverse == flow.key:
            return False
        self.add(flow, state, seen)
        return True

    def touch(self, flow: Flow, now: float) -> None:
        """A packet of the flow came by."""
        if flow.seen == now:
            return  # its place among those of the same moment is as good as another
        flow.seen = now
        self._idle[flow.state].move_to_end(flow.name)

    def move(self, flow: Flow, state: State) -> None:
        """The flow is in another state from now on; call it with `touch`, in either order."""
        del self._idle[flow.state][flow.name]
        if state is State.CLOSED:
            flow.tally.add(-1)
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
        """Whether there is room for one more, after forgetting the idlest if they have expired."""
        if len(self) >= self.capacity:
            self.expire(now, 2)
        return len(self) < self.capacity

    def expire(self, now: float, most: int) -> int:
        """Forget up to `most` flows that were idle for too long; returns how many it forgot."""
        left = most
        for queue, timeout in zip(self._idle, self._timeouts, strict=True):
            while queue and left:
                flow = next(iter(queue.values()))
                if flow.seen + timeout > now:
                    break
                self.remove(flow)
                left -= 1
        return most - left
