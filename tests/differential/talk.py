"""A conversation of a client with a service: plausible, with random deviations."""

from random import Random
from typing import Final

from pktlb.engine.datapath.flow import Flow
from pktlb.model import Endpoint, Proto
from tests.differential.wire import ACK, FIN, PSH, RST, SYN, Packet

CLIENT, BACKEND = True, False
WRAP: Final = 1 << 32
SA, PA, FA, RA = SYN | ACK, PSH | ACK, FIN | ACK, RST | ACK
_OPEN: Final = [(CLIENT, SYN), (BACKEND, SA), (CLIENT, ACK), (CLIENT, PA), (BACKEND, PA)]
LIVES: Final = (
    [*_OPEN, (CLIENT, FA), (BACKEND, ACK), (BACKEND, FA), (CLIENT, ACK)],
    [*_OPEN, (BACKEND, FA), (CLIENT, ACK), (CLIENT, FA), (BACKEND, ACK)],
    [*_OPEN, (BACKEND, ACK), (CLIENT, PA), (BACKEND, FA), (CLIENT, PA), (BACKEND, RST)],
    [*_OPEN, (CLIENT, RST), (BACKEND, ACK)],
    [*_OPEN, (CLIENT, FIN | PSH | ACK), (BACKEND, FIN | PSH | ACK), (CLIENT, RA)],
    [(CLIENT, SYN), (CLIENT, SYN), (BACKEND, SA), (BACKEND, SA), (CLIENT, ACK), (CLIENT, ACK)],
    [(CLIENT, SYN), (BACKEND, RA)],
    [(CLIENT, SYN), (BACKEND, SA), (CLIENT, RST)],
    [(CLIENT, SYN), (BACKEND, SA), (BACKEND, RST)],
    [(CLIENT, SYN), (CLIENT, ACK), (CLIENT, FA), (CLIENT, ACK)],
    [(CLIENT, SYN), (BACKEND, FA), (BACKEND, SA), (CLIENT, ACK), (CLIENT, FIN)],
    [(CLIENT, SYN), (BACKEND, SA), (BACKEND, FA), (CLIENT, ACK), (CLIENT, FA)],
    [(CLIENT, SYN), (BACKEND, SA), (CLIENT, FA), (BACKEND, RST)],
    [(CLIENT, SYN), (CLIENT, FA), (BACKEND, SA), (CLIENT, RST)],
    [(CLIENT, ACK), (CLIENT, SYN), (BACKEND, SA)],
)  # fmt: skip
"The side that sends and its flags, up to every state of a connection."
ODD_FLAGS: Final = (0, SYN, SA, ACK, PA, FIN, FA, RST, RA, SYN | FIN, SYN | RST, SYN | PSH, 0xFF)
OPENERS: Final = (SYN, SYN | PSH, SYN | 0x40, SYN | 0x80 | 0x40, SYN | 0x20)
DATAGRAMS: Final = [(CLIENT, 0), (BACKEND, 0), (CLIENT, 0), (CLIENT, 0), (BACKEND, 0)]


class Talk:
    """Both ends, and the client's end as the backend sees it."""

    __slots__ = (
        "_left",
        "_rng",
        "client",
        "index",
        "inside",
        "mac",
        "proto",
        "seq",
        "there",
        "vip",
    )

    def __init__(
        self, rng: Random, client: Endpoint, mac: bytes, index: int, vip: Endpoint, proto: int
    ) -> None:
        self._rng = rng
        self.client = client
        self.mac = mac
        self.index = index
        "The port that the client's frames come in at."
        self.vip = vip
        self.proto = proto
        self.seq = rng.choice((1, 1000, 0xFFFFFF00))
        "The first sequence number of the client; `there`: of the backend."
        self.there = rng.choice((1, 70_000, 0xFFFFFFFF, 1 << 31))
        self.inside: tuple[Endpoint, Endpoint] | None = None
        "The client as the backend sees it, and the backend; learnt from a frame that was sent."
        self._left: list[tuple[bool, int]] = []

    def next(self) -> tuple[bool, int]:
        """The side that sends next (true: the client) and its flags. At the end it begins anew, so
        that ports are used again."""
        rng = self._rng
        if self.proto != Proto.TCP:
            return rng.choice(DATAGRAMS)
        if rng.random() < 0.06:
            return rng.random() < 0.5, rng.choice(ODD_FLAGS)
        if not self._left:
            self._left = list(reversed(rng.choice(LIVES)))
        who, flags = self._left.pop()
        if rng.random() < 0.1:
            return self.next()  # lost on the way
        return who, rng.choice(OPENERS) if flags == SYN and rng.random() < 0.2 else flags

    def number(self, packet: Packet, from_client: bool) -> None:
        """Give a packet the numbers of a connection in which nothing has gone on since, or others
        near them."""
        rng = self._rng
        here, there = (self.seq, self.there) if from_client else (self.there, self.seq)
        opens = bool(packet.flags & SYN)
        packet.seq, packet.ack = (here + (not opens)) % WRAP, (there + 1) % WRAP
        if packet.flags & RST and not packet.flags & ACK:
            packet.ack = 0
        if opens and rng.random() < 0.7:
            packet.tcp_options += bytes((2, 4, 5, 180, 1, 3, 3, rng.choice((0, 2, 7, 14, 15))))
        packet.window = rng.choice((0, 1, 512, 0xFFFF))
        if rng.random() < 0.2:
            off = rng.choice((-65_537, -1, 1, 60, 65_536, 1 << 23, 1 << 31))
            packet.seq = (packet.seq + off) % WRAP
        if rng.random() < 0.1:
            packet.ack = (packet.ack + rng.choice((-65_537, -1, 1, 60, 65_536))) % WRAP


def number(rng: Random, packet: Packet, flow: Flow, from_client: bool) -> None:
    """Give a packet the numbers that its flow expects, or such at the bounds of what fits."""
    track = flow.track
    here, there = (track.client, track.backend)[:: 1 if from_client else -1]
    seq, ack = rng.choice((here.next, there.acked)), rng.choice((there.next, here.acked))
    chance = rng.random()
    if chance < 0.25:
        ends = here.next + there.window, there.acked - there.window, here.next - there.window
        seq = rng.choice(ends) + rng.choice((-1, 0, 1))
    elif chance < 0.5:
        ends = here.acked - here.window, here.acked + here.window, there.next - here.window
        ack = rng.choice((*ends, there.next)) + rng.choice((-1, 0, 1))
    elif chance < 0.6:
        seq += rng.choice((-1, 1))
    elif chance < 0.7:
        seq, ack = rng.randrange(WRAP), rng.randrange(WRAP)
    packet.seq, packet.ack = seq % WRAP, ack % WRAP
    packet.window = rng.choice((0, 1, 512, 0xFFFF))
    if packet.flags & SYN and rng.random() < 0.5:
        packet.tcp_options += b"\3\3\7\0"
