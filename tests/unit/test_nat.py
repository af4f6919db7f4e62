"""NAT: the destination is rewritten on the way in, and the reply is undone on the way back."""

from dataclasses import replace

import pytest
from scapy.layers.inet import IPOption_NOP, IPOption_Router_Alert, IPOption_RR
from scapy.packet import Padding

from pktlb.datapath.frame import NEEDS_CHECKSUM, Frame, Offload
from pktlb.datapath.pipeline import Limits
from pktlb.model import Mode, Proto, Reason
from tests.cases import Case
from tests.gateway import Engine, Gateway, hop_to, service, tables
from tests.oracle import slow_sum
from tests.packets import (
    DMZ,
    LAN,
    Packet,
    Peer,
    backend,
    client,
    frame,
    gso,
    icmp_unreachable,
    packed,
    parsed,
    partial,
    tcp,
    udp,
    via,
    vip,
)

NAT = tables(
    service(Mode.NAT), service(Mode.NAT, at=vip(53), proto=Proto.UDP, port=5353), lan_mtu=1400
)
INSIDE = via(DMZ, client())
"The client as backends see it: its own address behind the balancer's MAC."
DNS = backend("a", 5353)
SYN = tcp(client(), vip(), "S")
QUERY = udp(client(), vip(53), b"question")
OPTIONS = [IPOption_NOP(), IPOption_Router_Alert(), IPOption_RR(length=7, routers=["0.0.0.0"])]


def unsummed(source: Peer, target: Peer, ttl: int = 64) -> Packet:
    """A datagram whose sender did not sum it."""
    return udp(source, target, b"unsummed", check=0, ttl=ttl)


def summing_to_nothing(source: Peer, target: Peer) -> bytes:
    """A payload that makes the UDP checksum of a datagram come out as 0."""
    without = frame(udp(source, target, b"\0\0"))
    return bytes(without.data[40:42])


def begun_inside(packet: Packet) -> Frame:
    """`packet` with a partial checksum in its payload, as of a header inside a UDP tunnel."""
    return frame(packet, Offload(NEEDS_CHECKSUM, 0, 0, 0, 50, 16))


TO_ZERO = summing_to_nothing(INSIDE, DNS)
BACK_TO_ZERO = summing_to_nothing(vip(53), client())

FORTH = [
    Case(
        "a SYN gets the backend's address, port and MAC, and one less TTL",
        NAT, SYN, Reason.OPENED, [tcp(INSIDE, backend(), "S", ttl=63)],
    ),
    Case(
        "data of a known flow follows",
        NAT, tcp(client(), vip(), "PA", b"hello", ttl=2), Reason.FORWARDED,
        [tcp(INSIDE, backend(), "PA", b"hello", ttl=1)], before=[SYN],
    ),
    Case(
        "an odd number of payload bytes is summed right",
        NAT, tcp(client(), vip(), "PA", b"odd"), Reason.FORWARDED,
        [tcp(INSIDE, backend(), "PA", b"odd", ttl=63)], before=[SYN],
    ),
    Case(
        "a datagram opens a flow of its own protocol",
        NAT, QUERY, Reason.OPENED, [udp(INSIDE, DNS, b"question", ttl=63)],
    ),
    Case(
        "a datagram that was not summed stays so",
        NAT, unsummed(client(), vip(53)), Reason.OPENED, [unsummed(INSIDE, DNS, 63)],
    ),
    Case(
        "a UDP checksum that comes out as 0 is sent as 0xffff",
        NAT, udp(client(), vip(53), TO_ZERO), Reason.OPENED,
        [udp(INSIDE, DNS, TO_ZERO, check=0xFFFF, ttl=63)],
    ),
    Case(
        "a partial checksum stays partial, over the new addresses",
        NAT, partial(tcp(client(), vip(), "S", b"early")), Reason.OPENED,
        [partial(tcp(INSIDE, backend(), "S", b"early", ttl=63))],
    ),
    Case(
        "a partial checksum of a datagram stays partial, over the new addresses",
        NAT, partial(QUERY), Reason.OPENED, [partial(udp(INSIDE, DNS, b"question", ttl=63))],
    ),
    Case(
        "TCP options are kept",
        NAT, tcp(client(), vip(), "S", tcp_options=[("MSS", 1460)]), Reason.OPENED,
        [tcp(INSIDE, backend(), "S", tcp_options=[("MSS", 1460)], ttl=63)],
    ),
    Case(
        "IPv4 options are kept and summed",
        NAT, udp(client(), vip(53), b"x", options=OPTIONS), Reason.OPENED,
        [udp(INSIDE, DNS, b"x", options=OPTIONS, ttl=63)],
    ),
    Case(
        "Ethernet padding is not part of the packet",
        NAT, SYN / Padding(b"\xaa" * 6), Reason.OPENED, [tcp(INSIDE, backend(), "S", ttl=63)],
    ),
    Case(
        "a checksum begun further in, as inside a UDP tunnel, is none of ours",
        NAT, begun_inside(udp(client(), vip(53), bytes(40))), Reason.OPENED,
        [begun_inside(udp(INSIDE, DNS, bytes(40), ttl=63))],
    ),
    Case(
        "ToS, identification and DF are nobody's business",
        NAT, tcp(client(), vip(), "S", tos=0x2F, id=0xBEEF, df=False), Reason.OPENED,
        [tcp(INSIDE, backend(), "S", tos=0x2F, id=0xBEEF, df=False, ttl=63)],
    ),
    Case(
        "a frame of 64 KiB goes through whole, its offload untouched",
        NAT, gso(tcp(client(), vip(), "PA", bytes(65495)), 1448), Reason.FORWARDED,
        [gso(tcp(INSIDE, backend(), "PA", bytes(65495), ttl=63), 1448)], before=[SYN],
    ),
    Case(
        "a train of datagrams goes through whole",
        NAT, gso(udp(client(), vip(53), bytes(9000)), 1200), Reason.OPENED,
        [gso(udp(INSIDE, DNS, bytes(9000), ttl=63), 1200)],
    ),
]  # fmt: skip

BACK = [
    Case(
        "a reply comes from the VIP, to the MAC that the client has",
        NAT, tcp(backend(), INSIDE, "SA"), Reason.RETURNED, [tcp(vip(), client(), "SA", ttl=63)],
        before=[SYN],
    ),
    Case(
        "a datagram is returned",
        NAT, udp(DNS, INSIDE, b"answer"), Reason.RETURNED,
        [udp(vip(53), client(), b"answer", ttl=63)], before=[QUERY],
    ),
    Case(
        "a returned datagram that was not summed stays so",
        NAT, unsummed(DNS, INSIDE), Reason.RETURNED, [unsummed(vip(53), client(), 63)],
        before=[QUERY],
    ),
    Case(
        "a returned UDP checksum that comes out as 0 is sent as 0xffff",
        NAT, udp(DNS, INSIDE, BACK_TO_ZERO), Reason.RETURNED,
        [udp(vip(53), client(), BACK_TO_ZERO, check=0xFFFF, ttl=63)], before=[QUERY],
    ),
    Case(
        "a returned partial checksum stays partial",
        NAT, partial(tcp(backend(), INSIDE, "A", b"data")), Reason.RETURNED,
        [partial(tcp(vip(), client(), "A", b"data", ttl=63))], before=[SYN],
    ),
    Case(
        "a long frame is returned whole",
        NAT, gso(tcp(backend(), INSIDE, "A", bytes(30000)), 1348), Reason.RETURNED,
        [gso(tcp(vip(), client(), "A", bytes(30000), ttl=63), 1348)], before=[SYN],
    ),
    Case(
        "a reply too big for the client's link is refused towards the backend",
        NAT, tcp(backend(), INSIDE, "A", bytes(1361)), Reason.TOO_BIG,
        [icmp_unreachable(4, tcp(backend(), INSIDE, "A", bytes(1361)), 1400)], before=[SYN],
    ),
    Case(
        "a reply of just the size of the client's link passes",
        NAT, tcp(backend(), INSIDE, "A", bytes(1360)), Reason.RETURNED,
        [tcp(vip(), client(), "A", bytes(1360), ttl=63)], before=[SYN],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", [*FORTH, *BACK], ids=str)
def test_nat(case: Case, engine: Engine) -> None:
    case.check(engine)


@pytest.mark.parametrize("proto", [Proto.TCP, Proto.UDP])
def test_a_packet_too_big_without_df_is_fragmented_after_translation(
    engine: Engine, proto: Proto
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


def test_two_services_with_one_backend_and_one_client_port_are_told_apart(engine: Engine) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT), service(Mode.NAT, at=vip(81))))
    first = gateway.sends(SYN)
    second = gateway.sends(tcp(client(), vip(81), "S"))
    assert first.sport == 4000
    assert second.sport not in (4000, *range(1024))
    assert (second[1].src, second[1].dst, second.dport) == ("10.0.1.2", "10.0.2.2", 8080)
    seen_as = via(DMZ, client(second.sport))
    gateway.expect(
        tcp(backend(), seen_as, "SA"), Reason.RETURNED, tcp(vip(81), client(), "SA", ttl=63)
    )
    gateway.expect(
        tcp(backend(), INSIDE, "SA"), Reason.RETURNED, tcp(vip(), client(), "SA", ttl=63)
    )


def test_a_client_whose_port_was_lent_to_another_gets_another(engine: Engine) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT), service(Mode.NAT, at=vip(81))))
    gateway.sends(SYN)
    lent = gateway.sends(tcp(client(), vip(81), "S")).sport
    assert gateway.sends(tcp(client(lent), vip(), "S")).sport not in (lent, 4000)


def test_a_backend_of_many_services_runs_out_of_ports_for_one_client_port(engine: Engine) -> None:
    services = [service(Mode.NAT, at=vip(1000 + number)) for number in range(65)]
    gateway = Gateway(engine, tables(*services))
    given = [tcp(client(), vip(1000 + number), "S") for number in range(65)]
    ports = {gateway.sends(syn).sport for syn in given[:64]}
    assert len(ports) == 64
    assert gateway.reason(given[64]) is Reason.NO_PORT
    assert len(gateway.engine.flows) == 64


def test_protocols_do_not_share_flows(engine: Engine) -> None:
    both = tables(service(Mode.NAT), service(Mode.NAT, proto=Proto.UDP))
    gateway = Gateway(engine, both)
    gateway.expect(SYN, Reason.OPENED, tcp(INSIDE, backend(), "S", ttl=63))
    gateway.expect(udp(client(), vip()), Reason.OPENED, udp(INSIDE, backend(), ttl=63))
    gateway.expect(udp(backend(), INSIDE), Reason.RETURNED, udp(vip(), client(), ttl=63))


def test_a_client_that_changes_its_mac_or_port_gets_its_replies_there(engine: Engine) -> None:
    gateway = Gateway(engine, NAT)
    gateway.receive(SYN)
    moved = client(mac="02:00:00:00:01:77")
    gateway.sends(tcp(moved, vip(), "A"))
    gateway.expect(tcp(backend(), INSIDE, "A"), Reason.RETURNED, tcp(vip(), moved, "A", ttl=63))
    around = frame(tcp(moved, vip(), "A"))
    gateway.receive(Frame(DMZ, around.data))
    (reply,) = gateway.receive(tcp(backend(), INSIDE, "A")).frames
    assert reply.port == DMZ
    assert parsed(reply).dst == moved.mac


def test_a_reply_whose_way_back_is_gone_is_dropped(engine: Engine) -> None:
    gateway = Gateway(engine, NAT)
    gateway.receive(SYN)
    left = {port: info for port, info in NAT.ports.items() if port != LAN}
    gateway.engine.swap(replace(NAT, ports=left))
    assert gateway.reason(tcp(backend(), INSIDE, "SA")) is Reason.NO_NEXT_HOP


def test_a_backend_without_next_hop_is_counted_until_it_has_one(engine: Engine) -> None:
    gateway = Gateway(engine, replace(NAT, hops={}))
    assert gateway.reason(SYN) is Reason.NO_NEXT_HOP
    gateway.engine.swap(replace(NAT, hops={packed(backend().address): hop_to("a")}))
    gateway.expect(SYN, Reason.FORWARDED, tcp(INSIDE, backend(), "S", ttl=63))


def test_one_armed_replies_leave_by_the_port_they_came_in(engine: Engine) -> None:
    hop = hop_to("a")._replace(port=LAN)
    gateway = Gateway(engine, replace(NAT, hops={packed(backend().address): hop}))
    (sent,) = gateway.receive(SYN).frames
    assert sent.port == LAN
    reply = frame(tcp(backend(), INSIDE, "SA"))
    (back,) = gateway.receive(Frame(LAN, reply.data)).frames
    assert back == frame(tcp(vip(), client(), "SA", ttl=63))


def test_the_header_checksum_is_right_whatever_it_was(engine: Engine) -> None:
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
