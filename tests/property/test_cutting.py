"""Segments of long frames and fragments of packets can be put together again."""

from dataclasses import replace
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP

from pktlb.engine.datapath.fragment import fragments
from pktlb.engine.datapath.packet import View, parse
from pktlb.engine.datapath.segment import segments
from pktlb.model import Proto
from tests.property.specs import Spec, specs
from tests.support.oracle import slow_reassembly
from tests.support.packets import (
    V4,
    V6,
    WORLDS,
    Packet,
    World,
    fragmented,
    frame,
    gso,
    ip_bytes,
    parsed,
    udp,
    wrapped,
)
from tests.support.sound import ETHER, assert_sound, layout

long_loads = st.builds(
    lambda seed, size: (seed * (size // len(seed) + 1))[:size],
    st.binary(min_size=1, max_size=7),
    st.integers(1, 60000),
)
only_v4 = specs((V4,))


def built(spec: Spec) -> Packet:
    return spec.build(spec.world.client(), spec.world.vip())


def transport(packet: Packet) -> Packet:
    """The TCP or UDP header, as scapy reads it."""
    return packet["TCP"] if TCP in packet else packet["UDP"]


def joined(pieces: list[Packet]) -> tuple[bytes, str]:
    """Payload and TCP flags of pieces, as a receiver puts them together."""
    load, flags = b"", ""
    for piece in pieces:
        top = transport(piece)
        load += bytes(top.payload)
        flags += str(top.flags) if TCP in piece else ""
    return load, flags


@given(
    spec=specs(),
    load=long_loads,
    flags=st.sampled_from(["A", "PA", "FPA", "FPAEC"]),
    size=st.integers(500, 9000),
    ident=st.integers(0, 65535),
)
def test_the_segments_of_a_long_frame_make_it_up_again(
    spec: Spec, load: bytes, flags: str, size: int, ident: int
) -> None:
    whole = replace(spec, load=load, flags=flags, ident=ident, padding=0, summed=True)
    packet = built(whole)
    given_frame = gso(packet, size)
    given_frame.data += b"\xaa" * spec.padding
    view = parse(given_frame.data)
    assert isinstance(view, View)
    cut = segments(given_frame, view)
    for piece in cut:
        assert_sound(piece.data)
        assert not piece.offload.flags
    pieces = [parsed(piece) for piece in cut]
    assert len(pieces) == -(-len(load) // size)
    assert joined(pieces)[0] == load
    for number, piece in enumerate(pieces):
        check_headers(piece, packet, view, number)
        if spec.proto is Proto.TCP:
            assert piece.seq == 1000 + number * size
            assert piece[TCP].options == parsed(given_frame)[TCP].options
            last, first = number == len(pieces) - 1, number == 0
            kept = {"F": last, "P": last, "C": first, "A": True, "E": True}
            assert str(piece[TCP].flags) == "".join(f for f in flags if kept[f])


def check_headers(piece: Packet, packet: Packet, view: View, number: int) -> None:
    """Only lengths, the identification and checksums change."""
    ours, theirs = bytearray(bytes(piece)), bytearray(bytes(packet))
    if packet.type == 0x0800:
        assert piece.id == (packet.id + number) % 65536
        changing = [(2, 6), (10, 12)]
    else:
        changing = [(4, 6)]
    for start, stop in changing:
        for data in (ours, theirs):
            data[ETHER + start : ETHER + stop] = bytes(stop - start)
    assert ours[: view.transport + 4] == theirs[: view.transport + 4]


@given(spec=only_v4, mtu=st.integers(68, 1600))
def test_the_fragments_of_a_packet_reassemble_to_it(spec: Spec, mtu: int) -> None:
    packet = frame(built(replace(spec, df=False, padding=0, begun=False)))
    pieces = fragments(packet, mtu, 0)
    for piece in pieces:
        assert_sound(piece.data)
        assert len(piece.data) - ETHER <= mtu
    again = slow_reassembly([bytes(piece.data[ETHER:]) for piece in pieces])
    assert again == bytes(packet.data[ETHER:])
    if len(packet.data) - ETHER > mtu:
        assert all((len(p.data) - ETHER) % 4 == 0 or p is pieces[-1] for p in pieces)
    else:
        assert pieces == [packet]


@given(spec=only_v4, mtu=st.integers(600, 1600), smaller=st.integers(68, 599))
def test_fragments_of_fragments_reassemble_to_the_packet(
    spec: Spec, mtu: int, smaller: int
) -> None:
    packet = frame(built(replace(spec, df=False, padding=0, begun=False)))
    first = fragments(packet, mtu, 0)
    pieces = list(chain.from_iterable(fragments(piece, smaller, 0) for piece in first))
    assert all(len(piece.data) - ETHER <= smaller for piece in pieces)
    again = slow_reassembly([bytes(piece.data[ETHER:]) for piece in pieces])
    assert again == bytes(packet.data[ETHER:])


@given(spec=specs(), mtu=st.integers(1280, 2000), ident=st.integers(0, 2**32 - 1))
def test_the_fragments_of_an_outer_ipv6_packet_reassemble_to_it(
    spec: Spec, mtu: int, ident: int
) -> None:
    packet = frame(wrapped(V6.backend(), parsed(frame(built(replace(spec, padding=0))))))
    pieces = fragments(packet, mtu, ident)
    assert all(len(piece.data) - ETHER <= mtu for piece in pieces)
    packets = [bytes(piece.data[ETHER:]) for piece in pieces]
    assert slow_reassembly(packets) == bytes(packet.data[ETHER:])
    if len(pieces) > 1:
        heads = [layout(data) for data in packets]
        assert all(data[head.cut - 4 : head.cut] == ident.to_bytes(4, "big")
                   for data, head in zip(packets, heads, strict=True))  # fmt: skip


@given(world=st.sampled_from(WORLDS), size=st.integers(1, 400), load=long_loads)
def test_the_slow_reassembly_undoes_scapy_s_fragmentation(
    world: World, size: int, load: bytes
) -> None:
    """scapy cuts, the oracle reassembles; neither uses pktlb."""
    packet = udp(world.client(), world.vip(), load[:3000], df=False)
    pieces = [ip_bytes(piece) for piece in fragmented(packet, size * 8)]
    joined_again = slow_reassembly(pieces[::-1])
    if len(pieces) > 1:
        assert joined_again == ip_bytes(packet)
