"""What is let out of a tunnel, and with which checksum still to be done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet, Raw

from pktlb.datapath.decap import unwrap
from pktlb.datapath.frame import NEEDS_CHECKSUM, NO_OFFLOAD
from pktlb.model import Reason

VIP = bytes([10, 0, 2, 100])
INNER = IP(src="10.0.1.2", dst="10.0.2.100") / TCP(sport=4000, dport=80) / Raw(b"hello" * 7)


def wrapped(inner: bytes, **outer: object) -> bytes:
    return bytes(IP(src="10.0.2.1", dst="10.0.3.11", proto=4, **outer) / Raw(inner))


def test_a_whole_packet_for_the_vip_comes_out_as_it_went_in() -> None:
    reason, packet, offload = unwrap(wrapped(bytes(INNER)), {VIP})
    assert (reason, packet, offload) == (Reason.UNWRAPPED, bytes(INNER), NO_OFFLOAD)


def test_outer_options_and_bytes_behind_the_inner_packet_stay_out() -> None:
    reason, packet, _ = unwrap(wrapped(bytes(INNER) + b"pad", options=b"\x94\x04\0\0"), {VIP})
    assert (reason, packet) == (Reason.UNWRAPPED, bytes(INNER))


@pytest.mark.parametrize(
    ("proto", "layer", "at"),
    [(6, TCP(sport=4000, dport=80), 16), (17, UDP(sport=4000, dport=80), 6)],
    ids=["tcp", "udp"],
)
def test_a_checksum_that_covers_only_the_pseudo_header_is_passed_on_as_partial(
    proto: int, layer: Packet, at: int
) -> None:
    packet = bytearray(bytes(IP(src="10.0.1.2", dst="10.0.2.100") / layer / Raw(b"x" * 33)))
    total = sum(packet[i] << 8 | packet[i + 1] for i in range(12, 20, 2)) + proto + len(packet) - 20
    pseudo = (total & 0xFFFF) + (total >> 16)
    packet[20 + at : 22 + at] = pseudo.to_bytes(2, "big")
    reason, _, offload = unwrap(wrapped(bytes(packet)), {VIP})
    assert reason is Reason.UNWRAPPED
    assert offload.flags == NEEDS_CHECKSUM
    assert (offload.checksum_start, offload.checksum_offset) == (20, at)


def test_a_checksum_that_is_simply_wrong_is_left_for_the_kernel_to_find() -> None:
    packet = bytearray(bytes(INNER))
    packet[20 + 16] ^= 0x55
    assert unwrap(wrapped(bytes(packet)), {VIP}) == (Reason.UNWRAPPED, bytes(packet), NO_OFFLOAD)


def test_fragments_and_other_protocols_come_out_untouched() -> None:
    for inner in (
        IP(src="10.0.1.2", dst="10.0.2.100", flags="MF") / UDP() / Raw(b"x" * 8),
        IP(src="10.0.1.2", dst="10.0.2.100", frag=3, proto=6) / Raw(b"x" * 40),
        IP(src="10.0.1.2", dst="10.0.2.100", proto=47) / Raw(b"x" * 40),
        IP(src="10.0.1.2", dst="10.0.2.100", proto=6) / Raw(b"short"),
    ):
        assert unwrap(wrapped(bytes(inner)), {VIP}) == (Reason.UNWRAPPED, bytes(inner), NO_OFFLOAD)


def spoilt(**fields: int) -> bytes:
    packet = INNER.copy()
    for name, value in fields.items():
        setattr(packet, name, value)
    return bytes(packet)


REFUSED = [
    ("nothing", b"", Reason.TRUNCATED),
    ("no inner header", wrapped(b"")[:20], Reason.TRUNCATED),
    ("an inner header cut short", wrapped(bytes(INNER)[:19]), Reason.TRUNCATED),
    ("another address", wrapped(bytes(IP(dst="10.0.2.101") / TCP())), Reason.NOT_OURS),
    ("an inner packet longer than what came", wrapped(spoilt(len=200)), Reason.TRUNCATED),
    ("an inner packet shorter than its header", wrapped(spoilt(len=19)), Reason.BAD_HEADER),
    ("an inner header of four words", wrapped(spoilt(ihl=4)), Reason.BAD_HEADER),
    ("another version", wrapped(spoilt(version=6)), Reason.BAD_HEADER),
]


@pytest.mark.parametrize(("data", "reason"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_is_refused_has_its_reason(data: bytes, reason: Reason) -> None:
    assert unwrap(data, {VIP}) == (reason, None, NO_OFFLOAD)


@given(st.binary(max_size=120))
def test_random_bytes_never_raise(data: bytes) -> None:
    unwrap(bytes(data), {VIP})


@given(st.binary(max_size=60), st.integers(0, 255), st.integers(0, 255))
def test_nor_do_spoilt_packets(tail: bytes, at: int, value: int) -> None:
    data = bytearray(wrapped(bytes(INNER) + tail))
    data[at % len(data)] = value
    reason, packet, offload = unwrap(bytes(data), {VIP})
    assert (packet is None) == (reason is not Reason.UNWRAPPED)
    if packet is not None and offload.flags:
        assert offload.checksum_start + offload.checksum_offset + 2 <= len(packet)
