"""ARP and neighbour discovery frames: as scapy reads and writes them, and hostile ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from pktlb.host import arp, nd
from pktlb.host.claim import Claim, format_mac

OURS, THEIRS, NONE = "02:00:00:00:00:01", "02:00:00:00:00:07", "00:00:00:00:00:00"
VIP4, VIP6 = "10.0.1.100", "2001:db8::100"
GROUP = "ff02::1:ff00:100"


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


MAC = mac(OURS)
A4 = bytes([10, 0, 1, 100])
A6 = bytes.fromhex("20010db8") + bytes(10) + b"\x01\x00"


def test_a_probe_is_the_request_of_rfc_5227() -> None:
    wanted = Ether(src=OURS, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=OURS, psrc="0.0.0.0", hwdst=NONE, pdst=VIP4
    )
    assert arp.probe(A4, MAC) == bytes(wanted)


def test_an_address_is_announced_by_a_request_and_by_a_reply() -> None:
    frames = [Ether(frame) for frame in arp.announcements(A4, MAC)]
    assert [frame[ARP].op for frame in frames] == [1, 2]
    for frame in frames:
        assert (frame.src, frame.dst) == (OURS, "ff:ff:ff:ff:ff:ff")
        assert (frame[ARP].hwsrc, frame[ARP].psrc, frame[ARP].pdst) == (OURS, VIP4, VIP4)


def test_a_solicitation_is_the_one_of_duplicate_address_detection() -> None:
    wanted = (
        Ether(src=OURS, dst="33:33:ff:00:01:00")
        / IPv6(src="::", dst=GROUP, hlim=255)
        / ICMPv6ND_NS(tgt=VIP6)
    )
    assert nd.probe(A6, MAC) == bytes(wanted)
    assert nd.group_mac(A6) == mac("33:33:ff:00:01:00")


@pytest.mark.parametrize("is_router", [False, True])
def test_an_advertisement_overrides_and_tells_the_router(is_router: bool) -> None:
    wanted = (
        Ether(src=OURS, dst="33:33:00:00:00:01")
        / IPv6(src=VIP6, dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt=VIP6, R=is_router, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=OURS)
    )
    assert nd.announcement(A6, MAC, is_router) == bytes(wanted)


def from_them(packet: Packet, dst: str = "33:33:00:00:00:01") -> bytes:
    return bytes(Ether(src=THEIRS, dst=dst) / packet)


def heard4(**fields: object) -> bytes:
    arp_fields = {"op": 2, "hwsrc": THEIRS, "psrc": VIP4, "hwdst": OURS, "pdst": "10.0.1.1"}
    return from_them(ARP(**(arp_fields | fields)), OURS)


@pytest.mark.parametrize("op", [1, 2])
def test_the_sender_of_arp_claims_its_address(op: int) -> None:
    assert arp.claim(heard4(op=op)) == Claim(A4, mac(THEIRS))
    assert arp.claim(heard4(op=op) + bytes(18)) == Claim(A4, mac(THEIRS)), "padded to 60 octets"


def test_an_arp_probe_claims_what_it_asks_for() -> None:
    frame = heard4(op=1, psrc="0.0.0.0", pdst=VIP4)
    assert arp.claim(frame) == Claim(A4, mac(THEIRS), is_probe=True)


@pytest.mark.parametrize(
    "frame",
    [
        heard4(op=3),
        heard4(op=2, psrc="0.0.0.0"),
        heard4(hwtype=6),
        heard4(ptype=0x86DD),
        heard4(hwlen=8, hwsrc=b"\2" * 8, hwdst=bytes(8)),
        heard4(hwsrc="ff:ff:ff:ff:ff:ff"),
        heard4(hwsrc=NONE),
        heard4()[:41],
        b"",
    ],
)
def test_malformed_arp_claims_nothing(frame: bytes) -> None:
    assert arp.claim(frame) is None


def advertised(*options: Packet, **fields: object) -> Packet:
    source = {"src": "fe80::7", "dst": "ff02::1", "hlim": 255} | fields
    packet = IPv6(**source) / ICMPv6ND_NA(tgt=VIP6, R=0, S=0, O=1)
    for option in options:
        packet /= option
    return packet


def test_an_advertisement_claims_its_target_for_the_mac_in_it() -> None:
    assert nd.claim(from_them(advertised())) == Claim(A6, mac(THEIRS))
    option = ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:09")
    assert nd.claim(from_them(advertised(option))) == Claim(A6, mac("02:00:00:00:00:09"))


def test_a_solicitation_claims_only_where_it_has_no_source() -> None:
    probe = IPv6(src="::", dst=GROUP, hlim=255) / ICMPv6ND_NS(tgt=VIP6)
    assert nd.claim(from_them(probe)) == Claim(A6, mac(THEIRS), is_probe=True)
    asked = IPv6(src="fe80::7", dst=GROUP, hlim=255) / ICMPv6ND_NS(tgt=VIP6)
    assert nd.claim(from_them(asked / ICMPv6NDOptSrcLLAddr(lladdr=THEIRS))) is None


@pytest.mark.parametrize(
    "packet",
    [
        advertised(hlim=254),
        advertised(version=4),
        advertised(nh=17),
        advertised(plen=8),
        advertised(plen=400),
        advertised(Raw(b"\2\0" + bytes(6))),
        advertised(ICMPv6NDOptUnknown(type=2, len=9, data=bytes(6))),
        advertised(Raw(b"\2")),
        advertised(ICMPv6NDOptDstLLAddr(lladdr="33:33:00:00:00:01")),
        IPv6(src="fe80::7", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=VIP6, code=1),
        IPv6(src="fe80::7", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=VIP6, cksum=1),
        IPv6(src="fe80::7", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt="ff02::5"),
        IPv6(src="fe80::7", dst="ff02::1", hlim=255) / IPv6ExtHdrDestOpt() / ICMPv6ND_NA(tgt=VIP6),
    ],
)
def test_malformed_neighbour_discovery_claims_nothing(packet: Packet) -> None:
    assert nd.claim(from_them(packet)) is None


@given(st.binary(max_size=120))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    arp.claim(data)
    nd.claim(data)
    whole = from_them(advertised())
    nd.claim(whole[: len(data)] + data[:8])
    nd.claim(whole + data)


@given(st.integers(0, 85), st.integers(1, 255))
def test_a_changed_octet_is_never_another_target(at: int, by: int) -> None:
    """The checksum covers the message."""
    option = ICMPv6NDOptDstLLAddr(lladdr=THEIRS)
    frame = bytearray(from_them(advertised(option)))
    frame[at] ^= by
    claim = nd.claim(bytes(frame))
    assert claim is None or claim.address == A6


def test_a_mac_is_written_as_ip_link_writes_it() -> None:
    assert format_mac(mac(THEIRS)) == THEIRS
