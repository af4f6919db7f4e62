"""A real connection is never taken for a forged one, and no blind guess changes what is known."""

from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.packet import View, parse
from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.datapath.tcp import State
from pktlb.engine.datapath.track import Fit, read
from pktlb.model import Mode, Proto
from tests.differential.wire import ACK, FIN, PSH, SYN, Packet
from tests.support.gateway import MakePlane, service, tables
from tests.support.packets import DMZ, GATEWAY_MAC, LAN, V4, frame, mac_bytes
from tests.support.talk import Talk

ROUND = 1 << 32
TABLES = tables(service(Mode.NAT))
LARGEST = 1400


class End:
    """One end of a connection: it sends a number of bytes, acknowledges what comes, and sends
    again what was lost. Bytes are counted from its SYN, which is number 0."""

    def __init__(self, rng: Random, size: int) -> None:
        self.rng = rng
        self.start = rng.choice((0, rng.randrange(ROUND), ROUND - rng.randrange(1, 5000)))
        self.scale = rng.choice((0, 2, 7, 14))
        self.size = size
        self.buffer = rng.choice((3000, 60_000, 200_000))
        "What it offers as its window, at most."
        self.next = self.acked = 0
        "The byte behind the last one that was sent, and the first that the other may lack."
        self.ends: dict[int, int] = {}
        self.expected = 0
        self.room = 0

    def segment(self, at: int, length: int, flags: int) -> tuple[int, int, int, int, int]:
        window = min(0xFFFF, self.buffer if flags & SYN else self.buffer >> self.scale)
        if not flags & SYN and self.rng.random() < 0.05:
            window = 0
        return at, length, flags | (ACK if self.expected else 0), self.expected, window

    def sends(self) -> tuple[int, int, int, int, int] | None:
        """Its next segment: number, length, flags, acknowledged, window."""
        chance = self.rng.random()
        if not self.acked:
            self.next = max(self.next, 1)
            return self.segment(0, 0, SYN)
        last = 1 + self.size
        if chance < 0.1:
            return self.segment(self.next, 0, 0)
        if chance < 0.13:
            return self.segment(self.acked - 1, 0, 0)  # keep-alive
        at = self.acked if chance < 0.35 else self.next
        if at >= last:
            self.next = last + 1
            return self.segment(last, 0, FIN)
        if at - self.acked >= self.room:
            return self.segment(self.next, 0, 0)
        # Segments begin at multiples of one size: what is sent again has the same bounds.
        length = min(LARGEST - (at - 1) % LARGEST, last - at)
        self.next = max(self.next, at + length)
        return self.segment(at, length, PSH)

    def hears(self, heard: tuple[int, int, int, int, int], scale: int) -> None:
        at, length, flags, acknowledged, window = heard
        self.room = window << (0 if flags & SYN else scale)
        if flags & ACK and acknowledged > self.acked:
            self.acked = acknowledged
        end = at + length + bool(flags & SYN) + bool(flags & FIN)
        if end > at:
            self.ends[at] = max(end, self.ends.get(at, 0))
        while self.expected in self.ends:
            self.expected = self.ends[self.expected]


def packet(
    said: tuple[int, int, int, int, int], here: End, there: End, from_client: bool
) -> Frame:  # fmt: skip
    at, length, flags, acknowledged, window = said
    c, v, b = V4.client(), V4.vip(), V4.backend()
    inside = V4.inside
    source, target = (c, v) if from_client else (b, inside)
    port = LAN if from_client else DMZ
    macs = mac_bytes(GATEWAY_MAC[port]) + mac_bytes(source.mac)
    made = Packet(source.endpoint, target.endpoint, int(Proto.TCP), macs, flags, bytes(length))
    made.seq, made.ack = (here.start + at) % ROUND, (there.start + acknowledged) % ROUND
    made.window = window
    if flags & SYN:
        made.tcp_options = bytes((1, 3, 3, here.scale))
    return Frame(port, made.build())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 5000, 400_000]))
def test_a_real_connection_always_fits(engine: MakePlane, seed: int, size: int) -> None:
    rng = Random(seed)
    plane, reference = engine(TABLES, Limits()), Dataplane(TABLES, Limits())
    ends = {True: End(rng, rng.choice((0, 10, size))), False: End(rng, size)}
    loss = rng.choice((0.0, 0.02, 0.2))
    flight: list[tuple[bool, tuple[int, int, int, int, int]]] = []
    passed = {True: False, False: False}
    for _ in range(1500):
        from_client = rng.random() < 0.5
        said = ends[from_client].sends() if from_client or ends[False].expected else None
        if said is not None and len(flight) < 30:
            flight.append((from_client, said))
        if not flight:
            continue
        way, said = flight.pop(rng.randrange(min(len(flight), rng.choice((1, 1, 8)))))
        if rng.random() < loss:
            continue
        made = packet(said, ends[way], ends[not way], way)
        for flow in reference.flows:
            view = parse(made.data)
            assert isinstance(view, View)
            segment = read(made, view)
            if flow.track.proven and segment.flags & ACK:
                assert flow.track.fit(segment, way, True) is Fit.FITS, (said, way)
        for each in (plane, reference):
            each.handle(Frame(made.port, bytearray(made.data)), 0.0)
        passed[way] |= bool(said[2] & FIN)
        if rng.random() >= loss:
            ends[not way].hears(said, ends[way].scale)
    found = [(State(f.state), f.numbers) for f in plane.flows]
    assert found == [(f.state, f.numbers) for f in reference.flows]
    if all(passed.values()):
        assert found[0][0] is State.CLOSED


FORGERIES = st.tuples(
    st.booleans(),
    st.sampled_from(["R", "RA", "S", "SA", "FA", "A", "PA", "F", "SF", ""]),
    st.integers(1 << 28, ROUND - (1 << 28)),
    st.integers(1 << 28, ROUND - (1 << 28)),
    st.sampled_from([0, 1, 1000]),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(Mode)), st.lists(FORGERIES, min_size=1, max_size=40), st.booleans())
def test_no_blind_guess_changes_what_is_known(
    engine: MakePlane, mode: Mode, forgeries: list[tuple[bool, str, int, int, int]], data: bool
) -> None:
    talk = Talk(engine, mode)
    talk.open()
    if data:
        talk.take(talk.client("PA", 1, 1, 500))
    before = talk.memory
    for from_client, flags, seq, ack, size in forgeries:
        side: Callable[..., object] = talk.client if from_client else talk.backend
        forged = side(
            flags, seq, ack, size, **({"mac": "02:66:66:66:66:66"} if from_client else {})
        )
        talk.gateway.receive(frame(forged), 1.0)
        assert talk.memory == before
