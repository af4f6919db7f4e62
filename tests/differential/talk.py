"""A conversation of a client with a service: plausible, with random deviations."""

from random import Random
from typing import Final

from pktlb.model import Endpoint, Proto
from tests.differential.wire import ACK, FIN, PSH, RST, SYN

CLIENT, BACKEND = True, False
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

    __slots__ = ("_left", "_rng", "client", "index", "inside", "mac", "proto", "seq", "vip")

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
