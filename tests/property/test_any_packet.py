"""Any packet in any mode becomes what the same packet is between other ends, and nothing else."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.property.specs import Spec, specs_and_clients
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.oracle import slow_reassembly
from tests.support.packets import (
    DMZ,
    V4,
    WORLDS,
    Peer,
    World,
    at,
    completed,
    frame,
    ip_bytes,
    parsed,
    udp,
    via,
)
from tests.support.sound import ETHER, layout

POOL = {4: "10.0.2.9", 6: "2001:db8:2::9"}
outers = st.sampled_from(WORLDS)


def laid_out(
    mode: Mode, world: World, mtu: int = 1500, snat: bool = False, outer: World = V4
) -> Tables:
    behind = outer if mode is Mode.TUNNEL else None
    both = [service(mode, at=world.vip(), proto=p, world=behind) for p in (Proto.TCP, Proto.UDP)]
    return tables(*both, mtu=mtu, snat=[POOL[world.family]] if snat else [])


def stand_in(world: World) -> Peer:
    return via(DMZ, world.client(5000, POOL[world.family]))


def whole_packet(frames: list[Frame], mode: Mode) -> bytes:
    """The IP packet that arrives at the backend: reassembled and unwrapped."""
    outer: dict[bytes, list[bytes]] = {}
    for sent in frames:
        data = bytes(completed(sent).data[ETHER:])
        there = layout(data)
        four = data[0] >> 4 == 4
        ident = data[4:6] if four else data[there.cut - 4 : there.cut] if there.cut else b""
        outer.setdefault(ident, []).append(data)
    packets = [slow_reassembly(pieces) for pieces in outer.values()]
    if mode is Mode.TUNNEL:
        packets = [packet[layout(packet).transport :] for packet in packets]
    (packet,) = packets
    return packet


@given(
    both=specs_and_clients(),
    mode=st.sampled_from(Mode),
    snat=st.booleans(),
    outer=outers,
    mtu=st.integers(68, 2100) | st.just(9000) | st.integers(1280, 1400),
)
def test_any_packet_reaches_the_backend_whole_or_its_sender_gets_an_error(
    engine: MakePlane, both: tuple[Spec, Peer], mode: Mode, snat: bool, outer: World, mtu: int
) -> None:
    spec, who = both
    world = spec.world
    far = outer if mode is Mode.TUNNEL else world
    mtu = mtu if far is V4 else max(mtu, 1280)  # the least MTU of IPv6
    gateway = Gateway(engine, laid_out(mode, world, mtu, snat, outer), source_ports=[5000])
    given_frame = spec.frame(who, world.vip())
    outcome = gateway.receive(given_frame)
    room = mtu - far.size if mode is Mode.TUNNEL else mtu
    if mode is Mode.TUNNEL and world is not V4:
        room = max(room, 1280)
    if spec.size() > room and spec.whole:
        check_error(outcome.reason, list(outcome.frames), given_frame, world, room)
        return
    assert outcome.reason is Reason.OPENED
    assert all(len(sent.data) - ETHER <= mtu for sent in outcome.frames)
    assert all(sent.data[:12] == frame_macs(far) for sent in outcome.frames)
    source = stand_in(world) if snat and mode is Mode.NAT else via(DMZ, who)
    target = world.backend() if mode is Mode.NAT else at(world.vip(), world.backend())
    expected = spec.build(source, target, ttl=spec.ttl - 1)
    assert whole_packet(list(outcome.frames), mode) == ip_bytes(expected)


def check_error(
    reason: Reason, frames: list[Frame], arrived: Frame, world: World, room: int
) -> None:
    """Check the error "too big": it has the size that fits and quotes the packet."""
    assert reason is Reason.TOO_BIG
    (sent,) = frames
    error = parsed(sent).payload.payload
    if world is V4:
        assert (error.type, error.code, error.nexthopmtu) == (3, 4, room)
    else:
        assert (error.type, error.code, error.mtu) == (2, 0, room)
    quoted = bytes(sent.data[ETHER + world.size + 8 :])
    assert len(quoted) >= world.size + 8
    assert arrived.data[ETHER:].startswith(quoted)


def frame_macs(world: World) -> bytes:
    """The MACs of a frame from the balancer to the backend."""
    return bytes(frame(udp(world.inside, world.backend())).data[:12])


@given(both=specs_and_clients(), snat=st.booleans())
def test_there_and_back_through_nat_is_the_identity(
    engine: MakePlane, both: tuple[Spec, Peer], snat: bool
) -> None:
    """The backend sends back what it got, with the ends exchanged."""
    spec, who = both
    vip = spec.world.vip()
    given_tables = laid_out(Mode.NAT, spec.world, 9000, snat)
    gateway = Gateway(engine, given_tables, source_ports=[5000])
    packet = replace(spec, ttl=max(spec.ttl, 3))
    (forth,) = gateway.receive(packet.frame(who, vip)).frames
    outcome = gateway.receive(mirrored(forth))
    if packet.whole and packet.size() > 1500:
        assert outcome.reason is Reason.TOO_BIG
        return
    assert outcome.reason is Reason.RETURNED
    expected = packet.build(vip, who, ttl=packet.ttl - 2)
    if packet.size() > 1500:
        assert whole_packet(list(outcome.frames), Mode.NAT) == ip_bytes(expected)
        return
    (back,) = outcome.frames
    assert back == replace(packet, padding=0).frame(vip, who, packet.ttl - 2)


def mirrored(given: Frame) -> Frame:
    """A frame with MACs, addresses and ports exchanged, which leaves all checksums right."""
    data = bytearray(given.data)
    data[0:12] = data[6:12] + data[0:6]
    size, ends = (4, 26) if data[12] == 8 else (16, 22)
    data[ends : ends + 2 * size] = data[ends + size : ends + 2 * size] + data[ends : ends + size]
    ports = ETHER + layout(bytes(data[ETHER:])).transport
    data[ports : ports + 4] = data[ports + 2 : ports + 4] + data[ports : ports + 2]
    return Frame(given.port, data, given.offload)
