"""Traffic out of a seed: the surroundings, who talks, what is odd about it, and when.

It looks at what the reference did with a frame, as the machines around a balancer do: backends
answer what was sent to them, and some frames are timed by flows that are about to be forgotten.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate, islice
from random import Random
from typing import Final

from pktlb.datapath.flow import Flow
from pktlb.datapath.frame import NO_OFFLOAD
from pktlb.datapath.packet import destination, source
from pktlb.datapath.pipeline import Outcome
from pktlb.datapath.tcp import State
from pktlb.model import Endpoint, Proto, Reason, Verdict
from tests.differential import siege, strange, wire
from tests.differential.scene import BACKEND_PORTS, BACKENDS, EIGHTH, INDEXES, NO_INDEX, OWN, Scene
from tests.differential.step import Arrival, Expiry, Step, Swap
from tests.differential.talk import ODD_FLAGS, Talk
from tests.differential.wire import ACK, SYN, Packet
from tests.packets import packed

CLIENTS: Final = (
    *(packed(f"10.0.1.{host}") for host in (2, 3, 4, 5)),
    *(packed(address) for address in ("0.0.0.9", "127.0.0.1", "224.0.0.1", "255.255.255.255")),
    *BACKENDS,
    *OWN,
    *(packed(address) for address in ("10.0.2.9", "223.255.255.255", "198.51.100.7")),
)
CLIENT_PORTS: Final = (0, 1, 80, 1023, 1024, 4000, 4001, 5000, 5001, 5002, 40_000, 65535)
CLOCK_ROUND_S: Final = 4_294_967.25
"Nearly 2**32 milliseconds: about seven weeks."
WAITS: Final = (EIGHTH, EIGHTH, EIGHTH, 2 * EIGHTH, 1.0, 5.0, 10.0, 100.0)


class Traffic:
    """Step after step, without end."""

    def __init__(self, seed: int) -> None:
        self.rng: Final = Random(seed)
        self.scene: Final = Scene(self.rng)
        self.now = self.rng.choice((0.0, EIGHTH, CLOCK_ROUND_S - 4.0, 86_400.0 * 365))
        kinds: dict[Callable[[Iterable[Flow]], Step], int] = {
            self._continue: 600,
            self._begin: 60,
            self._at_the_last_moment: 60,
            self._sent_again: 120,
            self._between_anybody: 100,
            self._expire: 40,
            self._noise: 20,
            self._besiege: 2,
        }
        self._kinds, self._shares = list(kinds), list(accumulate(kinds.values()))
        self._waits = self.rng.choice(((EIGHTH,), WAITS[:4], WAITS))
        self._talks = [self._talk() for _ in range(self.rng.choice((2, 6, 20, 60)))]
        self._sent: deque[tuple[Arrival, bytes]] = deque(maxlen=32)
        "Frames that were sent on, as they came and as they left."
        self._asked: Talk | None = None
        self._queue: deque[Step] = deque()
        self._oddity = self.rng.choice((0.02, 0.15, 0.4))
        self._unrest = self.rng.choice((0.0, 0.003, 0.05))

    def next(self, flows: Iterable[Flow]) -> Step:
        """What happens now, given the flows that there are."""
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
        """Whether it is in the middle of something that makes sense as a whole."""
        return bool(self._queue)

    def learn(self, step: Step, outcome: Outcome | None) -> None:
        """See what was sent on."""
        if not isinstance(step, Arrival) or outcome is None or not outcome.frames:
            return
        if outcome.reason.verdict is not Verdict.SEND:
            return
        left = bytes(outcome.frames[0].data)
        if len(outcome.frames) == 1 and left[23] == step.data[23]:
            self._sent.append((step, left))
        if self._asked is not None and outcome.reason is not Reason.RETURNED:
            client, backend = wire.ends(left)
            self._asked.inside = client, backend

    def _begin(self, flows: Iterable[Flow]) -> Step:
        """Another conversation in place of one."""
        self._talks[self.rng.randrange(len(self._talks))] = self._talk()
        return self._continue(flows)

    def _expire(self, flows: Iterable[Flow]) -> Step:
        return Expiry(self.now, self.rng.choice((0, 1, 1, 2, 3, 1000)))

    def _noise(self, flows: Iterable[Flow]) -> Step:
        index = self.rng.choice((*INDEXES, NO_INDEX))
        data = bytes(strange.noise(self.rng))
        return Arrival(self.now, index, data, strange.any_offload(self.rng, len(data)))

    def _besiege(self, flows: Iterable[Flow]) -> Step:
        self._queue.extend(siege.steps(self._talk(), self.scene, self.now))
        self.now = max([self.now, *(s.now for s in self._queue if not isinstance(s, Swap))])
        return self._queue.popleft() if self._queue else self._continue(flows)

    def _talk(self) -> Talk:
        rng = self.rng
        plain = rng.random() < 0.7
        address = rng.choice(CLIENTS[:4] if plain else (*CLIENTS, *self.scene.machines))
        port = rng.choice(CLIENT_PORTS) if rng.random() < 0.7 else rng.randrange(0x10000)
        client = Endpoint(address, rng.choice(BACKEND_PORTS) if address in BACKENDS else port)
        mac = b"\2" + rng.randbytes(5)
        return Talk(rng, client, mac, rng.choice(INDEXES), *self.scene.any_vip())

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
            return self._arrival(packet, index)
        if rng.random() < 0.02:
            talk.mac, talk.index = b"\2" + rng.randbytes(5), rng.choice(INDEXES)
        packet = self._packet(talk.client, talk.vip, talk.proto, talk.mac, talk.index)
        packet.flags, packet.seq = flags, talk.seq
        self._asked = talk
        return self._arrival(packet, talk.index)

    def _packet(
        self, here: Endpoint, there: Endpoint, proto: Proto, mac: bytes, index: int
    ) -> Packet:
        """A packet with a load of any size, mostly small or about as long as a link permits."""
        rng = self.rng
        chance = rng.random()
        if chance < 0.6:
            size = rng.randrange(60)
        elif chance < 0.996:
            longest = min(rng.choice(self.scene.mtus) * rng.choice((1, 1, 1, 2, 3)), 2000)
            size = longest - rng.choice((20, 28, 40, 48, 60)) + rng.randint(-3, 9)
        else:
            size = rng.choice((8000, 65_000, 65_475, 65_515, 0xFFFF))
        packet = Packet(here, there, proto, self.scene.macs_to(index, mac))
        packet.load = strange.load(rng, max(0, size))
        if rng.random() < 0.5:
            packet.fragment = 0
            if rng.random() < 0.1:
                packet.ip_options = rng.choice(strange.IP_OPTIONS)
        return packet

    def _arrival(self, packet: Packet, index: int) -> Arrival:
        """As it comes in, with what is odd about it."""
        rng, offload = self.rng, NO_OFFLOAD
        while rng.random() < self._oddity:
            strange.adorn(rng, packet)
        if rng.random() < self._oddity:
            offload = strange.offloaded(rng, packet)
        data = packet.build()
        if rng.random() < self._oddity / 4:
            offload = strange.any_offload(rng, len(data))
            if rng.random() < 0.3:
                data[-8:] = bytes(8)  # a sum over nothing
        while rng.random() < self._oddity / 4:
            data = strange.spoilt(rng, data)
        if rng.random() < self._oddity / 10:
            index = rng.choice((*INDEXES, NO_INDEX))
        return Arrival(self.now, index, bytes(data), offload)

    def _between_anybody(self, flows: Iterable[Flow]) -> Arrival:
        """From any end to any other: a service, a backend, an address of our own."""
        rng = self.rng
        ports = (*CLIENT_PORTS, *BACKEND_PORTS)
        vip, proto = self.scene.any_vip()
        here = Endpoint(rng.choice(CLIENTS), rng.choice(ports))
        there = rng.choice((vip, Endpoint(rng.choice(CLIENTS), rng.choice(ports))))
        index = rng.choice(INDEXES)
        packet = self._packet(here, there, proto, b"\2anybo", index)
        packet.flags = rng.choice((SYN, ACK, *ODD_FLAGS))
        return self._arrival(packet, index)

    def _sent_again(self, flows: Iterable[Flow]) -> Step:
        """Something that was sent comes back, or comes again, the same or nearly so."""
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

    def _at_the_last_moment(self, flows: Iterable[Flow]) -> Step:
        """A flow is about to be forgotten, or has just been: who comes by at this moment?"""
        rng = self.rng
        flow = next(islice(flows, rng.randrange(8), None), None)
        if flow is None:
            return self._continue(flows)
        times = self.scene.limits.timeouts
        last = {
            State.SYN_SENT: times.syn, State.SYN_RECEIVED: times.syn, State.CLOSED: times.fin,
            State.DATAGRAMS: times.udp,
        }.get(flow.state, times.tcp)  # fmt: skip
        self.now = max(self.now, flow.seen + last + rng.choice((-EIGHTH, 0.0, 0.0, EIGHTH)))
        if rng.random() < 0.3:
            return Expiry(self.now, rng.choice((1, 2, 1000)))
        key = flow.key if flow.reverse is None or rng.random() < 0.5 else flow.reverse
        index = rng.choice(INDEXES)
        packet = self._packet(source(key), destination(key), Proto(key[-1]), b"\2later", index)
        packet.flags = rng.choice((SYN, ACK, ACK, *ODD_FLAGS))
        return self._arrival(packet, index)
