"""Any packet in any mode becomes what the same packet is between other ends, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP

from pktlb.datapath.frame import Frame
from pktlb.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.gateway import Engine, Gateway, service, tables
from tests.oracle import slow_reassembly
from tests.packets import (
    DMZ,
    ETHER,
    Peer,
    at,
    backend,
    client,
    completed,
    frame,
    parsed,
    via,
    vip,
)
from tests.property.specs import Spec, clients, specs

POOL = "10.0.2.9"
STAND_IN = via(DMZ, client(5000, POOL))


def laid_out(mode: Mode, mtu: int = 1500, snat: bool = False) -> Tables:
    both = [service(mode, proto=proto) for proto in (Proto.TCP, Proto.UDP)]
    return tables(*both, mtu=mtu, snat=[POOL] if snat else [])


def whole_packet(frames: list[Frame], mode: Mode) -> bytes:
    """The IPv4 packet that arrives at the backend: reassembled and unwrapped."""
    outer: dict[int, list[bytes]] = {}
    for sent in frames:
        data = bytes(completed(sent).data[ETHER:])
        outer.setdefault(int.from_bytes(data[4:6], "big"), []).append(data)
    packets = [slow_reassembly(pieces) for pieces in outer.values()]
    if mode is Mode.TUNNEL:
        packets = [packet[20:] for packet in packets]
    (packet,) = packets
    return packet


@given(
    spec=specs(),
    who=clients(),
    mode=st.sampled_from(Mode),
    snat=st.booleans(),
    mtu=st.integers(68, 2100) | st.just(9000),
)
def test_any_packet_reaches_the_backend_whole_or_its_sender_hears_of_it(
    engine: Engine, spec: Spec, who: Peer, mode: Mode, snat: bool, mtu: int
) -> None:
    gateway = Gateway(engine, laid_out(mode, mtu, snat), source_ports=[5000])
    given_frame = spec.frame(who, vip())
    outcome = gateway.receive(given_frame)
    room = mtu - 20 if mode is Mode.TUNNEL else mtu
    if spec.size() > room and spec.df:
        assert outcome.reason is Reason.TOO_BIG
        (answer,) = outcome.frames
        error = parsed(answer)["ICMP"]
        assert (error.type, error.code, error.nexthopmtu) == (3, 4, room)
        assert given_frame.data[ETHER:].startswith(bytes(error.payload))
        return
    assert outcome.reason is Reason.OPENED
    assert all(len(sent.data) - ETHER <= mtu for sent in outcome.frames)
    assert all(sent.data[:12] == frame_macs() for sent in outcome.frames)
    source = STAND_IN if snat and mode is Mode.NAT else via(DMZ, who)
    target = backend() if mode is Mode.NAT else at(vip(), backend())
    expected = spec.build(source, target, ttl=spec.ttl - 1)
    assert whole_packet(list(outcome.frames), mode) == bytes(expected[IP])


def frame_macs() -> bytes:
    """The MACs of a frame from the balancer to the backend."""
    return bytes(frame(Spec(Proto.UDP, b"").build(via(DMZ, client()), backend())).data[:12])


@given(spec=specs(), who=clients(), snat=st.booleans())
def test_there_and_back_through_nat_is_the_identity(
    engine: Engine, spec: Spec, who: Peer, snat: bool
) -> None:
    """The backend sends back what it got, with the ends exchanged."""
    gateway = Gateway(engine, laid_out(Mode.NAT, 9000, snat), source_ports=[5000])
    packet = Spec(**{**vars(spec), "ttl": max(spec.ttl, 3)})
    (forth,) = gateway.receive(packet.frame(who, vip())).frames
    outcome = gateway.receive(mirrored(forth))
    if packet.df and packet.size() > 1500:
        assert outcome.reason is Reason.TOO_BIG
        return
    assert outcome.reason is Reason.RETURNED
    expected = packet.build(vip(), who, ttl=packet.ttl - 2)
    if packet.size() > 1500:
        assert whole_packet(list(outcome.frames), Mode.NAT) == bytes(expected[IP])
        return
    (back,) = outcome.frames
    assert back == Spec(**{**vars(packet), "padding": 0}).frame(vip(), who, packet.ttl - 2)


def mirrored(given: Frame) -> Frame:
    """A frame with MACs, addresses and ports exchanged, which no checksum notices."""
    data = bytearray(given.data)
    data[0:12] = data[6:12] + data[0:6]
    data[26:34] = data[30:34] + data[26:30]
    at = ETHER + (data[ETHER] & 15) * 4
    data[at : at + 4] = data[at + 2 : at + 4] + data[at : at + 2]
    return Frame(given.port, data, given.offload)
