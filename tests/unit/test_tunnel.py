"""The tunnel: an outer IPv4 header in front, sizes minded, the packet inside left as it was."""

import pytest
from scapy.layers.inet import IP, IPOption_NOP, IPOption_Router_Alert
from scapy.packet import Padding

from pktlb.datapath.frame import GSO_TCP4, GSO_UDP, NO_OFFLOAD, Frame
from pktlb.model import Mode, Proto, Reason
from tests.cases import Case
from tests.gateway import Engine, Gateway, service, tables
from tests.oracle import slow_reassembly
from tests.packets import (
    DMZ,
    ETHER,
    at,
    backend,
    client,
    frame,
    gso,
    icmp_unreachable,
    parsed,
    partial,
    tcp,
    udp,
    via,
    vip,
    wrapped,
)

TUNNEL = tables(service(Mode.TUNNEL), service(Mode.TUNNEL, at=vip(53), proto=Proto.UDP))
INSIDE = via(DMZ, client())
THERE = at(vip(), backend())
DNS = at(vip(53), backend())
SYN = tcp(client(), vip(), "S")
FULL = tcp(client(), vip(), "A", bytes(1460))
LONG = gso(tcp(client(), vip(), "A", bytes(3000)), 1460)
SUMMED = gso(udp(client(), vip(53), bytes(3000)), 1473)

TO_ZERO = bytes(frame(udp(INSIDE, DNS, b"\0\0")).data[40:42])
"A payload that makes the UDP checksum come out as 0."

CASES = [
    Case("a SYN gets an outer header from the balancer to the backend, with a TTL of its own",
         TUNNEL, tcp(client(), vip(), "S", ttl=9), Reason.OPENED,
         [wrapped(backend(), tcp(INSIDE, THERE, "S", ttl=8))]),
    Case("each packet gets the next identification", TUNNEL, tcp(client(), vip(), "A"),
         Reason.FORWARDED, [wrapped(backend(), tcp(INSIDE, THERE, "A", ttl=63), id=2)],
         before=[SYN]),
    Case("ToS and both bits of ECN are copied", TUNNEL, tcp(client(), vip(), "S", tos=0xBB),
         Reason.OPENED, [wrapped(backend(), tcp(INSIDE, THERE, "S", tos=0xBB, ttl=63))]),
    Case("DF stays clear outside where it is clear inside", TUNNEL,
         udp(client(), vip(53), b"q", df=False), Reason.OPENED,
         [wrapped(backend(), udp(INSIDE, DNS, b"q", df=False, ttl=63))]),
    Case("a datagram that was not summed stays so", TUNNEL,
         udp(client(), vip(53), b"q", check=0), Reason.OPENED,
         [wrapped(backend(), udp(INSIDE, DNS, b"q", check=0, ttl=63))]),
    Case("options stay inside", TUNNEL,
         udp(client(), vip(53), b"q", options=[IPOption_NOP(), IPOption_Router_Alert()]),
         Reason.OPENED,
         [wrapped(backend(), udp(INSIDE, DNS, b"q", ttl=63,
                                 options=[IPOption_NOP(), IPOption_Router_Alert()]))]),
    Case("a partial checksum is completed, for no card looks into a tunnel", TUNNEL,
         partial(tcp(client(), vip(), "S", b"odd")), Reason.OPENED,
         [wrapped(backend(), tcp(INSIDE, THERE, "S", b"odd", ttl=63))]),
    Case("a partial checksum of a datagram is completed", TUNNEL,
         partial(udp(client(), vip(53), b"query")), Reason.OPENED,
         [wrapped(backend(), udp(INSIDE, DNS, b"query", ttl=63))]),
    Case("a datagram whose completed checksum comes out as 0 says 0xffff", TUNNEL,
         partial(udp(client(), vip(53), TO_ZERO)), Reason.OPENED,
         [wrapped(backend(), udp(INSIDE, DNS, TO_ZERO, check=0xFFFF, ttl=63))]),
    Case("Ethernet padding is not wrapped, nor summed", TUNNEL,
         Frame(1, partial(SYN).data + b"\xaa" * 6, partial(SYN).offload), Reason.OPENED,
         [wrapped(backend(), tcp(INSIDE, THERE, "S", ttl=63))]),
    Case("Ethernet padding does not make a packet too big", TUNNEL,
         tcp(client(), vip(), "S", bytes(1440)) / Padding(b"\xaa" * 20), Reason.OPENED,
         [wrapped(backend(), tcp(INSIDE, THERE, "S", bytes(1440), ttl=63))]),
    Case("a packet that just fits with its outer header passes", TUNNEL,
         tcp(client(), vip(), "A", bytes(1440)), Reason.FORWARDED,
         [wrapped(backend(), tcp(INSIDE, THERE, "A", bytes(1440), ttl=63), id=2)], before=[SYN]),
    Case("one byte more with DF is answered from the VIP with the size that fits", TUNNEL,
         tcp(client(), vip(), "A", bytes(1441)), Reason.TOO_BIG,
         [icmp_unreachable(4, tcp(client(), vip(), "A", bytes(1441)), 1480)], before=[SYN]),
    Case("the packet is quoted as it came, up to 576 bytes in all", TUNNEL, FULL, Reason.TOO_BIG,
         [icmp_unreachable(4, FULL, 1480)], before=[SYN]),
    Case("a long frame is refused when its segments do not fit", TUNNEL, LONG, Reason.TOO_BIG,
         [icmp_unreachable(4, parsed(LONG), 1480)], before=[SYN]),
    Case("a train of datagrams is refused when one of them does not fit", TUNNEL, SUMMED,
         Reason.TOO_BIG, [icmp_unreachable(4, parsed(SUMMED), 1480)]),
    Case("a first packet that is too big opens its flow all the same", TUNNEL,
         udp(client(), vip(53), b"small"), Reason.FORWARDED,
         [wrapped(backend(), udp(INSIDE, DNS, b"small", ttl=63))],
         before=[udp(client(), vip(53), bytes(1473))]),
    Case("an offload of another protocol cannot be cut", TUNNEL,
         Frame(1, LONG.data, LONG.offload._replace(gso_type=GSO_UDP, segment_size=1000)),
         Reason.UNSEGMENTABLE, before=[SYN]),
    Case("datagrams offloaded as TCP cannot be cut", TUNNEL,
         Frame(1, SUMMED.data, SUMMED.offload._replace(gso_type=GSO_TCP4, segment_size=1000)),
         Reason.UNSEGMENTABLE),
    Case("segments of no size cannot be cut", TUNNEL,
         Frame(1, LONG.data, LONG.offload._replace(segment_size=0)), Reason.UNSEGMENTABLE,
         before=[SYN]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tunnel(case: Case, engine: Engine) -> None:
    case.check(engine)


def test_without_df_the_outer_packet_is_fragmented(engine: Engine) -> None:
    gateway = Gateway(engine, TUNNEL)
    outcome = gateway.receive(udp(client(), vip(53), bytes(range(256)) * 8, df=False, tos=4))
    assert outcome.reason is Reason.OPENED
    outer = [parsed(sent)[IP] for sent in outcome.frames]
    assert [len(packet) for packet in outer] == [1500, 616]
    assert [(p.frag, int(p.flags), p.tos, p.id, p.ttl) for p in outer] == [
        (0, 1, 4, 1, 64), (185, 0, 4, 1, 64)
    ]  # fmt: skip
    assert all(packet.dst == backend().address and packet.proto == 4 for packet in outer)
    whole = slow_reassembly([bytes(sent.data[ETHER:]) for sent in outcome.frames])
    inner = udp(INSIDE, DNS, bytes(range(256)) * 8, df=False, tos=4, ttl=63)
    assert whole == bytes(wrapped(backend(), inner)[IP])


def test_the_longest_packet_there_is_is_fragmented_inside_before_it_is_wrapped(
    engine: Engine,
) -> None:
    """With an outer header in front it would be longer than an IPv4 packet can be."""
    gateway = Gateway(engine, TUNNEL)
    outcome = gateway.receive(udp(client(), vip(53), bytes(65507), df=False))
    assert outcome.reason is Reason.OPENED
    by_ident: dict[int, list[bytes]] = {}
    for sent in outcome.frames:
        by_ident.setdefault(parsed(sent).id, []).append(bytes(sent.data[ETHER:]))
    inner = [slow_reassembly(pieces)[20:] for pieces in by_ident.values()]
    assert len(inner) == 2
    whole = udp(INSIDE, DNS, bytes(65507), df=False, ttl=63)
    assert slow_reassembly(inner) == bytes(whole[IP])


def test_the_longest_packet_there_is_with_df_is_too_big_whatever_the_link(engine: Engine) -> None:
    given = tables(service(Mode.TUNNEL, at=vip(53), proto=Proto.UDP), mtu=65536)
    gateway = Gateway(engine, given)
    packet = udp(client(), vip(53), bytes(65488))
    gateway.expect(packet, Reason.TOO_BIG, icmp_unreachable(4, packet, 65515))
    assert gateway.reason(udp(client(), vip(53), bytes(65487))) is Reason.FORWARDED


def test_the_identification_wraps_around(engine: Engine) -> None:
    data = bytes(frame(SYN).data)
    plane = Gateway(engine, TUNNEL).engine
    for _ in range(0xFFFF):
        plane.handle(Frame(1, bytearray(data), NO_OFFLOAD), 0.0)
    (sent,) = plane.handle(Frame(1, bytearray(data), NO_OFFLOAD), 0.0).frames
    assert parsed(sent).id == 0
