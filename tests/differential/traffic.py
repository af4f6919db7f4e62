"""Traffic out of a seed: the scene, conversations, oddities and times.

It looks at what the reference did with a frame, as the machines around a balancer do: backends
answer what was sent to them, and some frames are timed by flows that are about to be forgotten.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate, islice
from random import Random
from typing import Final

from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.frame import NO_OFFLOAD
from pktlb.engine.datapath.keys import destination, reversed_key, source
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.tcp import State
from pktlb.model import Endpoint, Proto, Reason, Verdict
from tests.differential import siege, strange, trouble, wire
from tests.differential.scene import (
    BACKEND_PORTS,
    BACKENDS,
    BOTH,
    EIGHTH,
    INDEXES,
    NO_INDEX,
    NUMBERS,
    OWN,
    Kind,
    Scene,
)
from tests.differential.step import Arrival, Expiry, Kill, Step, Swap
from tests.differential.talk import ODD_FLAGS, Talk, number
from tests.differential.wire import ACK, HEADER, ICMPS, LONGEST, SYN, Packet
from tests.support.packets import packed

PLAIN: Final = {
    4: tuple(packed(f"10.0.1.{host}") for host in (2, 3, 4, 5)),
    16: tuple(packed(f"2001:db8:1::{host}") for host in (2, 3, 4, 5)),
}
"Clients as they usually are, by the length of their addresses."
_ODD: Final = (
    "0.0.0.9", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "10.0.2.9",
    "223.255.255.255", "198.51.100.7", "10.0.1.255", "169.255.0.1", "::", "::1", "::2:0",
    "fe80::1", "febf::1", "fec0::1", "ff02::1", "2001:db8:2::9",
)  # fmt: skip
CLIENTS: Final = {
    size: (
        *plain,
        *(each for each in (*BACKENDS, *OWN, *map(packed, _ODD)) if len(each) == size),
    )
    for size, plain in PLAIN.items()
}
OVER_IP: Final[dict[int, int]] = {Proto.TCP: 20, Proto.UDP: 8}
"Bytes of the header in front of a load."
CLIENT_PORTS: Final = (0, 1, 80, 1023, 1024, 4000, 4001, 5000, 5001, 5002, 40_000, 65535)
CLOCK_ROUND_S: Final = 4_294_967.25
"Nearly 2**32 milliseconds: about seven weeks."
WAITS: Final = (EIGHTH, EIGHTH, EIGHTH, 2 * EIGHTH, 1.0, 5.0, 10.0, 100.0)


class Traffic:
    """Steps without end."""

    def __init__(self, seed: int) -> None:
        self.rng: Final = Random(seed)
        self.scene: Final = Scene(self.rng)
        self.now = self.rng.choice((0.0, EIGHTH, CLOCK_ROUND_S - 4.0, 86_400.0 * 365))
        kinds: dict[Callable[[Iterable[Flow]], Step], int] = {
            self._continue: 600,
            self._begin: 60,
            self._at_the_last_moment: 60,
            self._sent_again: 120,
            self._complain: 80,
            self._in_parts: 50,
            self._between_any_ends: 100,
            self._expire: 40,
            self._kill: 8,
            self._of_the_doomed: 40,
            self._noise: 20,
            self._besiege: 10 if self.scene.kind is Kind.VAST else 2,
        }
        self._kinds, self._shares = list(kinds), list(accumulate(kinds.values()))
        self._waits = self.rng.choice(((EIGHTH,), WAITS[:4], WAITS))
        self._talks = [self._talk() for _ in range(self.rng.choice((2, 6, 20, 60)))]
        self._sent: deque[tuple[Arrival, bytes]] = deque(maxlen=32)
        "Frames that were sent on: the step, and the bytes that left."
        self._asked: Talk | None = None
        self._queue: deque[Step] = deque()
        self._oddity = self.rng.choice((0.02, 0.15, 0.4))
        self._unrest = self.rng.choice((0.0, 0.003, 0.05))

    def next(self, flows: Iterable[Flow]) -> Step:
        """The next step, given the flows of the reference."""
        rng = self.rng
        self._asked = None
        if self._queue:
            return self._queue.popleft()
        if rng.random() < 0.15:
            self.now += rng.choice(self._waits)
        if rng.random() < self._unrest:
            self.scene.change()
            return Swap(self.scene.tables())
        (kind,) = rng.choices(self._kinds, cum_weights=self._shares)
        return kind(flows)

    @property
    def busy(self) -> bool:
        """Whether it is in a sequence of steps that belong together."""
        return bool(self._queue)

    def learn(self, step: Step, outcome: Outcome | None) -> None:
        """Note the frames that were sent on for a step."""
        if not isinstance(step, Arrival) or outcome is None or not outcome.frames:
            return
        if outcome.reason.verdict is not Verdict.SEND:
            return
        left = bytes(outcome.frames[0].data)
        came, went = wire.layout(step.data), wire.layout(left)
        if len(outcome.frames) == 1 and came and went and step.offload == NO_OFFLOAD:
            self._sent.append((step, left))
        if self._asked is None or outcome.reason is Reason.RETURNED or not came or not went:
            return
        if came[:2] == went[:2]:
            client, backend = wire.ends(left)
            self._asked.inside = client, backend

    def _begin(self, flows: Iterable[Flow]) -> Step:
        """Replace a conversation by a new one, and take its first step."""
        self._talks[self.rng.randrange(len(self._talks))] = self._talk()
        return self._continue(flows)

    def _expire(self, flows: Iterable[Flow]) -> Step:
        return Expiry(self.now, self.rng.choice((0, 1, 1, 2, 3, 1000)))

    def _kill(self, flows: Iterable[Flow]) -> Step:
        """Kill some flows, and perhaps one that is not there."""
        found = list(islice(flows, 50))
        some = self.rng.sample(found, min(len(found), self.rng.choice((1, 1, 2, 5))))
        keys = [flow.key for flow in some]
        if some and self.rng.random() < 0.3:
            keys.append(some[0].reverse or reversed_key(some[0].key))
        self._queue.extend(map(self._of_flow, some))
        return Kill(tuple(keys))

    def _of_the_doomed(self, flows: Iterable[Flow]) -> Step:
        """A packet of a flow that was killed, or whose backend was removed."""
        removed = self.scene.removed
        found = [
            flow
            for flow in islice(flows, 200)
            if flow.killed or (flow.tally.service, flow.tally.backend) in removed
        ]
        return self._of_flow(self.rng.choice(found)) if found else self._continue(flows)

    def _noise(self, flows: Iterable[Flow]) -> Step:
        index = self.rng.choice((*INDEXES, NO_INDEX))
        data = bytes(strange.noise(self.rng))
        return Arrival(self.now, index, data, strange.any_offload(self.rng, len(data)))

    def _besiege(self, flows: Iterable[Flow]) -> Step:
        self._queue.extend(siege.steps(self._talk(), self.scene, self.now))
        self.now = max([self.now, *(s.now for s in self._queue if not isinstance(s, Swap | Kill))])
        return self._queue.popleft() if self._queue else self._continue(flows)

    def _talk(self) -> Talk:
        rng = self.rng
        vip, proto = self._anywhere()
        size = len(vip.address)
        address = rng.choice(PLAIN[size] if rng.random() < 0.7 else CLIENTS[size])
        port = rng.choice(CLIENT_PORTS) if rng.random() < 0.7 else rng.randrange(0x10000)
        client = Endpoint(address, rng.choice(BACKEND_PORTS) if address in BACKENDS else port)
        return Talk(rng, client, self._mac(), rng.choice(INDEXES), vip, proto)

    def _mac(self) -> bytes:
        """The MAC of a client, seldom that of a backend of the service for anything."""
        appliances = sorted(self.scene.appliances())
        if appliances and self.rng.random() < 0.1:
            return self.rng.choice(appliances)
        return b"\2" + self.rng.randbytes(5)

    def _anywhere(self) -> tuple[Endpoint, int]:
        """An end to dial: mostly a service; where anything is spread, any address."""
        rng = self.rng
        if self.scene.spread and rng.random() < 0.3:
            size = rng.choice(self.scene.sizes)
            return Endpoint(rng.choice(CLIENTS[size]), 443), rng.choice((*BOTH, *NUMBERS))
        return self.scene.any_end()

    def _continue(self, flows: Iterable[Flow]) -> Arrival:
        """The next packet of a conversation, from either side."""
        rng = self.rng
        talk = rng.choice(self._talks)
        from_client, flags = talk.next()
        if not from_client and talk.inside is not None:
            client, backend = talk.inside
            index = rng.choice(INDEXES)
            packet = self._packet(backend, client, talk.proto, b"\2backe", index)
            packet.flags = flags
            talk.number(packet, False)
            return self._arrival(packet, index)
        if rng.random() < 0.02:
            talk.mac, talk.index = b"\2" + rng.randbytes(5), rng.choice(INDEXES)
        packet = self._packet(talk.client, talk.vip, talk.proto, talk.mac, talk.index)
        packet.flags = flags
        talk.number(packet, True)
        self._asked = talk
        return self._arrival(packet, talk.index)

    def _packet(
        self, here: Endpoint, there: Endpoint, proto: int, mac: bytes, index: int
    ) -> Packet:
        """A packet with a load of any size, mostly small or about as long as a link permits."""
        rng = self.rng
        chance = rng.random()
        if chance < 0.6:
            size = rng.randrange(60)
        elif chance < (0.96 if max(self.scene.mtus) > LONGEST else 0.996):
            longest = min(rng.choice(self.scene.mtus) * rng.choice((1, 1, 1, 2, 3)), 2000)
            size = longest - rng.choice((20, 28, 40, 48, 60)) + rng.randint(-3, 9)
        else:
            longest = rng.choice((8000, 65_000, 65_515, 65_515, 65_516, 65_535, 65_536, 70_000))
            size = longest - HEADER[len(here.address)] - OVER_IP.get(proto, 0)
        packet = Packet(here, there, proto, self.scene.macs_to(index, mac))
        packet.load = strange.load(rng, max(0, size))
        if proto not in BOTH and rng.random() < 0.7:
            strange.other_load(rng, packet)
        if rng.random() < 0.5:
            packet.fragment = 0
            if rng.random() < 0.1:
                packet.ip_options = rng.choice(strange.IP_OPTIONS)
                packet.extensions = rng.choice(strange.EXTENSIONS)
        return packet

    def _arrival(self, packet: Packet, index: int) -> Arrival:
        """The arrival of a packet, perhaps with something odd about it."""
        rng, offload = self.rng, NO_OFFLOAD
        while rng.random() < self._oddity:
            strange.adorn(rng, packet)
        if rng.random() < self._oddity:
            offload = strange.offloaded(rng, packet)
        data = packet.build()
        if rng.random() < self._oddity / 4:
            offload = strange.any_offload(rng, len(data))
            if rng.random() < 0.3:
                data[-8:] = bytes(8)  # a sum over zeros
        while rng.random() < self._oddity / 4:
            data = strange.spoilt(rng, data)
        if rng.random() < self._oddity / 10:
            index = rng.choice((*INDEXES, NO_INDEX))
        return Arrival(self.now, index, bytes(data), offload)

    def _between_any_ends(self, flows: Iterable[Flow]) -> Arrival:
        """A packet from any end to any other: a service, a backend, an address of our own."""
        rng = self.rng
        ports = (*CLIENT_PORTS, *BACKEND_PORTS)
        vip, proto = self._anywhere()
        clients = CLIENTS[len(vip.address)]
        here = Endpoint(rng.choice(clients), rng.choice(ports))
        there = rng.choice((vip, Endpoint(rng.choice(clients), rng.choice(ports))))
        if rng.random() < 0.2:
            here, there = vip, here  # a backend that answers in the VIP's name
        if rng.random() < 0.1:
            proto = ICMPS[len(vip.address)]
        index = rng.choice(INDEXES)
        packet = self._packet(here, there, proto, self._mac(), index)
        packet.flags = rng.choice((SYN, ACK, *ODD_FLAGS))
        return self._arrival(packet, index)

    def _sent_again(self, flows: Iterable[Flow]) -> Step:
        """A frame that was sent on comes back or comes again, the same or slightly changed."""
        rng = self.rng
        if not self._sent:
            return self._continue(flows)
        step, left = rng.choice(self._sent)
        kind = rng.random()
        if kind < 0.3:
            return step._replace(now=self.now, port=rng.choice(INDEXES))
        if kind < 0.65:
            again = strange.aimed(rng, step.data, left)
            return step._replace(now=self.now, data=bytes(again))
        if kind < 0.75:
            return step._replace(now=self.now, data=bytes(strange.spoilt(rng, bytearray(left))))
        back = bytes(wire.mirrored(left))
        return step._replace(now=self.now, port=rng.choice(INDEXES), data=back)

    def _complain(self, flows: Iterable[Flow]) -> Step:
        """An ICMP error about a packet of a flow, or about any frame that was sent."""
        rng = self.rng
        index = rng.choice(INDEXES)
        macs = self.scene.macs_to(index, self._mac())
        flow = self._live_flow(flows)
        if flow is not None and rng.random() < 0.7:
            about = trouble.of_flow(rng, flow, self.scene.hops, macs)
        elif not self._sent or rng.random() < 0.3:
            vip, proto = self._anywhere()
            client = Endpoint(rng.choice(CLIENTS[len(vip.address)]), rng.choice(CLIENT_PORTS))
            about = trouble.plain(rng, vip, client, proto, macs)
        else:
            step, left = rng.choice(self._sent)
            about = rng.choice((left, left, step.data, bytes(wire.mirrored(step.data)),
                                bytes(wire.mirrored(left))))  # fmt: skip
        packet = trouble.complaint(rng, about, macs)
        return self._continue(flows) if packet is None else self._arrival(packet, index)

    def _live_flow(self, flows: Iterable[Flow]) -> Flow | None:
        """A flow that does not expire soon."""
        live = [each for each in islice(flows, 100) if self._end_of(each) > self.now]
        return self.rng.choice(live) if live else None

    def _end_of(self, flow: Flow) -> float:
        """The time at which a flow expires."""
        times = self.scene.limits.timeouts
        return flow.seen + {
            State.SYN_SENT: times.syn, State.SYN_RECEIVED: times.syn, State.CLOSED: times.fin,
            State.DATAGRAMS: times.udp,
        }.get(flow.state, times.tcp)  # fmt: skip

    def _in_parts(self, flows: Iterable[Flow]) -> Step:
        """A packet's fragments, one after the other or with others between them."""
        rng = self.rng
        packet = self._continue(flows)
        parts = trouble.parts(rng, packet.data, rng.choice((1, 2, 0xFFFF, rng.getrandbits(32))))
        for data in parts[:60]:
            if rng.random() < 0.02:
                self.now += rng.choice((15.0, 15.0 - EIGHTH))
                self._queue.append(Expiry(self.now, rng.choice((1, 1000))))
            odd = rng.random() < 0.03
            piece = bytes(strange.spoilt(rng, bytearray(data))) if odd else data
            port = rng.choice(INDEXES) if rng.random() < 0.05 else packet.port
            if rng.random() < 0.05:
                others = sorted(self.scene.appliances()) or [self._mac()]
                piece = self.scene.macs_to(port, rng.choice(others)) + piece[12:]
            odd = rng.random() < 0.03
            offload = strange.any_offload(rng, len(piece)) if odd else NO_OFFLOAD
            self._queue.append(Arrival(self.now, port, piece, offload))
            if rng.random() < 0.05:
                self._queue.append(self._continue(flows))
        return self._queue.popleft() if self._queue else packet

    def _at_the_last_moment(self, flows: Iterable[Flow]) -> Step:
        """A packet at the moment at which a flow expires, or just before or after it."""
        rng = self.rng
        flow = next(islice(flows, rng.randrange(8), None), None)
        if flow is None:
            return self._continue(flows)
        self.now = max(self.now, self._end_of(flow) + rng.choice((-EIGHTH, 0.0, 0.0, EIGHTH)))
        if rng.random() < 0.3:
            return Expiry(self.now, rng.choice((1, 2, 1000)))
        return self._of_flow(flow)

    def _of_flow(self, flow: Flow) -> Arrival:
        """A packet of a flow, from either side."""
        rng = self.rng
        key = flow.key if flow.reverse is None or rng.random() < 0.5 else flow.reverse
        index = rng.choice(INDEXES)
        packet = self._packet(source(key), destination(key), key[-1], b"\2later", index)
        packet.flags = rng.choice((SYN, ACK, ACK, *ODD_FLAGS))
        number(rng, packet, flow, key == flow.key)
        return self._arrival(packet, index)
