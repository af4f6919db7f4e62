"""Whatever comes off a wire, nothing is raised and every frame ends in exactly one Reason."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from pktlb.datapath.frame import NO_OFFLOAD, Frame, Offload
from pktlb.datapath.pipeline import Limits
from pktlb.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason, Verdict
from tests.gateway import TIMEOUTS, Engine, service, tables
from tests.oracle import slow_checksum
from tests.packets import DMZ, ETHER, LAN, backend, client, frame, gso, partial, tcp, udp, via, vip

MTU = 600
INSIDE = via(DMZ, client())
BOTH = (Proto.TCP, Proto.UDP)


@cache
def seeds() -> list[Frame]:
    """Valid frames of all kinds, to be spoilt."""
    return [
        frame(tcp(client(), vip(), "S", tcp_options=[("MSS", 1460)])),
        frame(tcp(client(), vip(), "FPA", bytes(700), df=False)),
        frame(tcp(client(), vip(), "R")),
        frame(tcp(client(4001), vip(), "S", bytes(90))),
        partial(tcp(client(), vip(), "A", bytes(33))),
        gso(tcp(client(), vip(), "A", bytes(4000), df=False), 500),
        gso(udp(client(), vip(), bytes(4000)), 500),
        frame(udp(client(), vip(), bytes(900), df=False)),
        frame(udp(client(), vip(), b"unsummed", check=0)),
        frame(tcp(backend(), INSIDE, "SA")),
        frame(tcp(backend(), INSIDE, "FA", bytes(700))),
        partial(udp(backend(), INSIDE, bytes(9))),
    ]


MODES: dict[str, Tables] = {
    "nat": tables(*(service(Mode.NAT, proto=p) for p in BOTH), mtu=MTU),
    "snat": tables(*(service(Mode.NAT, proto=p) for p in BOTH), mtu=MTU, snat=["10.0.2.9"]),
    "dsr": tables(*(service(Mode.DSR, proto=p) for p in BOTH), mtu=MTU),
    "tunnel": tables(*(service(Mode.TUNNEL, proto=p) for p in BOTH), mtu=MTU),
    "none": tables(*(service(Mode.NAT, {}, proto=p) for p in BOTH), mtu=MTU),
}

words = st.integers(0, 65535)
offloads = st.just(NO_OFFLOAD) | st.builds(
    Offload,
    st.sampled_from([0, 1, 2, 3, 255]),
    st.sampled_from([0, 1, 3, 4, 5, 0x80, 0x81, 255]),
    words,
    st.sampled_from([0, 1, 7, 500, 1448, 65535]),
    st.sampled_from([0, 12, 33, 34, 38, 64]) | words,
    st.sampled_from([0, 6, 16]) | words,
)


def mended(data: bytearray) -> bytearray:
    """The header checksum made right, so that more than the first check is reached."""
    length = ETHER + (data[ETHER] & 15) * 4 if len(data) > ETHER else 0
    if ETHER + 12 <= length <= len(data):
        data[ETHER + 10 : ETHER + 12] = b"\0\0"
        check = slow_checksum(bytes(data[ETHER:length]))
        data[ETHER + 10 : ETHER + 12] = check.to_bytes(2, "big")
    return data


@st.composite
def spoilt(draw: st.DrawFn) -> Frame:
    """A valid frame with bytes changed, its end cut off, or an offload that is not its own."""
    seed = draw(st.sampled_from(seeds()))
    data = bytearray(seed.data)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 79), st.integers(0, 255)), max_size=3)):
        data[at % len(data)] = value
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    if draw(st.booleans()):
        data = mended(data)
    offload = draw(st.just(seed.offload) | offloads)
    return Frame(draw(st.sampled_from([LAN, DMZ, 9])), data, offload)


noise = st.builds(Frame, st.just(LAN), st.binary(max_size=120).map(bytearray), offloads)
near_noise = st.builds(
    lambda rest, offload: Frame(LAN, mended(bytearray(bytes(12) + b"\x08\0\x45" + rest)), offload),
    st.binary(min_size=19, max_size=100),
    offloads,
)
intact = st.integers(0, 11).map(lambda place: seeds()[place])


@given(
    mode=st.sampled_from(sorted(MODES)),
    frames=st.lists(intact | spoilt() | noise | near_noise, min_size=1, max_size=12),
    steps=st.lists(st.floats(0, 60), min_size=12, max_size=12),
    room=st.integers(1, 4),
)
def test_nothing_raises_and_each_frame_has_one_reason(
    engine: Engine, mode: str, frames: list[Frame], steps: list[float], room: int
) -> None:
    plane = engine(MODES[mode], Limits(room, TIMEOUTS, range(5000, 5002)))
    now = 0.0
    for number, (arrived, step) in enumerate(zip(frames, steps, strict=False), 1):
        now += step
        copy = Frame(arrived.port, bytearray(arrived.data), arrived.offload)
        outcome = plane.handle(copy, now)
        assert isinstance(outcome.reason, Reason)
        assert sum(plane.counts.values()) == number
        assert len(plane.flows) <= room
        if outcome.reason.verdict in (Verdict.SEND, Verdict.ANSWER):
            for sent in outcome.frames:
                assert sent.offload.gso_type or len(sent.data) - ETHER <= 1500
                assert sent.port != DMZ or mode == "none" or fits(sent, outcome.reason)
        if outcome.reason.verdict is Verdict.PASS:
            assert list(outcome.frames) in ([], [arrived])
    plane.expire(now + 1000)
    assert len(plane.flows) == 0


def fits(sent: Frame, reason: Reason) -> bool:
    """Whether a frame towards the backends fits their link, whatever it was before."""
    towards = reason in (Reason.OPENED, Reason.FORWARDED)
    return not towards or bool(sent.offload.gso_type) or len(sent.data) - ETHER <= MTU


@given(data=st.binary(max_size=200), offload=offloads)
def test_bytes_that_are_no_packet_are_no_business_of_ours(
    engine: Engine, data: bytes, offload: Offload
) -> None:
    plane = engine(MODES["nat"], Limits())
    outcome = plane.handle(Frame(LAN, bytearray(data), offload), 0.0)
    assert outcome.reason.verdict in (Verdict.PASS, Verdict.DROP)
    assert not outcome.frames
