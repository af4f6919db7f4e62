"""For any bytes off a wire nothing is raised, and every frame ends in exactly one Reason."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

from pktlb.engine.datapath.frame import NO_OFFLOAD, Frame, Offload
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason, Scheduler, Verdict, Vip
from tests.support.gateway import ANY, TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.oracle import slow_checksum
from tests.support.packets import (
    DMZ,
    LAN,
    V6,
    WORLDS,
    Peer,
    Trouble,
    World,
    at,
    echo,
    fragmented,
    frame,
    gso,
    icmp_error,
    ip,
    packed,
    partial,
    tcp,
    udp,
    wrapped,
)
from tests.support.sound import ETHER

MTU = 600
BOTH = (Proto.TCP, Proto.UDP)
POOL = ["10.0.2.9", "2001:db8:2::9"]


def seeds_of(world: World) -> list[Frame]:
    """Valid frames of all kinds."""
    client, vip, inside, backend = world.client, world.vip(), world.inside, world.backend()
    router = Peer(world.address(7, 7), 0, "02:00:00:00:01:77")
    long = udp(client(), vip, bytes(400), df=False)
    error, about = Trouble.BIG, tcp(vip, client(), "A", b"data")
    outer = wrapped(backend, tcp(inside, at(vip, backend), "A", bytes(40)))
    return [
        frame(tcp(client(), vip, "S", tcp_options=[("MSS", 1460)])),
        frame(tcp(client(), vip, "FPA", bytes(700), df=False)),
        frame(tcp(client(), vip, "R")),
        frame(tcp(client(4001), vip, "S", bytes(90))),
        partial(tcp(client(), vip, "A", bytes(33))),
        gso(tcp(client(), vip, "A", bytes(4000), df=False), 500),
        gso(udp(client(), vip, bytes(4000)), 500),
        frame(udp(client(), vip, bytes(900), df=False)),
        frame(udp(client(), vip, b"unsummed", check=0)),
        frame(tcp(backend, inside, "SA")),
        frame(tcp(backend, inside, "FA", bytes(700))),
        frame(tcp(at(vip, backend), inside, "SA")),
        partial(udp(backend, inside, bytes(9))),
        frame(echo(client(), vip, b"ping")),
        frame(ip(client(), vip, bytes(30), proto=47)),
        frame(tcp(client(), world.client(9, world.address(8, 8)), "S")),
        frame(icmp_error(error, about, router, vip, 1300)),
        frame(icmp_error(error, tcp(inside, backend, "A"), router, inside, 1300, quoted=60)),
        frame(icmp_error(error, outer, router, world.gateway(DMZ), 1300)),
        *map(frame, fragmented(long, 160)),
        *map(frame, fragmented(udp(backend, inside, bytes(300), df=False), 160)),
    ]


SIX = tcp(V6.client(), V6.vip(), "S", extensions=[IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()])
SEEDS = [*(seed for world in WORLDS for seed in seeds_of(world)), frame(SIX)]


def each(mode: Mode, weights: dict[str, int] | None = None, **rest: Any) -> Tables:
    """Services of both protocols in both families."""
    pairs = [(world, proto) for world in WORLDS for proto in BOTH]
    return tables(
        *(service(mode, weights, at=w.vip(), proto=p, **rest) for w, p in pairs), mtu=MTU
    )  # fmt: skip


def whole(mode: Mode) -> Tables:
    """Services of whole addresses."""
    vips = [Vip(packed(world.vip().address)) for world in WORLDS]
    return tables(*(service(mode, at=vip, port=0, pick_up=True) for vip in vips), mtu=MTU)


MODES: dict[str, Tables] = {
    "nat": each(Mode.NAT),
    "snat": tables(
        *(service(Mode.NAT, at=w.vip(), proto=p) for w in WORLDS for p in BOTH),
        mtu=MTU, snat=POOL,
    ),
    "dsr": each(Mode.DSR),
    "tunnel": each(Mode.TUNNEL),
    "over IPv6": each(Mode.TUNNEL, world=V6),
    "single": each(Mode.NAT, one_packet=True),
    "none": each(Mode.NAT, {}),
    "all": whole(Mode.NAT),
    "all direct": whole(Mode.DSR),
    "any": tables(service(Mode.DSR, at=ANY, scheduler=Scheduler.HASH), mtu=MTU),
}  # fmt: skip

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
    """The frame with the right header checksum, so that it gets past the first check."""
    if data[12:13] == b"\x86":
        return data
    length = ETHER + (data[ETHER] & 15) * 4 if len(data) > ETHER else 0
    if ETHER + 12 <= length <= len(data):
        data[ETHER + 10 : ETHER + 12] = b"\0\0"
        check = slow_checksum(bytes(data[ETHER:length]))
        data[ETHER + 10 : ETHER + 12] = check.to_bytes(2, "big")
    return data


@st.composite
def spoilt(draw: st.DrawFn) -> Frame:
    """A valid frame with bytes changed, its end cut off, or an offload that is not its own."""
    seed = draw(st.sampled_from(SEEDS))
    data = bytearray(seed.data)
    changes = st.tuples(st.integers(0, 119), st.integers(0, 255))
    for place, value in draw(st.lists(changes, max_size=3)):
        data[place % len(data)] = value
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    if draw(st.booleans()):
        data = mended(data)
    offload = draw(st.just(seed.offload) | offloads)
    return Frame(draw(st.sampled_from([LAN, DMZ, 9])), data, offload)


noise = st.builds(Frame, st.just(LAN), st.binary(max_size=120).map(bytearray), offloads)
near_noise = st.builds(
    lambda head, rest, offload: Frame(LAN, mended(bytearray(bytes(12) + head + rest)), offload),
    st.sampled_from([b"\x08\0\x45", b"\x86\xdd\x60"]),
    st.binary(min_size=19, max_size=140),
    offloads,
)
intact = st.sampled_from(SEEDS)


@given(
    mode=st.sampled_from(sorted(MODES)),
    frames=st.lists(intact | spoilt() | noise | near_noise, min_size=1, max_size=12),
    steps=st.lists(st.floats(0, 60), min_size=12, max_size=12),
    room=st.integers(1, 4),
)
def test_no_frame_raises_and_each_has_one_reason(
    engine: MakePlane, mode: str, frames: list[Frame], steps: list[float], room: int
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
            assert all(sent in frames[:number] for sent in outcome.frames)
    plane.expire(now + 1000)
    assert len(plane.flows) == 0


@given(
    mode=st.sampled_from(sorted(MODES)),
    frames=st.lists(st.tuples(intact, st.sampled_from([LAN, DMZ])), min_size=1, max_size=20),
    steps=st.lists(st.sampled_from([0.0, 0.0, 0.25, 5.0, 20.0]), min_size=20, max_size=20),
    room=st.integers(1, 4) | st.just(100),
)
def test_a_sound_packet_is_sent_on_sound(
    engine: MakePlane, mode: str, frames: list[tuple[Frame, int]], steps: list[float], room: int
) -> None:
    """Frames of any kind in any order: `Gateway` checks each frame that leaves."""
    limits = {"max_flows": room, "source_ports": range(5000, 5002)}
    gateway = Gateway(engine, MODES[mode], **limits)
    now = 0.0
    for (arrived, port), step in zip(frames, steps, strict=False):
        now += step
        gateway.plane.expire(now - 1, 1)
        gateway.receive(Frame(port, arrived.data, arrived.offload), now)
        assert gateway.plane.counts[Reason.HELD] >= 0


def fits(sent: Frame, reason: Reason) -> bool:
    """Whether a frame towards the backends fits their link."""
    towards = reason in (Reason.OPENED, Reason.FORWARDED)
    return not towards or bool(sent.offload.gso_type) or len(sent.data) - ETHER <= MTU


@given(data=st.binary(max_size=200), offload=offloads)
def test_bytes_that_are_no_packet_are_not_ours(
    engine: MakePlane, data: bytes, offload: Offload
) -> None:
    plane = engine(MODES["nat"], Limits())
    outcome = plane.handle(Frame(LAN, bytearray(data), offload), 0.0)
    assert outcome.reason.verdict in (Verdict.PASS, Verdict.DROP)
    assert not outcome.frames
