"""What is cut can be put together again: segments of long frames, fragments of packets."""

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP

from pktlb.datapath.fragment import fragments
from pktlb.datapath.packet import View, parse
from pktlb.datapath.segment import segments
from pktlb.model import Proto
from tests.oracle import slow_reassembly
from tests.packets import ETHER, Packet, assert_sound, client, frame, gso, parsed, vip
from tests.property.specs import Spec, specs

long_loads = st.builds(
    lambda seed, size: (seed * (size // len(seed) + 1))[:size],
    st.binary(min_size=1, max_size=7),
    st.integers(1, 60000),
)


def joined(pieces: list[Packet]) -> tuple[bytes, str]:
    """Payload and TCP flags of pieces, as a receiver puts them together."""
    load, flags = b"", ""
    for piece in pieces:
        top = piece[IP].payload
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
def test_segments_make_up_the_long_frame_again(
    spec: Spec, load: bytes, flags: str, size: int, ident: int
) -> None:
    changes = {"load": load, "flags": flags, "ident": ident, "padding": 0, "summed": True}
    packet = Spec(**{**vars(spec), **changes}).build(client(), vip())
    given_frame = gso(packet, size)
    given_frame.data += b"\xaa" * spec.padding
    view = parse(given_frame.data)
    assert isinstance(view, View)
    cut = segments(given_frame, view)
    for piece in cut:
        assert_sound(piece)
        assert not piece.offload.flags
    pieces = [parsed(piece) for piece in cut]
    assert len(pieces) == -(-len(load) // size)
    assert joined(pieces)[0] == load
    for number, piece in enumerate(pieces):
        assert piece.id == (ident + number) % 65536
        rest = bytes(piece)[ETHER : ETHER + 2], bytes(piece)[ETHER + 6 : ETHER + 10]
        assert rest == (bytes(packet)[ETHER : ETHER + 2], bytes(packet)[ETHER + 6 : ETHER + 10])
        assert (
            bytes(piece)[ETHER + 12 : view.transport + 4]
            == (bytes(packet)[ETHER + 12 : view.transport + 4])
        )
        if spec.proto is Proto.TCP:
            assert piece.seq == 1000 + number * size
            assert piece[TCP].options == parsed(given_frame)[TCP].options
            last, first = number == len(pieces) - 1, number == 0
            kept = {"F": last, "P": last, "C": first, "A": True, "E": True}
            assert str(piece[TCP].flags) == "".join(f for f in flags if kept[f])


@given(spec=specs(), mtu=st.integers(68, 1600))
def test_fragments_make_up_the_packet_again(spec: Spec, mtu: int) -> None:
    changes = {"df": False, "padding": 0, "begun": False}
    packet = frame(Spec(**{**vars(spec), **changes}).build(client(), vip()))
    pieces = fragments(packet, mtu)
    for piece in pieces:
        assert_sound(piece)
        assert len(piece.data) - ETHER <= mtu
    again = slow_reassembly([bytes(piece.data[ETHER:]) for piece in pieces])
    assert again == bytes(packet.data[ETHER:])
    if len(packet.data) - ETHER > mtu:
        assert all((len(p.data) - ETHER) % 4 == 0 or p is pieces[-1] for p in pieces)
    else:
        assert pieces == [packet]


@given(spec=specs(), mtu=st.integers(600, 1600), smaller=st.integers(68, 599))
def test_fragments_of_fragments_make_up_the_packet_again(
    spec: Spec, mtu: int, smaller: int
) -> None:
    changes = {"df": False, "padding": 0, "begun": False}
    packet = frame(Spec(**{**vars(spec), **changes}).build(client(), vip()))
    pieces = [small for piece in fragments(packet, mtu) for small in fragments(piece, smaller)]
    assert all(len(piece.data) - ETHER <= smaller for piece in pieces)
    again = slow_reassembly([bytes(piece.data[ETHER:]) for piece in pieces])
    assert again == bytes(packet.data[ETHER:])
