"""The arithmetic of checksums at its corners; its uses are tested with whole packets."""

import pytest

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.frame import (
    GSO_TCP4,
    NEEDS_CHECKSUM,
    NO_OFFLOAD,
    VNET_LENGTH,
    Frame,
    Offload,
    unpack_offload,
)
from pktlb.engine.datapath.rewrite import complete_checksum
from tests.support.oracle import slow_checksum

EXAMPLE = bytes.fromhex("0001f203f4f5f6f7")
"RFC 1071, section 3: its sum is ddf2."


def test_the_example_of_rfc_1071() -> None:
    assert checksum.word_sum(EXAMPLE) == 0xDDF2
    assert checksum.checksum(EXAMPLE) == 0x220D


SUMS = [(b"", 0), (b"\0\0", 0), (b"\xff\xff", 0xFFFF), (b"\xff\xff\xff\xff", 0xFFFF),
        (b"\xff\xfe\0\x01", 0xFFFF), (b"\x12", 0x1200), (b"\x12\x34\x56", 0x6834)]  # fmt: skip


@pytest.mark.parametrize(("data", "total"), SUMS)
def test_the_sum_of_data_other_than_zeros_is_never_zero(data: bytes, total: int) -> None:
    assert checksum.word_sum(data) == total


def test_a_checksum_continues_a_sum_over_other_data() -> None:
    assert checksum.checksum(b"\x00\x02", 0xFFFF) == slow_checksum(b"\xff\xff\x00\x02")
    assert checksum.checksum(b"\xff\xff", 0xFFFF) == 0


def test_the_example_of_rfc_1624() -> None:
    """Section 4: 0xdd2f with a word changed from 0x5555 to 0x3285 becomes 0, not 0xffff."""
    by = checksum.delta(b"\x55\x55", b"\x32\x85")
    assert checksum.update(0xDD2F, by) == 0x0000
    assert checksum.update_udp(0xDD2F, by) == 0xFFFF


UPDATES = [
    (0x0000, 0, 0x0000), (0xFFFF, 0, 0xFFFF), (0x0000, 1, 0xFFFE), (0xFFFF, 1, 0xFFFE),
    (0x0001, 1, 0x0000), (0xFFFE, 0xFFFE, 0x0000),
]  # fmt: skip


@pytest.mark.parametrize(("check", "by", "updated"), UPDATES)
def test_an_update_is_right_at_both_ends_of_the_range(check: int, by: int, updated: int) -> None:
    assert checksum.update(check, by) == updated


def test_a_partial_checksum_adds_and_carries_around() -> None:
    assert checksum.update_partial(0x0001, 0x0002) == 0x0003
    assert checksum.update_partial(0xFFFF, 0x0002) == 0x0002
    assert checksum.update_partial(0x8000, 0x8001) == 0x0002


@pytest.mark.parametrize("by", [0, 1, 0x8000, 0xFFFE])
def test_an_update_leaves_a_datagram_without_checksum_as_it_is(by: int) -> None:
    assert checksum.update_udp(0, by) == 0


def test_a_header_is_valid_when_it_sums_to_all_ones() -> None:
    header = bytearray(b"\x45\0\0\x14" + bytes(16))
    header[10:12] = slow_checksum(bytes(header)).to_bytes(2, "big")
    assert checksum.is_valid(header)
    header[5] ^= 0x10
    assert not checksum.is_valid(header)


def test_the_offload_header_is_read_and_written_alike() -> None:
    offload = Offload(NEEDS_CHECKSUM, GSO_TCP4, 66, 1448, 34, 16)
    assert len(offload.pack()) == VNET_LENGTH
    assert unpack_offload(offload.pack()) == offload
    assert unpack_offload(Offload(0, 0, 54, 0, 0, 0).pack()).header_length == 54
    assert unpack_offload(bytes(VNET_LENGTH)) is NO_OFFLOAD
    assert NO_OFFLOAD.pack() == bytes(VNET_LENGTH)


def test_a_partial_checksum_is_completed_wherever_it_starts() -> None:
    data = bytearray(range(40))
    frame = Frame(1, bytearray(data), Offload(NEEDS_CHECKSUM, 0, 0, 0, 7, 3))
    complete_checksum(frame, 7)
    check = int.from_bytes(frame.data[10:12], "big")
    assert check == slow_checksum(bytes(data[7:]))
    assert frame.data[:10] + frame.data[12:] == data[:10] + data[12:]
    assert frame.offload == NO_OFFLOAD


@pytest.mark.parametrize("start", [39, 40, 65535])
def test_a_partial_checksum_beyond_the_frame_is_left_alone(start: int) -> None:
    frame = Frame(1, bytearray(40), Offload(NEEDS_CHECKSUM, 0, 0, 0, start, 0))
    complete_checksum(frame, 0)
    assert frame.data == bytearray(40)
    assert frame.offload == NO_OFFLOAD


def test_a_partial_checksum_is_not_written_over_the_headers_in_front_of_it() -> None:
    frame = Frame(1, bytearray(range(40)), Offload(NEEDS_CHECKSUM, 0, 0, 0, 33, 2))
    complete_checksum(frame, 34)
    assert frame.data == bytearray(range(40))
    assert frame.offload == NO_OFFLOAD


def test_a_complete_checksum_is_left_alone() -> None:
    frame = Frame(1, bytearray(range(40)), Offload(0, 0, 0, 0, 10, 2))
    complete_checksum(frame, 0)
    assert frame.data == bytearray(range(40))
