"""The programs that keep ARP and neighbour discovery about other addresses away."""

import struct

import pytest

from pktlb.host import arp, nd, sieve

MAC = bytes([2, 0, 0, 0, 0, 7])
LINK, OTHER_LINK = 3, 4
IFINDEX = 0xFFFFF008


def v4(number: int) -> bytes:
    return (0x0A000000 + number).to_bytes(4, "big")


def v6(number: int) -> bytes:
    return bytes.fromhex("20010db8") + bytes(8) + number.to_bytes(4, "big")


def run(code: bytes, frame: bytes, link: int = LINK) -> int:
    """The bytes that a program lets through: classic BPF, as far as these programs need it."""
    program = list(struct.iter_unpack("=HBBI", code))
    assert len(program) <= 4096
    at = a = 0
    while True:
        operation, yes, no, k = program[at]
        at += 1
        if operation == 0x06:
            return int(k)
        if operation == 0x15:
            at += yes if a == k else no
        elif k == IFINDEX:
            a = link
        else:
            size = {0x20: 4, 0x28: 2, 0x30: 1}[operation]
            if k + size > len(frame):
                return 0
            a = int.from_bytes(frame[k : k + size], "big")


@pytest.mark.parametrize("count", [1, 3, 256])
def test_arp_about_these_addresses_is_let_through_and_no_other(count: int) -> None:
    code = sieve.arp_about([*map(v4, range(count)), v6(900)], LINK)
    for number in {0, count - 1}:
        for frame in (arp.probe(v4(number), MAC), *arp.announcements(v4(number), MAC)):
            assert run(code, frame) == sieve.LONGEST
            assert run(code, frame, OTHER_LINK) == 0
    for frame in (arp.probe(v4(900), MAC), *arp.announcements(v4(900), MAC)):
        assert run(code, frame) == 0


@pytest.mark.parametrize("count", [1, 3, 256])
def test_discovery_of_these_addresses_is_let_through_and_no_other(count: int) -> None:
    code = sieve.nd_about([*map(v6, range(count)), v4(900)], LINK)
    for number in {0, count - 1}:
        for frame in (nd.probe(v6(number), MAC), nd.announcement(v6(number), MAC, False)):
            assert run(code, frame) == sieve.LONGEST
            assert run(code, frame, OTHER_LINK) == 0
    assert run(code, nd.probe(v6(900), MAC)) == 0
    echo = bytearray(nd.probe(v6(0), MAC))
    echo[nd.TYPE_AT] = 128
    assert run(code, bytes(echo)) == 0
    udp = bytearray(nd.probe(v6(0), MAC))
    udp[nd.NEXT_AT] = 17
    assert run(code, bytes(udp)) == 0


def test_a_neighbour_that_looks_for_an_address_is_not_heard() -> None:
    request = bytearray(arp.announcements(v4(5), MAC)[0])
    request[arp.TARGET_AT : arp.TARGET_AT + 4] = v4(0)
    assert run(sieve.arp_about([v4(0)], LINK), bytes(request)) == 0
    solicitation = bytearray(nd.probe(v6(0), MAC))
    solicitation[nd.SOURCE_AT : nd.SOURCE_AT + 16] = v6(5)
    assert run(sieve.nd_about([v6(0)], LINK), bytes(solicitation)) == 0


def test_too_many_addresses_miss_nothing() -> None:
    assert run(sieve.arp_about(map(v4, range(257)), LINK), arp.probe(v4(0), MAC)) == sieve.LONGEST
    assert run(sieve.nd_about(map(v6, range(257)), LINK), nd.probe(v6(0), MAC)) == sieve.LONGEST


def test_no_address_lets_nothing_through() -> None:
    assert run(sieve.arp_about([], LINK), arp.probe(v4(0), MAC)) == 0
    assert run(sieve.nd_about([], LINK), nd.probe(v6(0), MAC)) == 0
