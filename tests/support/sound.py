"""Whether a packet is sound: every length fits and every checksum is right, outer and inner alike.

It uses nothing of pktlb, and scapy only where that does not correct what it reads.
"""

from typing import Final, NamedTuple

from scapy.utils import checksum as scapy_checksum

ETHER: Final = 14
"Bytes of an Ethernet header."
CHECK_AT: Final = {6: 16, 17: 6, 33: 6, 58: 2, 136: 6}
"Offset of the checksum that covers addresses, by protocol."
_FRAGMENT: Final = 44
_EXTENSIONS: Final = (0, 43, _FRAGMENT, 60)
_TUNNELS: Final = (4, 41)


class Layout(NamedTuple):
    """Offsets and ends of an IP packet."""

    ends: bytes
    proto: int
    transport: int
    cut: int
    "Offset of a fragment's data; 0 where the packet is whole."
    start: int
    "The first byte of its packet's data that a fragment has."
    more: bool

    def pseudo(self, length: int) -> bytes:
        """The pseudo-header of `length` bytes (RFC 9293, 3.1; RFC 768; RFC 8200, 8.1)."""
        if len(self.ends) == 8:
            return self.ends + bytes([0, self.proto]) + length.to_bytes(2, "big")
        return self.ends + length.to_bytes(4, "big") + bytes([0, 0, 0, self.proto])


def layout(data: bytes) -> Layout:
    """The layout of an IP packet of either family."""
    if data[0] >> 4 == 4:
        word = int.from_bytes(data[6:8], "big")
        at = (data[0] & 15) * 4
        cut = at if word & 0x3FFF else 0
        return Layout(data[12:20], data[9], at, cut, (word & 0x1FFF) * 8, bool(word & 0x2000))
    proto, at, cut, word = data[6], 40, 0, 0
    while proto in _EXTENSIONS and at + 8 <= len(data) and not word & 0xFFF8:
        size = 8
        if proto == _FRAGMENT:
            word = int.from_bytes(data[at + 2 : at + 4], "big")
            cut = at + 8 if word & 0xFFF9 else 0
        else:
            size += data[at + 1] * 8
        proto, at = data[at], at + size
    return Layout(data[8:40], proto, at, cut, word & 0xFFF8, bool(word & 1))


def assert_sound(data: bytes | bytearray, unsummed: bool = False) -> None:
    """Check a frame whose checksums are complete; `unsummed`: a datagram of IPv6 may have none."""
    assert data[12:14] in (b"\x08\x00", b"\x86\xdd"), "neither IPv4 nor IPv6"
    packet = bytes(data[ETHER:])
    assert packet[0] >> 4 == (4 if data[12] == 8 else 6), "version"
    assert_sound_ip(packet, unsummed)


def assert_sound_ip(data: bytes, unsummed: bool = False) -> None:
    """As `assert_sound`, for an IP packet."""
    if data[0] >> 4 == 4:
        size = (data[0] & 15) * 4
        assert 20 <= size <= len(data)
        assert int.from_bytes(data[2:4], "big") == len(data), "total length"
        assert scapy_checksum(data[:size]) == 0, "IPv4 header checksum"
    else:
        assert data[0] >> 4 == 6
        assert len(data) >= 40
        assert int.from_bytes(data[4:6], "big") == len(data) - 40, "payload length"
    there = layout(data)
    load = data[there.transport :]
    if there.cut:
        # The data of a fragment is checked when the packet is reassembled.
        length = len(data) - there.cut
        assert length, "an empty fragment"
        assert length % 8 == 0 or not there.more, "not of whole words"
        assert there.start + length <= 0xFFFF
    elif there.proto in _TUNNELS:
        assert_sound_ip(load, unsummed)
    else:
        _assert_sound_transport(there, load, unsummed)


def _assert_sound_transport(there: Layout, load: bytes, unsummed: bool) -> None:
    proto = there.proto
    six = len(there.ends) == 32
    if proto == 1 and not six:
        assert scapy_checksum(load) == 0, "ICMP checksum"
    elif proto == 58 and six:
        assert scapy_checksum(there.pseudo(len(load)) + load) == 0, "ICMPv6 checksum"
    elif proto == 6:
        assert scapy_checksum(there.pseudo(len(load)) + load) == 0, "TCP checksum"
    elif proto == 17:
        length = int.from_bytes(load[4:6], "big")
        assert 8 <= length <= len(load), "UDP length"
        if load[6:8] == b"\0\0":
            assert not six or unsummed, "an IPv6 datagram without a checksum"
            return
        assert scapy_checksum(there.pseudo(length) + load[:length]) == 0, "UDP checksum"


def is_unsummed(data: bytes | bytearray) -> bool:
    """Whether a frame holds a datagram without a checksum."""
    packet = bytes(data[ETHER:])
    if data[12:14] not in (b"\x08\x00", b"\x86\xdd") or len(packet) < 28:
        return False
    there = layout(packet)
    return there.proto == 17 and packet[there.transport + 6 : there.transport + 8] == b"\0\0"


def is_fragment(data: bytes | bytearray) -> bool:
    """Whether a frame may hold a fragment."""
    if data[12:14] not in (b"\x08\x00", b"\x86\xdd") or len(data) < ETHER + 20:
        return False
    return data[ETHER] >> 4 not in (4, 6) or bool(layout(bytes(data[ETHER:])).cut)
