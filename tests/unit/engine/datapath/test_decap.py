"""Unwrapping: the inner packets that are let out, and their offloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from pktlb.engine.datapath.checksum import is_valid
from pktlb.engine.datapath.decap import unwrap
from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, NO_OFFLOAD
from pktlb.model import Reason

VIP = bytes([10, 0, 2, 100])
VIP6 = bytes.fromhex("20010db8000000000000000000000100")
VIPS = {VIP, VIP6}
IN4 = IP(src="10.0.1.2", dst="10.0.2.100")
IN6 = IPv6(src="2001:db8:9::2", dst="2001:db8::100")
INNER = IN4 / TCP(sport=4000, dport=80) / Raw(b"hello" * 7)
INNER6 = IN6 / TCP(sport=4000, dport=80) / Raw(b"hello" * 7)
PROTOS = {4: INNER, 41: INNER6}


@pytest.mark.parametrize("proto", PROTOS)
def test_a_whole_packet_for_the_vip_comes_out_as_it_went_in(proto: int) -> None:
    inner = bytes(PROTOS[proto])
    assert unwrap(inner, proto, VIPS)[:3] == (Reason.UNWRAPPED, inner, NO_OFFLOAD)


@pytest.mark.parametrize("proto", PROTOS)
def test_bytes_behind_the_inner_packet_stay_out(proto: int) -> None:
    inner = bytes(PROTOS[proto])
    assert unwrap(inner + b"pad", proto, VIPS)[:2] == (Reason.UNWRAPPED, inner)


@pytest.mark.parametrize("header", [IN4, IN6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("proto", "layer", "at"),
    [(6, TCP(sport=4000, dport=80), 16), (17, UDP(sport=4000, dport=80), 6)],
    ids=["tcp", "udp"],
)
def test_a_checksum_that_covers_only_the_pseudo_header_is_passed_on_as_partial(
    header: Packet, proto: int, layer: Packet, at: int
) -> None:
    packet = bytearray(bytes(header / layer / Raw(b"x" * 33)))
    start, ends = (20, range(12, 20, 2)) if header is IN4 else (40, range(8, 40, 2))
    total = sum(packet[i] << 8 | packet[i + 1] for i in ends) + proto + len(packet) - start
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    packet[start + at : start + at + 2] = total.to_bytes(2, "big")
    reason, _, offload, _ = unwrap(bytes(packet), 4 if header is IN4 else 41, VIPS)
    assert reason is Reason.UNWRAPPED
    assert offload.flags == NEEDS_CHECKSUM
    assert (offload.checksum_start, offload.checksum_offset) == (start, at)


@pytest.mark.parametrize(("proto", "at"), [(4, 36), (41, 56)])
def test_a_wrong_checksum_is_left_to_the_kernel(proto: int, at: int) -> None:
    packet = bytearray(bytes(PROTOS[proto]))
    packet[at] ^= 0x55
    assert unwrap(bytes(packet), proto, VIPS)[:3] == (Reason.UNWRAPPED, bytes(packet), NO_OFFLOAD)


def test_a_datagram_over_ipv6_without_checksum_passes_as_it_is() -> None:
    packet = bytes(IN6 / UDP(sport=4000, dport=53, chksum=0) / Raw(b"hello"))
    assert unwrap(packet, 41, VIPS)[:3] == (Reason.UNWRAPPED, packet, NO_OFFLOAD)


def test_fragments_and_other_protocols_come_out_untouched() -> None:
    for proto, inner in (
        (4, IP(src="10.0.1.2", dst="10.0.2.100", flags="MF") / UDP() / Raw(b"x" * 8)),
        (4, IP(src="10.0.1.2", dst="10.0.2.100", frag=3, proto=6) / Raw(b"x" * 40)),
        (4, IP(src="10.0.1.2", dst="10.0.2.100", proto=47) / Raw(b"x" * 40)),
        (4, IP(src="10.0.1.2", dst="10.0.2.100", proto=6) / Raw(b"short")),
        (41, IN6 / IPv6ExtHdrFragment(offset=3, nh=6) / Raw(b"x" * 40)),
        (41, IPv6(dst="2001:db8::100", nh=47) / Raw(b"x" * 40)),
        (41, IPv6(dst="2001:db8::100", nh=6) / Raw(b"short")),
        (41, IPv6(dst="2001:db8::100", nh=59)),
    ):
        data = bytes(inner)
        assert unwrap(data, proto, VIPS)[:3] == (Reason.UNWRAPPED, data, NO_OFFLOAD)


def spoilt(inner: Packet = INNER, **fields: int) -> bytes:
    packet = inner.copy()
    for name, value in fields.items():
        setattr(packet, name, value)
    return bytes(packet)


REFUSED = [
    ("nothing", 4, b"", Reason.TRUNCATED),
    ("nothing of IPv6", 41, b"", Reason.TRUNCATED),
    ("an inner header cut short", 4, bytes(INNER)[:19], Reason.TRUNCATED),
    ("an inner IPv6 header cut short", 41, bytes(INNER6)[:39], Reason.TRUNCATED),
    ("another address", 4, bytes(IP(dst="10.0.2.101") / TCP()), Reason.NOT_OURS),
    ("another IPv6 address", 41, bytes(IPv6(dst="2001:db8::101") / TCP()), Reason.NOT_OURS),
    ("an inner packet longer than what came", 4, spoilt(len=200), Reason.TRUNCATED),
    ("an IPv6 packet longer than what came", 41, spoilt(INNER6, plen=200), Reason.TRUNCATED),
    ("an inner packet shorter than its header", 4, spoilt(len=19), Reason.BAD_HEADER),
    ("an inner header of four words", 4, spoilt(ihl=4), Reason.BAD_HEADER),
    ("another version", 4, spoilt(version=6), Reason.BAD_HEADER),
    ("IPv4 where IPv6 is announced", 41, bytes(INNER), Reason.BAD_HEADER),
    ("IPv6 where IPv4 is announced", 4, bytes(INNER6), Reason.BAD_HEADER),
]


@pytest.mark.parametrize(
    ("proto", "data", "reason"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_refused_packet_has_its_reason(proto: int, data: bytes, reason: Reason) -> None:
    assert unwrap(data, proto, VIPS)[:3] == (reason, None, NO_OFFLOAD)


NOT_ECT, ECT1, ECT0, CE = range(4)
TABLE: dict[int, dict[int, int | None]] = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: None},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}
"RFC 6040, figure 4: the field that comes out, by the inner one and the outer one."
UNUSED = {(NOT_ECT, ECT0), (NOT_ECT, ECT1), (NOT_ECT, CE), (ECT1, ECT0), (CE, ECT1)}


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("inner", TABLE)
@pytest.mark.parametrize("outer", TABLE)
def test_the_ecn_field_that_comes_out_is_that_of_rfc_6040(
    proto: int, inner: int, outer: int
) -> None:
    traffic = "tos" if proto == 4 else "tc"
    given = spoilt(PROTOS[proto], **{traffic: 0xB8 | inner})
    unwrapped = unwrap(given, proto, VIPS, 0x28 | outer)
    field = TABLE[inner][outer]
    if field is None:
        assert unwrapped[:2] == (Reason.BAD_ECN, None)
    else:
        expected = spoilt(PROTOS[proto], **{traffic: 0xB8 | field})
        assert unwrapped[:2] == (Reason.UNWRAPPED, expected), "with its own DSCP, and a checksum"
    assert unwrapped.is_marked_well == ((inner, outer) not in UNUSED)


def test_a_wrong_header_checksum_stays_wrong_under_a_mark() -> None:
    given = bytearray(spoilt(INNER, tos=ECT0))
    given[10] ^= 0x55
    _, packet, *_ = unwrap(bytes(given), 4, VIPS, CE)
    assert packet is not None
    assert not is_valid(packet[:20])


@given(st.binary(max_size=120), st.sampled_from([4, 41]))
def test_random_bytes_never_raise(data: bytes, proto: int) -> None:
    unwrap(bytes(data), proto, VIPS)


@given(st.sampled_from([4, 41]), st.binary(max_size=60), st.integers(0, 255), st.integers(0, 255))
def test_spoilt_packets_never_raise(proto: int, tail: bytes, at: int, value: int) -> None:
    data = bytearray(bytes(PROTOS[proto]) + tail)
    data[at % len(data)] = value
    reason, packet, offload, _ = unwrap(bytes(data), proto, VIPS)
    assert (packet is None) == (reason is not Reason.UNWRAPPED)
    if packet is not None and offload.flags:
        assert offload.checksum_start + offload.checksum_offset + 2 <= len(packet)
