"""NAT: the destination is rewritten on the way in, and the reply is undone on the way back."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IPOption_NOP, IPOption_Router_Alert, IPOption_RR
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.packet import Padding

from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, Frame, Offload
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import Case, both
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.oracle import slow_sum
from tests.support.packets import (
    DMZ,
    V4,
    V6,
    Packet,
    Peer,
    Trouble,
    World,
    answer,
    backend,
    client,
    frame,
    gso,
    parsed,
    partial,
    tcp,
    udp,
    vip,
)
from tests.support.sound import layout


def nat(world: World) -> Tables:
    return tables(
        service(Mode.NAT, at=world.vip()),
        service(Mode.NAT, at=world.vip(53), proto=Proto.UDP, port=5353),
        lan_mtu=1400,
    )


NAT = nat(V4)
INSIDE = V4.inside
DNS = backend("a", 5353)
SYN = tcp(client(), vip(), "S")
QUERY = udp(client(), vip(53), b"question")
OPTIONS = [IPOption_NOP(), IPOption_Router_Alert(), IPOption_RR(length=7, routers=["0.0.0.0"])]
EXTENSIONS = [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()]


def unsummed(source: Peer, target: Peer, ttl: int = 64) -> Packet:
    """A datagram that its sender sent without a checksum."""
    return udp(source, target, b"unsummed", check=0, ttl=ttl)


def summing_to_nothing(source: Peer, target: Peer) -> bytes:
    """A payload that makes the UDP checksum of a datagram come out as 0."""
    made = frame(udp(source, target, b"\0\0")).data
    at = layout(bytes(made[14:])).transport + 14 + 6
    return bytes(made[at : at + 2])


def begun_inside(packet: Packet) -> Frame:
    """`packet` with a partial checksum in its payload, as of a header inside a UDP tunnel."""
    return frame(packet, Offload(NEEDS_CHECKSUM, 0, 0, 0, 70, 16))


def forth(world: World) -> Iterator[Case]:
    given, client, vip, inside = nat(world), world.client(), world.vip(), world.inside
    dns, there, their_dns = world.vip(53), world.backend(), world.backend("a", 5353)
    syn = tcp(client, vip, "S")
    to_zero = summing_to_nothing(inside, their_dns)
    mss = [("MSS", 1460)]
    long = bytes(65475)
    yield Case(
        "a SYN gets the backend's address, port and MAC, and one less TTL",
        given,
        syn,
        Reason.OPENED,
        [tcp(inside, there, "S", ttl=63)],
    )
    yield Case(
        "data of a known flow follows",
        given,
        tcp(client, vip, "PA", b"hello", ttl=2),
        Reason.FORWARDED,
        [tcp(inside, there, "PA", b"hello", ttl=1)],
        before=[syn],
    )
    yield Case(
        "an odd number of payload bytes is summed right",
        given,
        tcp(client, vip, "PA", b"odd"),
        Reason.FORWARDED,
        [tcp(inside, there, "PA", b"odd", ttl=63)],
        before=[syn],
    )
    yield Case(
        "a datagram opens a flow of its own protocol",
        given,
        udp(client, dns, b"question"),
        Reason.OPENED,
        [udp(inside, their_dns, b"question", ttl=63)],
    )
    yield Case(
        "a datagram without checksum stays so",  # in IPv6 tunnels may do that: RFC 6935
        given,
        unsummed(client, dns),
        Reason.OPENED,
        [unsummed(inside, their_dns, 63)],
    )
    yield Case(
        "a UDP checksum that comes out as 0 is sent as 0xffff",
        given,
        udp(client, dns, to_zero),
        Reason.OPENED,
        [udp(inside, their_dns, to_zero, check=0xFFFF, ttl=63)],
    )
    yield Case(
        "a partial checksum stays partial, over the new addresses",
        given,
        partial(tcp(client, vip, "S", b"early")),
        Reason.OPENED,
        [partial(tcp(inside, there, "S", b"early", ttl=63))],
    )
    yield Case(
        "a partial checksum of a datagram stays partial, over the new addresses",
        given,
        partial(udp(client, dns, b"question")),
        Reason.OPENED,
        [partial(udp(inside, their_dns, b"question", ttl=63))],
    )
    yield Case(
        "TCP options are kept",
        given,
        tcp(client, vip, "S", tcp_options=mss),
        Reason.OPENED,
        [tcp(inside, there, "S", tcp_options=mss, ttl=63)],
    )
    yield Case(
        "window scaling and selective acknowledgements are untouched",
        given,
        tcp(client, vip, "A", tcp_options=[("SAck", (5, 9))]),
        Reason.FORWARDED,
        [tcp(inside, there, "A", tcp_options=[("SAck", (5, 9))], ttl=63)],
        before=[syn],
    )
    yield Case(
        "Ethernet padding is not part of the packet",
        given,
        syn / Padding(b"\xaa" * 6),
        Reason.OPENED,
        [tcp(inside, there, "S", ttl=63)],
    )
    yield Case(
        "a checksum begun further in, as inside a UDP tunnel, is none of ours",
        given,
        begun_inside(udp(client, dns, bytes(60))),
        Reason.OPENED,
        [begun_inside(udp(inside, their_dns, bytes(60), ttl=63))],
    )
    yield Case(
        "a frame of 64 KiB goes through whole, its offload untouched",
        given,
        gso(tcp(client, vip, "PA", long), 1428),
        Reason.FORWARDED,
        [gso(tcp(inside, there, "PA", long, ttl=63), 1428)],
        before=[syn],
    )
    yield Case(
        "a train of datagrams goes through whole",
        given, gso(udp(client, dns, bytes(9000)), 1200), Reason.OPENED,
        [gso(udp(inside, their_dns, bytes(9000), ttl=63), 1200)],
    )  # fmt: skip


def back(world: World) -> Iterator[Case]:
    given, client, vip, inside = nat(world), world.client(), world.vip(), world.inside
    dns, there, their_dns = world.vip(53), world.backend(), world.backend("a", 5353)
    syn, query = tcp(client, vip, "S"), udp(client, dns, b"question")
    to_zero = summing_to_nothing(dns, client)
    most = bytes(1400 - world.size - 20)
    yield Case(
        "a reply comes from the VIP, to the MAC that the client has",
        given,
        tcp(there, inside, "SA"),
        Reason.RETURNED,
        [tcp(vip, client, "SA", ttl=63)],
        before=[syn],
    )
    yield Case(
        "a datagram is returned",
        given,
        udp(their_dns, inside, b"answer"),
        Reason.RETURNED,
        [udp(dns, client, b"answer", ttl=63)],
        before=[query],
    )
    yield Case(
        "a returned datagram that was not summed stays so",
        given,
        unsummed(their_dns, inside),
        Reason.RETURNED,
        [unsummed(dns, client, 63)],
        before=[query],
    )
    yield Case(
        "a returned UDP checksum that comes out as 0 is sent as 0xffff",
        given,
        udp(their_dns, inside, to_zero),
        Reason.RETURNED,
        [udp(dns, client, to_zero, check=0xFFFF, ttl=63)],
        before=[query],
    )
    yield Case(
        "a returned partial checksum stays partial",
        given,
        partial(tcp(there, inside, "A", b"data")),
        Reason.RETURNED,
        [partial(tcp(vip, client, "A", b"data", ttl=63))],
        before=[syn],
    )
    yield Case(
        "a long frame is returned whole",
        given,
        gso(tcp(there, inside, "A", bytes(30000)), 1328),
        Reason.RETURNED,
        [gso(tcp(vip, client, "A", bytes(30000), ttl=63), 1328)],
        before=[syn],
    )
    yield Case(
        "a reply too big for the client's link is refused towards the backend",
        given,
        tcp(there, inside, "A", most + b"1"),
        Reason.TOO_BIG,
        [answer(Trouble.BIG, tcp(there, inside, "A", most + b"1"), 1400)],
        before=[syn],
    )
    yield Case(
        "a reply of just the size of the client's link passes",
        given, tcp(there, inside, "A", most), Reason.RETURNED,
        [tcp(vip, client, "A", most, ttl=63)], before=[syn],
    )  # fmt: skip


HEADERS = [
    Case(
        "IPv4 options are kept and summed",
        NAT, udp(client(), vip(53), b"x", options=OPTIONS), Reason.OPENED,
        [udp(INSIDE, DNS, b"x", options=OPTIONS, ttl=63)],
    ),
    Case(
        "ToS, identification and DF stay as they are",
        NAT, tcp(client(), vip(), "S", tos=0x2F, id=0xBEEF, df=False), Reason.OPENED,
        [tcp(INSIDE, backend(), "S", tos=0x2F, id=0xBEEF, df=False, ttl=63)],
    ),
    Case(
        "traffic class and flow label stay as they are",
        nat(V6), tcp(V6.client(), V6.vip(), "S", tos=0x2F, fl=0xBEEF5), Reason.OPENED,
        [tcp(V6.inside, V6.backend(), "S", tos=0x2F, fl=0xBEEF5, ttl=63)],
    ),
    Case(
        "IPv6 extension headers are kept",
        nat(V6), tcp(V6.client(), V6.vip(), "S", b"odd", extensions=EXTENSIONS), Reason.OPENED,
        [tcp(V6.inside, V6.backend(), "S", b"odd", extensions=EXTENSIONS, ttl=63)],
    ),
    Case(
        "a partial checksum behind extension headers stays partial",
        nat(V6), partial(tcp(V6.client(), V6.vip(), "S", b"odd", extensions=EXTENSIONS)),
        Reason.OPENED,
        [partial(tcp(V6.inside, V6.backend(), "S", b"odd", extensions=EXTENSIONS, ttl=63))],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", [*both(forth), *both(back), *HEADERS], ids=str)
def test_a_frame_in_mode_nat(case: Case, engine: MakePlane) -> None:
    case.check(engine)


@pytest.mark.parametrize("proto", [Proto.TCP, Proto.UDP])
def test_a_packet_too_big_without_df_is_fragmented_after_translation(
    engine: MakePlane, proto: Proto
) -> None:
    given = tables(service(Mode.NAT), service(Mode.NAT, at=vip(53), proto=Proto.UDP), mtu=600)
    gateway = Gateway(engine, given)
    whole = {
        Proto.TCP: tcp(client(), vip(), "S", bytes(1000), df=False),
        Proto.UDP: udp(client(), vip(53), bytes(1000), df=False),
    }
    outcome = gateway.receive(partial(whole[proto]))
    assert outcome.reason is Reason.OPENED
    assert [parsed(sent)["IP"].frag for sent in outcome.frames] == [0, 72]
    assert all(not sent.offload.flags for sent in outcome.frames)


def test_the_header_checksum_is_right_whatever_it_was(engine: MakePlane) -> None:
    """Every identification of a reply, and so every value that its checksum can have."""
    plane = engine(NAT, Limits())
    plane.handle(frame(QUERY), 0.0)
    template = frame(udp(DNS, INSIDE, b"answer")).data
    base = sum(int.from_bytes(template[at : at + 2], "big") for at in (14, 16, 20, 22, 26, 28))
    base += sum(int.from_bytes(template[at : at + 2], "big") for at in (30, 32))
    for ident in range(0x10000):
        data = bytearray(template)
        total = base + ident
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        data[18:20] = ident.to_bytes(2, "big")
        data[24:26] = (0xFFFF - total).to_bytes(2, "big")
        plane.handle(Frame(DMZ, data), 0.0)
        assert slow_sum(bytes(data[14:34])) == 0xFFFF
    assert plane.counts[Reason.RETURNED] == 0x10000
