"""The socket filters, run by a small interpreter of classic BPF beside the obvious predicate."""

from collections.abc import Sequence

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pktlb.wire.filter import MAX_INSTRUCTIONS, NOTHING, Match, Program, Side, compile_filters

VIP, BACKEND = bytes([10, 0, 1, 100]), bytes([10, 0, 2, 11])
MATCHES = [
    Match(Side.DESTINATION, 6, VIP, 80),
    Match(Side.DESTINATION, 17, VIP, 53),
    Match(Side.SOURCE, 6, BACKEND, 8080),
]


def run(program: Program, frame: bytes, packet_type: int = 0, vlan: int = 0) -> int:
    """What the kernel would return: bytes to hand over. Loads out of bounds return 0."""
    ancillary = {0xFFFFF000 + 4: packet_type, 0xFFFFF000 + 48: vlan}
    at = a = x = 0
    while True:
        code, on_true, on_false, operand = program[at]
        at += 1
        if code == 0x06:
            return operand
        if code in (0x15, 0x45):
            hit = a == operand if code == 0x15 else a & operand
            at += on_true if hit else on_false
            continue
        if operand in ancillary:
            a = ancillary[operand]
            continue
        where = operand + (x if code == 0x48 else 0)
        size = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2, 0xB1: 1}[code]
        if where + size > len(frame):
            return 0
        value = int.from_bytes(frame[where : where + size], "big")
        if code == 0xB1:
            x = 4 * (value & 0x0F)
        else:
            a = value


def to(packet: Packet) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


WANTED = {
    "to the service": IP(src="1.2.3.4", dst="10.0.1.100") / TCP(sport=4000, dport=80),
    "to the other service": IP(src="1.2.3.4", dst="10.0.1.100") / UDP(dport=53),
    "from a backend": IP(src="10.0.2.11", dst="1.2.3.4") / TCP(sport=8080, dport=4000),
    "with options": IP(dst="10.0.1.100", options=b"\x94\x04\0\0") / TCP(dport=80),
    "a first fragment": IP(dst="10.0.1.100", flags="MF") / TCP(dport=80),
}
UNWANTED = {
    "another port": IP(dst="10.0.1.100") / TCP(dport=81),
    "another protocol": IP(dst="10.0.1.100") / UDP(dport=80),
    "another address": IP(dst="10.0.1.101") / TCP(dport=80),
    "the backend as destination": IP(dst="10.0.2.11") / TCP(dport=8080),
    "the service as source": IP(src="10.0.1.100") / TCP(sport=80),
    "a later fragment": IP(dst="10.0.1.100", frag=5, proto=6) / b"\x0f\xa0\x00\x50",
    "ARP": ARP(),
    "cut short": IP(dst="10.0.1.100", proto=6),
}


@pytest.mark.parametrize("packet", WANTED.values(), ids=WANTED.keys())
def test_what_is_ours_is_let_through_whole(packet: Packet) -> None:
    assert run(compile_filters(MATCHES)[0], to(packet)) >= 65536 + 14


@pytest.mark.parametrize("packet", UNWANTED.values(), ids=UNWANTED.keys())
def test_what_is_not_ours_is_kept_away(packet: Packet) -> None:
    assert run(compile_filters(MATCHES)[0], to(packet)) == 0


@pytest.mark.parametrize("packet_type", [1, 2, 3, 4])
def test_frames_for_others_are_kept_away(packet_type: int) -> None:
    frame = to(WANTED["to the service"])
    assert run(compile_filters(MATCHES)[0], frame, packet_type=packet_type) == 0


def test_tagged_frames_belong_to_the_vlan_interface() -> None:
    assert run(compile_filters(MATCHES)[0], to(WANTED["to the service"]), vlan=1) == 0


def test_nothing_lets_nothing_through() -> None:
    assert run(NOTHING, to(WANTED["to the service"])) == 0
    assert run(compile_filters([])[0], to(WANTED["to the service"])) == 0


def many(count: int, ports: int) -> list[Match]:
    return [
        Match(Side.DESTINATION, 6, (0x0A000000 + i).to_bytes(4, "big"), port + 1)
        for i in range(count)
        for port in range(ports)
    ]


@pytest.mark.parametrize(
    ("matches", "exact"),
    [(many(500, 1), True), (many(1000, 1), False), (many(5000, 1), False)],
    ids=["ends", "addresses", "everything"],
)
def test_a_filter_that_would_be_too_long_becomes_coarser_but_misses_nothing(
    matches: Sequence[Match], exact: bool
) -> None:
    programs = compile_filters(matches)
    assert all(len(program) <= MAX_INSTRUCTIONS for program in programs)
    program = programs[0]
    last = IP(dst=".".join(map(str, matches[-1].address))) / TCP(dport=1)
    assert run(program, to(last))
    near = IP(dst=".".join(map(str, matches[-1].address))) / TCP(dport=2)
    assert bool(run(program, to(near))) is not exact
    assert run(program, to(ARP())) == 0


def test_each_next_filter_is_shorter_and_lets_through_at_least_as_much() -> None:
    exact, addresses, everything = compile_filters(MATCHES)
    assert len(exact) > len(addresses) > len(everything)
    other_port = to(UNWANTED["another port"])
    assert [bool(run(p, other_port)) for p in (exact, addresses, everything)] == [False, True, True]
    other_address = to(UNWANTED["another address"])
    assert [bool(run(p, other_address)) for p in (addresses, everything)] == [False, True]
    assert run(everything, to(ARP())) == 0
    assert run(everything, to(WANTED["to the service"]), vlan=1) == 0
