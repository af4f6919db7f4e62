"""Protocols other than TCP and UDP: they are balanced by addresses."""

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet6 import IPv6ExtHdrDestOpt

from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason, Scheduler, Vip
from tests.support.cases import Case, both, each_world
from tests.support.gateway import TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.oracle import slow_checksum
from tests.support.packets import (
    DMZ,
    GATEWAY_MAC,
    V4,
    V6,
    WORLDS,
    Packet,
    Peer,
    Trouble,
    World,
    answer,
    at,
    fragmented,
    icmp_error,
    ip,
    ip_bytes,
    packed,
    tcp,
    udp,
    wrapped,
)
from tests.support.sound import Layout

NUMBERS = [Proto.GRE, Proto.ESP, Proto.AH, Proto.SCTP, 89, 253]
LOAD = bytes(range(40))
POOL = {4: ["10.0.2.9"], 6: ["2001:db8:2::9"]}


def whole(world: World, *protos: int) -> Vip:
    return Vip(packed(world.vip().address), 0, 65535, protos)


def laid_out(mode: Mode, world: World, *protos: int, **rest: Any) -> Tables:
    return tables(service(mode, {"a": 1, "b": 1}, at=whole(world, *protos), port=0), **rest)


def cases(world: World) -> Iterator[Case]:
    client, vip, inside, there = world.client(), world.vip(), world.inside, world.backend()
    for number in NUMBERS:
        packet = ip(client, vip, LOAD, proto=number)
        nat = laid_out(Mode.NAT, world, number)
        back, returned = (
            ip(there, inside, LOAD, proto=number),
            ip(vip, client, LOAD, proto=number, ttl=63),
        )
        yield Case(
            f"NAT changes the address of protocol {number}",
            nat,
            packet,
            Reason.OPENED,
            [ip(inside, there, LOAD, proto=number, ttl=63)],
        )
        yield Case(
            f"and follows it, {number}",
            nat,
            packet,
            Reason.FORWARDED,
            [ip(inside, there, LOAD, proto=number, ttl=63)],
            before=[packet],
        )
        yield Case(f"and back, {number}", nat, back, Reason.RETURNED, [returned], before=[packet])
        yield Case(
            f"DSR changes nothing of protocol {number}",
            laid_out(Mode.DSR, world, number),
            packet,
            Reason.OPENED,
            [ip(inside, at(vip, there), LOAD, proto=number, ttl=63)],
        )
        yield Case(f"a tunnel wraps protocol {number}",
                   laid_out(Mode.TUNNEL, world, number), packet, Reason.OPENED,
                   [wrapped(there, ip(inside, at(vip, there), LOAD, proto=number, ttl=63))]
                   )  # fmt: skip
    gre = laid_out(Mode.NAT, world, Proto.GRE)
    yield Case(
        "a protocol without a service", gre, ip(client, vip, LOAD, proto=50), Reason.NOT_OURS
    )
    yield Case("TCP at a service for GRE", gre, tcp(client, vip, "S"), Reason.NOT_OURS)
    yield Case(
        "a packet of nothing but its header",
        gre,
        ip(client, vip, b"", proto=47),
        Reason.OPENED,
        [ip(inside, there, b"", proto=47, ttl=63)],
    )
    last = ip(client, vip, LOAD, proto=47, ttl=1)
    yield Case(
        "a TTL that runs out is told", gre, last, Reason.TTL_EXPIRED, [answer(Trouble.TIME, last)]
    )
    big = ip(client, vip, bytes(1481), proto=47)
    yield Case("too big is told", gre, big, Reason.TOO_BIG, [answer(Trouble.BIG, big, 1500)])
    told = ip(inside, there, LOAD, proto=47, ttl=63)
    router = Peer(world.address(7, 7), 0, "02:00:00:00:02:77")
    yield Case("an error is the client's, however little is quoted", gre,
               icmp_error(Trouble.BIG, told, router, inside, 1300, quoted=world.size),
               Reason.RELATED,
               [icmp_error(Trouble.BIG, ip(client, vip, LOAD, proto=47, ttl=63), vip, client, 1300,
                           quoted=world.size, ttl=63)],
               before=[ip(client, vip, LOAD, proto=47)])  # fmt: skip


@pytest.mark.parametrize("case", both(cases))
def test_a_packet_of_a_protocol_without_ports(case: Case, engine: MakePlane) -> None:
    case.check(engine)


@each_world
@pytest.mark.parametrize("inner", WORLDS, ids=["IPv4 inside", "IPv6 inside"])
@pytest.mark.parametrize("mode", [Mode.NAT, Mode.DSR])
def test_an_error_about_a_tunnel_that_is_not_ours(
    engine: MakePlane, world: World, inner: World, mode: Mode
) -> None:
    """A service may be for IP in IP itself: then the error quotes a packet of its flow."""
    proto = 4 if inner is V4 else 41
    load = ip_bytes(udp(inner.client(9, inner.address(9, 9)), inner.client(8, inner.address(8, 8))))
    client, vip, there = world.client(), world.vip(), world.backend()
    gateway = Gateway(engine, laid_out(mode, world, proto))
    gateway.sends(ip(client, vip, load, proto=proto))
    router = Peer(world.address(7, 7), 0, "02:00:00:00:01:77")
    sent = ip(vip, client, load, proto=proto)
    was = ip(there if mode is Mode.NAT else vip, world.inside, load, proto=proto)
    told = router._replace(mac=GATEWAY_MAC[DMZ])
    target = there if mode is Mode.NAT else at(vip, there)
    gateway.expect(
        icmp_error(Trouble.BIG, sent, router, vip, 1300), Reason.RELATED,
        icmp_error(Trouble.BIG, was, told, target, 1300, ttl=63),
    )  # fmt: skip


def summed(source: Peer, target: Peer, proto: int, ttl: int = 64) -> Packet:
    """A packet of DCCP or UDP-Lite: the checksum covers the addresses (RFC 4340, section 9.1; RFC
    3828, section 3.1)."""
    load = bytearray(LOAD)
    load[4:8] = bytes(4)
    ends = packed(source.address) + packed(target.address)
    load[6:8] = slow_checksum(
        Layout(ends, proto, 0, 0, 0, False).pseudo(len(load)) + bytes(load)
    ).to_bytes(2, "big")
    return ip(source, target, bytes(load), proto=proto, ttl=ttl)


@each_world
@pytest.mark.parametrize("proto", [Proto.DCCP, Proto.UDPLITE])
def test_checksums_over_addresses_are_corrected(
    engine: MakePlane, world: World, proto: int
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world, proto))
    gateway.expect(
        summed(world.client(), world.vip(), proto), Reason.OPENED,
        summed(world.inside, world.backend(), proto, 63),
    )  # fmt: skip
    gateway.expect(
        summed(world.backend(), world.inside, proto), Reason.RETURNED,
        summed(world.vip(), world.client(), proto, 63),
    )  # fmt: skip


@each_world
def test_a_packet_too_short_for_its_checksum_is_left_as_it_is(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world, Proto.DCCP))
    for size in (0, 1, 6, 7):
        gateway.expect(
            ip(world.client(), world.vip(), LOAD[:size], proto=33),
            Reason.OPENED if not size else Reason.FORWARDED,
            ip(world.inside, world.backend(), LOAD[:size], proto=33, ttl=63),
        )


@each_world
def test_without_ports_each_client_is_one_flow(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world, Proto.GRE))
    for host, name in ((2, "a"), (3, "b"), (4, "a"), (2, "a"), (3, "b")):
        sender = world.client(address=world.address(1, host))
        assert gateway.sends(ip(sender, world.vip(), LOAD, proto=47)).dst == world.backend(name).mac


@each_world
def test_a_flow_without_ports_expires_like_datagrams(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world, Proto.GRE))
    packet = ip(world.client(), world.vip(), LOAD, proto=47)
    assert gateway.reason(packet, 0.0) is Reason.OPENED
    assert gateway.reason(packet, TIMEOUTS.udp - 0.25) is Reason.FORWARDED
    assert gateway.reason(packet, 2 * TIMEOUTS.udp - 0.25) is Reason.OPENED


@each_world
def test_two_vips_cannot_share_a_client_at_one_backend(engine: MakePlane, world: World) -> None:
    """The reply would not tell which VIP it belongs to."""
    vips = [Vip(packed(world.address(1, host)), 0, 65535, (47,)) for host in (100, 101)]
    gateway = Gateway(engine, tables(*(service(Mode.NAT, at=vip, port=0) for vip in vips)))
    first, second = (world.vip(0, world.address(1, host)) for host in (100, 101))
    assert gateway.reason(ip(world.client(), first, LOAD, proto=47)) is Reason.OPENED
    assert gateway.reason(ip(world.client(), second, LOAD, proto=47)) is Reason.NO_PORT


@each_world
def test_a_pool_gives_each_client_an_address_of_its_own(engine: MakePlane, world: World) -> None:
    """There are no ports to tell clients apart by."""
    pool = [world.address(2, host) for host in (8, 9)]
    given = tables(service(Mode.NAT, at=whole(world, 47), port=0), snat=pool)
    gateway = Gateway(engine, given)
    senders = [world.client(address=world.address(1, host)) for host in (2, 3, 4)]
    guises = [Peer(address, 0, GATEWAY_MAC[DMZ]) for address in sorted(pool)]
    for sender, guise in zip(senders, guises, strict=False):
        packet = ip(sender, world.vip(), LOAD, proto=47)
        gateway.expect(
            packet, Reason.OPENED, ip(guise, world.backend(), LOAD, proto=47, ttl=63)
        )  # fmt: skip
        gateway.expect(
            ip(world.backend(), guise, LOAD, proto=47), Reason.RETURNED,
            ip(world.vip(), sender, LOAD, proto=47, ttl=63),
        )  # fmt: skip
    assert gateway.reason(ip(senders[2], world.vip(), LOAD, proto=47)) is Reason.NO_PORT


@each_world
@pytest.mark.parametrize("mode", Mode)
def test_fragments_of_any_protocol_arrive(engine: MakePlane, world: World, mode: Mode) -> None:
    gateway = Gateway(engine, laid_out(mode, world, Proto.ESP))
    packet = ip(world.client(), world.vip(), LOAD * 10, proto=50, df=False)
    pieces = fragmented(packet, 160)
    assert len(gateway.sends_all(*pieces[::-1])) == len(pieces)
    assert len(gateway.plane.flows) == 1


def test_an_extension_header_is_not_the_protocol(engine: MakePlane) -> None:
    """The protocol is that of the header behind them."""
    gateway = Gateway(engine, laid_out(Mode.NAT, V6, Proto.GRE))
    extensions = [IPv6ExtHdrDestOpt()]
    gateway.expect(
        ip(V6.client(), V6.vip(), LOAD, proto=47, extensions=extensions), Reason.OPENED,
        ip(V6.inside, V6.backend(), LOAD, proto=47, extensions=extensions, ttl=63),
    )  # fmt: skip


@each_world
def test_a_service_for_all_protocols_takes_all_but_icmp(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    kernel = {V4: (1,), V6: (58,)}[world]
    loads = {inner: ip_bytes(udp(w.client(), w.vip())) for inner, w in ((4, V4), (41, V6))}
    for number in (4, 41, 47, 50, 51, 89, 132, 253):
        packet = ip(world.client(), world.vip(), loads.get(number, LOAD), proto=number)
        assert gateway.reason(packet) is Reason.OPENED
    for number in kernel:
        packet = ip(world.client(), world.vip(), b"\x80" + LOAD, proto=number)
        assert gateway.reason(packet) is Reason.NOT_OURS
    assert gateway.reason(udp(world.client(), world.vip())) is Reason.OPENED
    assert gateway.reason(tcp(world.client(), world.vip(), "S")) is Reason.OPENED
    assert gateway.reason(tcp(world.client(7), world.vip(), "A")) is Reason.NOT_OPEN


@pytest.mark.parametrize("scheduler", [Scheduler.SOURCE, Scheduler.MAGLEV, Scheduler.HASH])
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_two_balancers_choose_alike_for_protocols_without_ports(
    engine: MakePlane, world: World, scheduler: Scheduler
) -> None:
    table = service(Mode.DSR, {"a": 1, "b": 1, "c": 1}, at=whole(world), scheduler=scheduler)
    chosen = set()
    for host in range(2, 30):
        packet = ip(world.client(address=world.address(1, host)), world.vip(), LOAD, proto=50)
        one, other = (Gateway(engine, tables(table)).sends(packet).dst for _ in range(2))
        assert one == other
        chosen.add(one)
    assert len(chosen) == 3
