"""The socket filters, run by a small interpreter of classic BPF and compared with a plain test."""

import socket
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from pktlb.engine.wire.filter import (
    EVERYTHING,
    MAX_INSTRUCTIONS,
    NOTHING,
    Match,
    Program,
    Side,
    compile_filters,
)
from pktlb.model import Vip

TCP_ONLY, UDP_ONLY, BOTH = (6,), (17,), (6, 17)


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


VIP, VIP6 = packed("10.0.1.100"), packed("2001:db8::100")
BACKEND, BACKEND6 = packed("10.0.2.11"), packed("2001:db8:2::11")
MATCHES = [
    Match(Side.DESTINATION, Vip(VIP, 80, 80, TCP_ONLY)),
    Match(Side.DESTINATION, Vip(VIP, 53, 53, UDP_ONLY)),
    Match(Side.DESTINATION, Vip(VIP, 5000, 5999, BOTH)),
    Match(Side.DESTINATION, Vip(packed("10.0.1.102"))),
    Match(Side.DESTINATION, Vip(packed("10.0.1.103"), protos=(47,))),
    Match(Side.SOURCE, Vip(BACKEND, 8080, 8080, TCP_ONLY)),
    Match(Side.DESTINATION, Vip(VIP6, 80, 80, TCP_ONLY)),
    Match(Side.DESTINATION, Vip(VIP6, 5000, 5999, UDP_ONLY)),
    Match(Side.DESTINATION, Vip(packed("2001:db8::102"))),
    Match(Side.SOURCE, Vip(BACKEND6, 8080, 8080, TCP_ONLY)),
]


def run(program: Program, frame: bytes, packet_type: int = 0, tag: int | None = None) -> int:
    """The bytes that the kernel would hand over. A load out of bounds ends with 0.

    `tag`: the VLAN tag that the kernel has taken off the frame and tells beside it; 16 bits, the
    priority and the VLAN.
    """
    ancillary = {
        0xFFFFF000 + 4: packet_type,
        0xFFFFF000 + 44: tag or 0,
        0xFFFFF000 + 48: int(tag is not None),
    }
    memory: dict[int, int] = {}
    at = a = x = 0
    while True:
        code, on_true, on_false, k = program[at]
        at += 1
        if code == 0x06:
            return k
        if code == 0x05:
            at += k
        elif code in (0x15, 0x25, 0x35, 0x45):
            hit = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code]
            at += on_true if hit else on_false
        elif code == 0x02:
            memory[k] = a
        elif code in (0x00, 0x07, 0x60, 0x64, 0x4C):
            if code == 0x07:
                x = a
            else:
                a = {0x00: k, 0x60: memory.get(k, 0), 0x64: a << k & 0xFFFFFFFF, 0x4C: a | x}[code]
        elif k in ancillary:
            a = ancillary[k]
        else:
            where = k + (x if code in (0x48, 0x50) else 0)
            size = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2, 0x50: 1, 0xB1: 1}[code]
            if where + size > len(frame):
                return 0
            value = int.from_bytes(frame[where : where + size], "big")
            a, x = (a, 4 * (value & 0x0F)) if code == 0xB1 else (value, x)


def to(packet: Packet) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


def tcp6(**fields: object) -> Packet:
    return IPv6(src="2001:db8:9::9", dst="2001:db8::100", **fields)


WANTED = {
    "to the service": IP(src="1.2.3.4", dst="10.0.1.100") / TCP(sport=4000, dport=80),
    "to the other service": IP(src="1.2.3.4", dst="10.0.1.100") / UDP(dport=53),
    "the first of a range": IP(dst="10.0.1.100") / UDP(dport=5000),
    "the last of a range": IP(dst="10.0.1.100") / TCP(dport=5999),
    "anything to an address": IP(dst="10.0.1.102") / TCP(dport=1),
    "anything without ports to an address": IP(dst="10.0.1.102", proto=132) / Raw(b""),
    "a protocol of its own": IP(dst="10.0.1.103") / GRE(),
    "from a backend": IP(src="10.0.2.11", dst="1.2.3.4") / TCP(sport=8080, dport=4000),
    "with options": IP(dst="10.0.1.100", options=b"\x94\x04\0\0") / TCP(dport=80),
    "a first fragment": IP(dst="10.0.1.100", flags="MF") / TCP(dport=80),
    "a first fragment for others": IP(dst="10.0.1.100", flags="MF") / TCP(dport=81),
    "a later fragment": IP(dst="10.0.1.100", frag=5, proto=6) / b"\x0f\xa0\x00\x50",
    "a later fragment from a backend": IP(src="10.0.2.11", dst="1.2.3.4", frag=5) / b"x",
    "an ICMP error to any host": IP(dst="9.9.9.9") / ICMP(type=3, code=4),
    "time exceeded": IP(dst="9.9.9.9") / ICMP(type=11),
    "a parameter problem": IP(dst="9.9.9.9", options=b"\x94\x04\0\0") / ICMP(type=12),
    "to the service over IPv6": tcp6() / TCP(sport=4000, dport=80),
    "a range over IPv6": tcp6() / UDP(dport=5500),
    "anything to an IPv6 address": IPv6(dst="2001:db8::102") / UDP(dport=9),
    "an IPv6 address without ports": IPv6(dst="2001:db8::102", nh=50) / Raw(b"12345678"),
    "from an IPv6 backend": IPv6(src="2001:db8:2::11", dst="2001:db8:9::9") / TCP(sport=8080),
    "an IPv6 fragment": tcp6() / IPv6ExtHdrFragment(offset=3, nh=6) / Raw(b"12345678"),
    "from a backend, a fragment": IPv6(src="2001:db8:2::11") / IPv6ExtHdrFragment(nh=6) / b"1",
    "options of IPv6": tcp6() / IPv6ExtHdrHopByHop() / TCP(dport=80),
    "options of IPv6, another port": tcp6() / IPv6ExtHdrDestOpt() / TCP(dport=81),
    "an ICMPv6 error to any host": IPv6(dst="2001:db8:7::7") / ICMPv6PacketTooBig(),
}
UNWANTED = {
    "another port": IP(dst="10.0.1.100") / TCP(dport=81),
    "another protocol": IP(dst="10.0.1.100") / UDP(dport=80),
    "another address": IP(dst="10.0.1.101") / TCP(dport=80),
    "before a range": IP(dst="10.0.1.100") / UDP(dport=4999),
    "behind a range": IP(dst="10.0.1.100") / UDP(dport=6000),
    "the backend as destination": IP(dst="10.0.2.11") / TCP(dport=8080),
    "the service as source": IP(src="10.0.1.100") / TCP(sport=80),
    "a later fragment to others": IP(dst="10.0.1.101", frag=5, proto=6) / b"\x0f\xa0\x00\x50",
    "another protocol than its own": IP(dst="10.0.1.103") / TCP(dport=80),
    "ping to the service": IP(dst="10.0.1.100") / ICMP(),
    "ping to an address": IP(dst="10.0.1.102") / ICMP(),
    "ICMPv6 in IPv4": IP(dst="10.0.1.102", proto=58) / b"\1\0\0\0\0\0\0\0",
    "a fragment of an ICMP error": IP(dst="9.9.9.9", flags="MF") / ICMP(type=3),
    "ARP": ARP(),
    "cut short": IP(dst="10.0.1.100", proto=6),
    "another IPv6 address": IPv6(dst="2001:db8::101") / TCP(dport=80),
    "another IPv6 network": IPv6(dst="2001:db9::100") / TCP(dport=80),
    "another port over IPv6": tcp6() / TCP(dport=81),
    "another protocol over IPv6": tcp6() / UDP(dport=80),
    "ping over IPv6": IPv6(dst="2001:db8::102") / ICMPv6EchoRequest(),
    "an IPv6 fragment to others": IPv6(dst="2001:db8::101") / IPv6ExtHdrFragment(offset=3),
    "IPv6 cut short": tcp6(nh=6),
}


@pytest.mark.parametrize("packet", WANTED.values(), ids=WANTED.keys())
def test_a_frame_with_a_wanted_end_is_accepted_whole(packet: Packet) -> None:
    for program in compile_filters(MATCHES):
        assert run(program, to(packet)) >= 65535 + 40 + 14


@pytest.mark.parametrize("packet", UNWANTED.values(), ids=UNWANTED.keys())
def test_a_frame_without_a_wanted_end_is_rejected(packet: Packet) -> None:
    assert run(compile_filters(MATCHES)[0], to(packet)) == 0


@pytest.mark.parametrize("packet_type", [1, 2, 3, 4])
def test_frames_to_other_hosts_are_rejected(packet_type: int) -> None:
    for program in compile_filters(MATCHES):
        for name in ("to the service", "to the service over IPv6", "an ICMP error to any host"):
            assert run(program, to(WANTED[name]), packet_type=packet_type) == 0


@pytest.mark.parametrize("tag", [0x0001, 0x0FFF, 0x2001, 0xEFFF, 0x1005])
def test_a_frame_of_a_vlan_is_rejected(tag: int) -> None:
    for program in compile_filters(MATCHES):
        for name in ("to the service", "to the service over IPv6", "an ICMP error to any host"):
            assert run(program, to(WANTED[name]), tag=tag) == 0


@pytest.mark.parametrize("tag", [0x0000, 0x2000, 0xE000, 0x1000, 0xF000])
def test_a_frame_with_a_tag_for_its_priority_alone_is_treated_like_one_without(tag: int) -> None:
    for program in compile_filters(MATCHES):
        for packet in (*WANTED.values(), *UNWANTED.values()):
            assert run(program, to(packet), tag=tag) == run(program, to(packet))
        assert run(program, to(WANTED["to the service"]), tag=tag, packet_type=3) == 0


@pytest.mark.parametrize("inner", [Dot1Q(vlan=5), Dot1Q(vlan=0), Dot1AD(vlan=5)])
def test_a_frame_with_one_more_tag_behind_its_priority_is_rejected(inner: Packet) -> None:
    for program in compile_filters(MATCHES):
        assert run(program, to(inner / WANTED["to the service"]), tag=0x2000) == 0


def test_the_program_nothing_rejects_every_frame() -> None:
    assert run(NOTHING, to(WANTED["to the service"])) == 0
    assert run(compile_filters([])[0], to(WANTED["to the service"])) == 0


def test_the_program_everything_accepts_ip_to_this_host() -> None:
    for packet in [*WANTED.values(), *UNWANTED.values()]:
        assert bool(run(EVERYTHING, to(packet))) is not isinstance(packet, ARP)


def many(count: int, ports: int, size: int = 4) -> list[Match]:
    return [
        Match(Side.DESTINATION, Vip((0x0A000000 + i).to_bytes(size, "big"), port, port, TCP_ONLY))
        for i in range(count)
        for port in range(1, 2 * ports, 2)
    ]


@pytest.mark.parametrize(
    ("matches", "exact"),
    [
        (many(500, 1), True), (many(3, 500), True), (many(1000, 1), False),
        (many(5000, 1), False), (many(200, 1, 16), True), (many(1, 1500, 16), True),
        (many(400, 1, 16), False), (many(2000, 1, 16), False),
    ],
    ids=["ends", "ports", "addresses", "everything", "ends6", "ports6", "addresses6", "all6"],
)  # fmt: skip
def test_a_filter_that_would_be_too_long_becomes_coarser_but_misses_nothing(
    matches: Sequence[Match], exact: bool
) -> None:
    programs = compile_filters(matches)
    assert all(len(program) <= MAX_INSTRUCTIONS for program in programs)
    assert all(0 <= jump < 256 for p in programs for step in p for jump in step[1:3])
    address, port, _, _ = matches[-1].ends

    def dialled(number: int) -> bytes:
        if len(address) == 16:
            return to(IPv6(dst=socket.inet_ntop(socket.AF_INET6, address)) / TCP(dport=number))
        return to(IP(dst=".".join(map(str, address))) / TCP(dport=number))

    assert run(programs[0], dialled(port))
    assert bool(run(programs[0], dialled(port + 1))) is not exact
    assert run(programs[0], to(ARP())) == 0


def test_each_next_program_is_shorter_and_accepts_at_least_as_much() -> None:
    exact, addresses, everything = compile_filters(MATCHES)
    assert len(exact) > len(addresses) > len(everything)
    other_port = to(UNWANTED["another port"])
    assert [bool(run(p, other_port)) for p in (exact, addresses, everything)] == [False, True, True]
    other_address = to(UNWANTED["another IPv6 address"])
    assert [bool(run(p, other_address)) for p in (addresses, everything)] == [False, True]
    assert run(everything, to(ARP())) == 0
    assert run(everything, to(WANTED["to the service"]), tag=1) == 0


ADDRESSES = [VIP, BACKEND, packed("10.0.1.102"), packed("10.0.1.103")]
ADDRESSES6 = [VIP6, BACKEND6, packed("2001:db8::102"), packed("2001:db8:9::9")]
PORTS = st.sampled_from([0, 1, 79, 80, 81, 5000, 5500, 5999, 6000, 65535])
SPANS = st.tuples(PORTS, PORTS).map(lambda pair: (min(pair), max(pair)))
PROTOS = st.sampled_from([(), TCP_ONLY, UDP_ONLY, BOTH, (47,)])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Side)), st.sampled_from(ADDRESSES + ADDRESSES6), SPANS, PROTOS
        ),
        max_size=8,
    ),
    st.sampled_from([ADDRESSES, ADDRESSES6]).flatmap(
        lambda family: st.tuples(st.sampled_from(family), st.sampled_from(family))
    ),
    st.tuples(PORTS, PORTS),
    st.sampled_from([6, 17, 47, 1, 58]),
)
def test_a_program_accepts_what_a_plain_comparison_of_ends_accepts(
    ends: list[tuple[Side, bytes, tuple[int, int], tuple[int, ...]]],
    addresses: tuple[bytes, bytes], ports: tuple[int, int], proto: int,
) -> None:  # fmt: skip
    """Ends are compared by address, ports and protocol, as a plane does."""
    matches = [
        Match(side, Vip(address, *(span if set(protos) & set(BOTH) else (0, 65535)), protos))
        for side, address, span, protos in ends
    ]
    source, destination = addresses
    load = b"".join(port.to_bytes(2, "big") for port in ports) + bytes(16)
    if len(source) == 4:
        frame = to(IP(src=".".join(map(str, source)), dst=".".join(map(str, destination)),
                      proto=proto) / Raw(load))  # fmt: skip
    else:
        frame = to(IPv6(src=socket.inet_ntop(socket.AF_INET6, source),
                        dst=socket.inet_ntop(socket.AF_INET6, destination), nh=proto)
                   / Raw(load))  # fmt: skip
    seen = dict(
        zip(Side, zip(addresses, ports if proto in BOTH else (0, 0), strict=True), strict=True)
    )
    kernels = (proto == 1 and len(source) == 4) or (proto == 58 and len(source) == 16)
    wanted = not kernels and any(
        seen[side][0] == vip.address
        and vip.low <= seen[side][1] <= vip.high
        and (proto in vip.protos or (not vip.protos and proto not in (1, 58)))
        for side, vip in matches
    )
    if kernels and load[0] in {1: (3, 11, 12), 58: (1, 2, 3, 4)}[proto]:
        wanted = True
    assert bool(run(compile_filters(matches)[0], frame)) == wanted
