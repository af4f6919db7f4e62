"""ICMP errors that quote a flow: to its backend, to its client, or about a packet of a tunnel."""

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.packet import Padding

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import Case, both, each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    GATEWAY_MAC,
    LAN,
    V4,
    V6,
    WORLDS,
    Packet,
    Peer,
    Trouble,
    World,
    at,
    fragmented,
    frame,
    icmp_error,
    ip_bytes,
    router,
    tcp,
    udp,
    wrapped,
)

POOL = {4: "10.0.2.9", 6: "2001:db8:2::9"}
STAMP = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]


def nat(world: World, **rest: Any) -> Tables:
    dns = service(Mode.NAT, at=world.vip(53), proto=Proto.UDP, port=5353)
    return tables(service(Mode.NAT, at=world.vip()), dns, **rest)


TROUBLES = [
    (Trouble.BIG, 1400), (Trouble.HOST, 0), (Trouble.PORT, 0), (Trouble.TIME, 0),
    (Trouble.HEADER, 0),
]  # fmt: skip


def to_backend(world: World) -> Iterator[Case]:
    """NAT: errors about a packet from the VIP to the client."""
    given, client, vip, inside = nat(world), world.client(), world.vip(), world.inside
    there, who = world.backend(), router(world, LAN)
    before = [tcp(client, vip, "S"), tcp(there, inside, "SA")]
    sent = tcp(vip, client, "A", b"some data", tcp_options=STAMP, ttl=63)
    was = tcp(there, inside, "A", b"some data", tcp_options=STAMP, ttl=63)
    dialled, behind = vip, via_dmz(who)
    for trouble, mtu in TROUBLES:
        yield Case(
            f"{trouble.name} is told to the backend, about what it sent", given,
            icmp_error(trouble, sent, who, dialled, mtu), Reason.RELATED,
            [icmp_error(trouble, was, behind, there, mtu, ttl=63)], before=before,
        )  # fmt: skip
    for size in (8, 12, 16, 18, 19, 20, 30, 40):
        quoted = world.size + size
        yield Case(
            f"{size} bytes of the transport header are enough", given,
            icmp_error(Trouble.BIG, sent, who, dialled, 1400, quoted=quoted), Reason.RELATED,
            [icmp_error(Trouble.BIG, was, behind, there, 1400, quoted=quoted, ttl=63)],
            before=before,
        )  # fmt: skip
    for size in (0, 1, 4, 7):
        short = icmp_error(Trouble.BIG, sent, who, dialled, 1400, quoted=world.size + size)
        yield Case(
            f"{size} bytes of the transport header tell of no flow", given, short,
            Reason.NOT_OURS, before=before,
        )  # fmt: skip
    stranger = tcp(vip, world.client(9), "A")
    yield Case(
        "an error about another client's packet", given,
        icmp_error(Trouble.BIG, stranger, who, dialled, 1400), Reason.NOT_OURS, before=before,
    )  # fmt: skip
    yield Case(
        "an error that quotes nothing", given,
        icmp_error(Trouble.BIG, sent, who, dialled, 1400, quoted=0), Reason.NOT_OURS,
        before=before,
    )  # fmt: skip
    error = icmp_error(Trouble.BIG, sent, who, dialled, 1400)
    padded = error / Padding(b"\xaa" * 6)
    yield Case(
        "Ethernet padding is not sent on", given, padded, Reason.RELATED,
        [icmp_error(Trouble.BIG, was, behind, there, 1400, ttl=63)], before=before,
    )  # fmt: skip


def via_dmz(who: Peer) -> Peer:
    return who._replace(mac=GATEWAY_MAC[DMZ])


def to_client(world: World) -> Iterator[Case]:
    """NAT: errors about a packet that we sent to the backend."""
    given, client, vip, inside = nat(world), world.client(), world.vip(), world.inside
    there, dns, who = world.backend(), world.vip(53), router(world, DMZ)
    their_dns = world.backend("a", 5353)
    syn = tcp(client, vip, "S")
    sent = tcp(inside, there, "A", b"odd", ttl=63)
    was = tcp(client, vip, "A", b"odd", ttl=63)
    for trouble, mtu in TROUBLES:
        yield Case(
            f"{trouble.name} is told to the client, from the VIP, about what it sent", given,
            icmp_error(trouble, sent, who, inside, mtu), Reason.RELATED,
            [icmp_error(trouble, was, vip, client, mtu, ttl=63)], before=[syn],
        )  # fmt: skip
    yield Case(
        "a server that has no such port says so from the VIP", given,
        icmp_error(Trouble.PORT, udp(inside, their_dns, b"q", ttl=63), their_dns, inside),
        Reason.RELATED,
        [icmp_error(Trouble.PORT, udp(client, dns, b"q", ttl=63), vip, client, ttl=63)],
        before=[udp(client, dns, b"q")],
    )  # fmt: skip
    unsummed = udp(inside, their_dns, b"q", check=0, ttl=63)
    yield Case(
        "a quoted datagram that was not summed stays so", given,
        icmp_error(Trouble.PORT, unsummed, their_dns, inside), Reason.RELATED,
        [icmp_error(Trouble.PORT, udp(client, dns, b"q", check=0, ttl=63), vip, client, ttl=63)],
        before=[udp(client, dns, b"q")],
    )  # fmt: skip
    gone = tcp(inside, there, "A", b"x" * 5, ttl=1)
    yield Case(
        "the quoted packet's TTL stays what it was", given,
        icmp_error(Trouble.TIME, gone, who, inside), Reason.RELATED,
        [icmp_error(Trouble.TIME, tcp(client, vip, "A", b"x" * 5, ttl=1), vip, client, ttl=63)],
        before=[syn],
    )  # fmt: skip
    cut, _ = fragmented(udp(inside, their_dns, bytes(16), df=False, ttl=63), 16)
    one, _ = fragmented(udp(client, dns, bytes(16), df=False, ttl=63), 16)
    yield Case(
        "a first fragment tells its flow", given,
        icmp_error(Trouble.TIME, cut, who, inside), Reason.RELATED,
        [icmp_error(Trouble.TIME, one, vip, client, ttl=63)],
        before=[udp(client, dns, b"q")],
    )  # fmt: skip
    _, later = fragmented(udp(inside, their_dns, bytes(64), df=False, ttl=63), 48)
    yield Case(
        "a later fragment does not", given, icmp_error(Trouble.TIME, later, who, inside),
        Reason.NOT_OURS, before=[udp(client, dns, b"q")],
    )  # fmt: skip
    last = icmp_error(Trouble.TIME, sent, who, inside, ttl=1)
    yield Case(
        "an error whose own TTL runs out is dropped", given, last, Reason.TTL_EXPIRED,
        before=[syn],
    )  # fmt: skip
    of_error = icmp_error(Trouble.TIME, icmp_error(Trouble.TIME, sent, who, inside), who, inside)
    yield Case("an error about an error", given, of_error, Reason.NOT_OURS, before=[syn])


def pooled(world: World) -> Iterator[Case]:
    """With source NAT the quoted source changes as well."""
    pool = POOL[world.family]
    given, client, vip = nat(world, snat=[pool]), world.client(), world.vip()
    there, who, guise = world.backend(), router(world, DMZ), Peer(pool, 5000, GATEWAY_MAC[DMZ])
    limits = {"source_ports": [5000]}
    syn = tcp(client, vip, "S")
    yield Case(
        "an error about what came from the pool is the client's", given,
        icmp_error(Trouble.BIG, tcp(guise, there, "A", b"abc", ttl=63), who, guise, 1300),
        Reason.RELATED,
        [icmp_error(Trouble.BIG, tcp(client, vip, "A", b"abc", ttl=63), vip, client, 1300, ttl=63)],
        before=[syn], limits=limits,
    )  # fmt: skip
    yield Case(
        "an error about what the client got is the backend's, about what it sent to the pool",
        given,
        icmp_error(Trouble.BIG, tcp(vip, client, "A", b"abc"), router(world, LAN), vip, 1300),
        Reason.RELATED,
        [icmp_error(Trouble.BIG, tcp(there, guise, "A", b"abc"), via_dmz(router(world, LAN)),
                    there, 1300, ttl=63)],
        before=[syn], limits=limits,
    )  # fmt: skip


def direct(world: World) -> Iterator[Case]:
    """DSR and tunnel: errors about a packet of the backend in the VIP's name."""
    client, vip, inside = world.client(), world.vip(), world.inside
    there, who = at(vip, world.backend()), router(world, LAN)
    syn = tcp(client, vip, "S")
    sent = tcp(vip, client, "A", b"data", ttl=63)
    error = icmp_error(Trouble.BIG, sent, who, vip, 1300)
    told = icmp_error(Trouble.BIG, sent, via_dmz(who), there, 1300, ttl=63)
    yield Case("DSR: it goes to the flow's backend as it is", tables(service(Mode.DSR, at=vip)),
               error, Reason.RELATED, [told], before=[syn])  # fmt: skip
    for outer in WORLDS:
        given = tables(service(Mode.TUNNEL, at=vip, world=outer))
        ident = {"id": 2} if outer is V4 else {}
        yield Case(f"tunnel over {outer}: it goes to the flow's backend in one", given, error,
                   Reason.RELATED, [wrapped(outer.backend(), told, **ident)],
                   before=[syn])  # fmt: skip
    yield Case("DSR: an error about a packet of the client is not ours",
               tables(service(Mode.DSR, at=vip)),
               icmp_error(Trouble.TIME, tcp(inside, vip, "A"), who, inside), Reason.NOT_OURS,
               before=[syn])  # fmt: skip


@pytest.mark.parametrize(
    "case", [*both(to_backend), *both(to_client), *both(pooled), *both(direct)]
)
def test_an_error_goes_to_the_sender_of_the_packet_that_it_quotes(
    case: Case, engine: MakePlane
) -> None:
    case.check(engine)


@each_world
def test_a_wrong_icmp_checksum_is_refused(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, nat(world))
    gateway.receive(tcp(world.client(), world.vip(), "S"))
    sent = tcp(world.vip(), world.client(), "A")
    error = frame(icmp_error(Trouble.BIG, sent, router(world, LAN), world.vip(), 1400))
    for place in (14 + world.size + 2, 14 + world.size + 7, len(error.data) - 1):
        broken = Frame(error.port, bytearray(error.data))
        broken.data[place] ^= 1
        gateway.expect(broken, Reason.BAD_CHECKSUM)
    assert gateway.reason(error) is Reason.RELATED


@each_world
@pytest.mark.parametrize("mode", Mode)
def test_an_error_about_no_flow_stays_with_the_kernel(
    engine: MakePlane, world: World, mode: Mode
) -> None:
    gateway = Gateway(engine, tables(service(mode, at=world.vip())))
    sent = tcp(world.vip(), world.client(), "A")
    error = icmp_error(Trouble.BIG, sent, router(world, LAN), world.vip(), 1400)
    gateway.expect(error, Reason.NOT_OURS)


@each_world
def test_an_error_does_not_keep_a_flow_alive_nor_move_its_client(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, nat(world))
    client, vip = world.client(), world.vip()
    gateway.receive(tcp(client, vip, "S"), now=0.0)
    sent = tcp(vip, client, "A")
    error = icmp_error(Trouble.BIG, sent, router(world, LAN), vip, 1400)
    assert gateway.reason(error, now=9.0) is Reason.RELATED
    (flow,) = gateway.plane.flows
    assert flow.seen == 0.0
    back = gateway.sends(tcp(world.backend(), world.inside, "SA"), now=9.5)
    assert back.dst == client.mac


def about_tunnel(world: World, outer: World) -> Iterator[Case]:
    """A router between us and the backend quotes our outer packet."""
    given = tables(service(Mode.TUNNEL, at=world.vip(), world=outer))
    client, vip, inside, backend = world.client(), world.vip(), world.inside, outer.backend()
    us, who = outer.gateway(DMZ), router(outer, DMZ)
    syn = tcp(client, vip, "S")
    sent = tcp(inside, at(vip, backend), "A", bytes(1100), ttl=63)
    tunnelled = wrapped(backend, sent)

    def to_the_client(trouble: Trouble, quoted: Packet | bytes, mtu: int = 0) -> Packet:
        return icmp_error(trouble, quoted, vip, client, mtu, id=0, df=False)

    room = max(1300 - outer.size, 1280 if world is V6 else 0)
    yield Case("too big: the client hears of the size less the overhead", given,
               icmp_error(Trouble.BIG, tunnelled, who, us, 1300), Reason.RELATED,
               [to_the_client(Trouble.BIG, quoted_of(outer, tunnelled, world), room)],
               before=[syn])  # fmt: skip
    yield Case("unreachable: the client hears of it", given,
               icmp_error(Trouble.HOST, tunnelled, who, us), Reason.RELATED,
               [to_the_client(Trouble.HOST, quoted_of(outer, tunnelled, world))],
               before=[syn])  # fmt: skip
    yield Case("a TTL that ran out in the tunnel: the host is unreachable", given,
               icmp_error(Trouble.TIME, tunnelled, who, us), Reason.RELATED,
               [to_the_client(Trouble.HOST, quoted_of(outer, tunnelled, world))],
               before=[syn])  # fmt: skip
    for trouble in (Trouble.PROTOCOL, Trouble.PORT):
        yield Case(f"{trouble.name}: the backend refuses the tunnel's packet, not the client's",
                   given, icmp_error(trouble, tunnelled, backend, us), Reason.TUNNEL_REFUSED,
                   before=[syn])  # fmt: skip
    yield Case("a header that a router cannot read: the client hears of it", given,
               icmp_error(Trouble.HEADER, tunnelled, who, us), Reason.RELATED,
               [to_the_client(Trouble.HOST, quoted_of(outer, tunnelled, world))],
               before=[syn])  # fmt: skip
    least = outer.size + world.size + 8
    yield Case("8 bytes of the inner transport header are enough", given,
               icmp_error(Trouble.BIG, tunnelled, who, us, 1400, quoted=least), Reason.RELATED,
               [to_the_client(Trouble.BIG, ip_bytes(sent)[: world.size + 8],
                              max(1400 - outer.size, 1280 if world is V6 else 0))],
               before=[syn])  # fmt: skip
    yield Case("an error that quotes less is not ours", given,
               icmp_error(Trouble.BIG, tunnelled, who, us, 1400, quoted=least - 1),
               Reason.NOT_OURS, before=[syn])  # fmt: skip
    elsewhere = wrapped(outer.backend("b"), sent)
    yield Case("a tunnel to another machine", given,
               icmp_error(Trouble.BIG, elsewhere, who, us, 1300), Reason.NOT_OURS,
               before=[syn])  # fmt: skip


def quoted_of(outer: World, tunnelled: Packet, world: World) -> bytes:
    """The inner packet as far as the longest error quotes it."""
    quoted = ip_bytes(tunnelled)[: {4: 548, 6: 1232}[outer.family]]
    return quoted[outer.size :]


TUNNELS = [
    pytest.param(case, id=f"{world} in {outer}: {case}")
    for world in WORLDS
    for outer in WORLDS
    for case in about_tunnel(world, outer)
]


@pytest.mark.parametrize("case", TUNNELS)
def test_an_error_about_a_packet_of_a_tunnel(case: Case, engine: MakePlane) -> None:
    case.check(engine)


def test_an_error_without_an_mtu_means_one_that_every_host_takes(engine: MakePlane) -> None:
    """RFC 1191, section 5: a field of zero."""
    gateway = Gateway(engine, tables(service(Mode.TUNNEL)))
    gateway.receive(tcp(V4.client(), V4.vip(), "S"))
    sent = tcp(V4.inside, at(V4.vip(), V4.backend()), "A", bytes(800), ttl=63)
    error = icmp_error(
        Trouble.BIG, wrapped(V4.backend(), sent), router(V4, DMZ), V4.gateway(DMZ)
    )  # fmt: skip
    told = gateway.sends(error)
    assert 68 <= told["ICMP"].nexthopmtu <= 576 - 20


EXTENDED: dict[int, dict[str, Any]] = {
    4: {"options": [IPOption_NOP()] * 4},
    6: {"extensions": [IPv6ExtHdrDestOpt(), IPv6ExtHdrDestOpt()]},
}


@each_world
def test_quoted_options_and_extension_headers_are_skipped(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, nat(world))
    client, vip, who = world.client(), world.vip(), router(world, DMZ)
    extra = EXTENDED[world.family]
    gateway.receive(tcp(client, vip, "S"))
    sent = tcp(world.inside, world.backend(), "A", b"1", ttl=63, **extra)
    was = tcp(client, vip, "A", b"1", ttl=63, **extra)
    for quoted in (None, len(ip_bytes(sent)) - 13):
        gateway.expect(
            icmp_error(Trouble.TIME, sent, who, world.inside, quoted=quoted), Reason.RELATED,
            icmp_error(Trouble.TIME, was, vip, client, quoted=quoted, ttl=63),
        )  # fmt: skip


@pytest.mark.parametrize("place", [10, 1, 4])
def test_an_error_that_quotes_a_header_with_a_wrong_checksum_is_dropped(
    engine: MakePlane, place: int
) -> None:
    """RFC 5508, REQ-3 a."""
    gateway = Gateway(engine, nat(V4))
    gateway.receive(tcp(V4.client(), V4.vip(), "S"))
    quoted = bytearray(ip_bytes(tcp(V4.vip(), V4.client(), "A", b"data")))
    quoted[place] ^= 0x10
    wrong = icmp_error(Trouble.BIG, bytes(quoted), router(V4, LAN), V4.vip(), 1400)
    gateway.expect(wrong, Reason.BAD_CHECKSUM)


@pytest.mark.parametrize("place", [10, 20 + 10])
def test_both_quoted_headers_of_a_tunnel_must_be_right(engine: MakePlane, place: int) -> None:
    gateway = Gateway(engine, tables(service(Mode.TUNNEL)))
    sent = tcp(V4.client(), V4.vip(), "S", ttl=63)
    gateway.receive(tcp(V4.client(), V4.vip(), "S"))
    quoted = bytearray(ip_bytes(wrapped(V4.backend(), sent)))
    quoted[place] ^= 0x10
    wrong = icmp_error(Trouble.BIG, bytes(quoted), router(V4, DMZ), V4.gateway(DMZ), 1400)
    gateway.expect(wrong, Reason.BAD_CHECKSUM)


LIES = {
    4: [(2, 0xFFFF), (2, 20), (2, 0), (0, 0x4100), (0, 0x6500), (0, 0x4F00)],
    6: [(4, 0xFFFF), (4, 0), (4, 3), (0, 0x4000), (6, 0x0040), (6, 0x2C40), (6, 0x2B40)],
}


@each_world
def test_lies_in_a_quoted_header_do_no_harm(engine: MakePlane, world: World) -> None:
    """The error reaches at most this flow's backend, and what reaches it is sound."""
    gateway = Gateway(engine, nat(world))
    client, vip = world.client(), world.vip()
    gateway.receive(tcp(client, vip, "S"))
    sent = ip_bytes(tcp(vip, client, "A", bytes(30)))
    harmless = (Reason.RELATED, Reason.NOT_OURS, Reason.BAD_CHECKSUM)
    for place, word in LIES[world.family]:
        lie = sent[:place] + word.to_bytes(2, "big") + sent[place + 2 :]
        error = icmp_error(Trouble.BIG, lie, router(world, LAN), vip, 1400)
        assert gateway.reason(error) in harmless
