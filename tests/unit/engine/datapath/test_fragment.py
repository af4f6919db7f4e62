"""Fragments that we make ourselves: sizes, offsets, flags and the options each may carry."""

import pytest
from scapy.layers.inet import IP, IPOption, IPOption_NOP, IPOption_Router_Alert, IPOption_RR

from pktlb.engine.datapath.fragment import fragments
from pktlb.engine.datapath.frame import Frame
from tests.support.oracle import slow_reassembly
from tests.support.packets import (
    V4,
    V6,
    Packet,
    client,
    frame,
    ip_bytes,
    parsed,
    tcp,
    udp,
    vip,
    wrapped,
)
from tests.support.sound import ETHER, assert_sound

DATA = bytes(range(256)) * 12


def cut(packet: Packet, mtu: int, ident: int = 0) -> list[Frame]:
    pieces = fragments(frame(packet), mtu, ident)
    for piece in pieces:
        assert_sound(piece.data)
        assert len(piece.data) - ETHER <= mtu
        assert piece.data[:ETHER] == frame(packet).data[:ETHER]
    return pieces


def whole(pieces: list[Frame]) -> bytes:
    return slow_reassembly([bytes(piece.data[ETHER:]) for piece in pieces])


def test_a_packet_that_fits_is_left_alone() -> None:
    packet = udp(client(), vip(), bytes(1472), df=False)
    assert cut(packet, 1500) == [frame(packet)]


def test_one_byte_more_makes_a_second_fragment() -> None:
    packet = udp(client(), vip(), bytes(1473), df=False)
    first, second = cut(packet, 1500)
    assert (len(first.data), len(second.data)) == (ETHER + 1500, ETHER + 21)
    assert (parsed(first).frag, int(parsed(first)[IP].flags)) == (0, 1)
    assert (parsed(second).frag, int(parsed(second)[IP].flags)) == (185, 0)


@pytest.mark.parametrize("mtu", [68, 75, 576, 577, 1006, 1499])
def test_the_fragments_of_an_ipv4_packet_reassemble_to_it(mtu: int) -> None:
    packet = udp(client(), vip(), DATA, df=False, id=0xABCD, tos=9)
    pieces = cut(packet, mtu)
    assert all(parsed(piece).id == 0xABCD and parsed(piece).tos == 9 for piece in pieces)
    assert whole(pieces) == bytes(packet[IP])


def test_only_options_with_the_copied_bit_are_in_later_fragments() -> None:
    options = [
        IPOption_NOP(),
        IPOption_RR(length=7, routers=["0.0.0.0"]),
        IPOption_Router_Alert(),
        IPOption(b"\x82\x0b" + bytes(range(9))),
    ]
    packet = udp(client(), vip(), DATA, df=False, options=options)
    first, *later = cut(packet, 576)
    assert first.data[ETHER + 20 : ETHER + 44] == bytes(packet)[ETHER + 20 : ETHER + 44]
    for piece in later:
        assert piece.data[ETHER] == 0x49
        copied = b"\x94\x04\0\0" + b"\x82\x0b" + bytes(range(9))
        assert piece.data[ETHER + 20 : ETHER + 36] == copied.ljust(16, b"\0")
    assert whole([first, *later]) == bytes(packet[IP])


@pytest.mark.parametrize(
    ("options", "copied"),
    [
        (b"\x94\x04\0\0\x94\x04\0\0", b"\x94\x04\0\0\x94\x04\0\0"),
        (b"\x94\x04\0\0\0\x94\x04\0", b"\x94\x04\0\0"),  # behind the end of the list
        (b"\x94\x04\0\0\x94\x00\0\0", b"\x94\x04\0\0"),  # a length of 0
        (b"\x94\x04\0\0\x94\x01\0\0", b"\x94\x04\0\0"),  # a length without its own byte
        (b"\x94\x04\0\0\x94\x05\0\0", b"\x94\x04\0\0"),  # longer than the header
        (b"\x94\x04\0\0\x01\x01\x01\x94", b"\x94\x04\0\0"),  # its length is missing
        (b"\x01\x01\x01\x01", b""),
    ],
)
def test_a_malformed_option_ends_the_copying(options: bytes, copied: bytes) -> None:
    plain = frame(udp(client(), vip(), DATA, df=False))
    head = bytearray(plain.data[: ETHER + 20]) + options
    head[ETHER] = 0x40 | (len(head) - ETHER) // 4
    data = head + plain.data[ETHER + 20 :]
    data[ETHER + 2 : ETHER + 4] = (len(data) - ETHER).to_bytes(2, "big")
    pieces = fragments(Frame(1, data), 576, 0)
    for piece in pieces:
        assert_sound(piece.data)
    size = (pieces[1].data[ETHER] & 15) * 4
    assert pieces[1].data[ETHER + 20 : ETHER + size] == copied


def test_a_fragment_is_cut_further_at_its_own_offset() -> None:
    packet = udp(client(), vip(), DATA, df=False)
    middle = cut(packet, 1500)[1]
    assert parsed(middle)[IP].flags.MF
    again = fragments(Frame(middle.port, bytearray(middle.data)), 576, 0)
    assert [parsed(piece).frag for piece in again] == [185, 185 + 69, 185 + 138]
    assert all(parsed(piece)[IP].flags.MF for piece in again)
    first, _, last = cut(packet, 1500)
    assert whole([first, *again, last]) == bytes(packet[IP])


OUTER = wrapped(V6.backend(), tcp(V4.client(), V4.vip(), "A", DATA))
"A packet of IPv6: we fragment only those that we made ourselves."


@pytest.mark.parametrize("mtu", [1280, 1281, 1287, 1288, 1500])
def test_the_fragments_of_an_ipv6_packet_reassemble_to_it(mtu: int) -> None:
    pieces = cut(OUTER, mtu, ident=0xABCDEF01)
    heads = [parsed(piece).payload.payload for piece in pieces]
    assert {head.id for head in heads} == {0xABCDEF01}
    assert [head.m for head in heads] == [1] * (len(pieces) - 1) + [0]
    assert all(len(piece.data) - ETHER > mtu - 8 for piece in pieces[:-1]), "as few as can be"
    assert whole(pieces) == ip_bytes(OUTER)


def test_an_ipv6_packet_that_fits_is_left_alone() -> None:
    inner = tcp(V6.client(), V6.vip(), "A", bytes(1400))
    packet = wrapped(V6.backend(), inner)
    assert cut(packet, 1500) == [frame(packet)]
    assert len(cut(packet, 1499)) == 2
