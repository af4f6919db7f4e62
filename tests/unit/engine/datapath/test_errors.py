"""ICMP errors that pktlb sends: source, receiver, occasion, and how many."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pktlb.engine.datapath.limiter import BURST, INTERVAL_MS
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason, Vip
from tests.support.cases import Case, both, each_world
from tests.support.gateway import ANY, Gateway, MakePlane, port_info, service, tables
from tests.support.packets import (
    DMZ,
    LAN,
    V4,
    V6,
    WORLDS,
    Packet,
    Peer,
    Trouble,
    World,
    answer,
    at,
    client,
    fragmented,
    icmp_error,
    ip,
    packed,
    tcp,
    udp,
    via,
    vip,
)


def out_of_time(world: World) -> Iterator[Case]:
    """In each mode the client gets the error from the VIP."""
    client, vip = world.client(), world.vip()
    syn = tcp(client, vip, "S")
    for mode in Mode:
        given = tables(service(mode, at=vip))
        for what, packet in (("a SYN", tcp(client, vip, "S", ttl=1)),
                             ("data", tcp(client, vip, "A", bytes(1300), ttl=1))):  # fmt: skip
            yield Case(
                f"{mode.value}: the TTL of {what} runs out", given, packet, Reason.TTL_EXPIRED,
                [answer(Trouble.TIME, packet)], before=[syn],
            )  # fmt: skip


def no_backend(world: World) -> Iterator[Case]:
    """The error is "port unreachable" where there is a port, else "host unreachable"."""
    client, vip = world.client(), world.vip()
    for mode in Mode:
        syn = tcp(client, vip, "S")
        yield Case(f"{mode.value}: no backend for a port", tables(service(mode, {}, at=vip)), syn,
                   Reason.NO_BACKEND, [answer(Trouble.PORT, syn)])  # fmt: skip
        gre = ip(client, vip, bytes(30), proto=47)
        whole = Vip(packed(vip.address), 0, 65535, (47,))
        yield Case(f"{mode.value}: no backend for a protocol", tables(service(mode, {}, at=whole)),
                   gre, Reason.NO_BACKEND, [answer(Trouble.HOST, gre)])  # fmt: skip


def from_own_address(world: World) -> Iterator[Case]:
    """Errors that cannot be sent in the name of the VIP."""
    client, vip, there = world.client(), world.vip(), at(world.vip(), world.backend())
    syn = tcp(client, vip, "S")
    big = tcp(there, world.inside, "A", bytes(1400))
    late = tcp(there, world.inside, "A", ttl=1)
    for mode in (Mode.DSR, Mode.TUNNEL):
        given = tables(service(mode, at=vip), lan_mtu=1400)
        us = world.gateway(DMZ)
        yield Case(f"{mode.value}: a backend whose answer is too big for the client's link",
                   given, big, Reason.TOO_BIG, [answer(Trouble.BIG, big, 1400, us)],
                   before=[syn])  # fmt: skip
        yield Case(f"{mode.value}: a backend whose answer's TTL runs out", given, late,
                   Reason.TTL_EXPIRED, [answer(Trouble.TIME, late, source=us)],
                   before=[syn])  # fmt: skip
    far = world.client(9, world.address(8, 8))._replace(mac=world.gateway(LAN).mac)
    spread, idle = tables(service(Mode.DSR, at=ANY)), tables(service(Mode.DSR, {}, at=ANY))
    us = world.gateway(LAN)
    last, first = tcp(client, far, "S", ttl=1), tcp(client, far, "S")
    yield Case("any: the TTL of a packet runs out", spread, last, Reason.TTL_EXPIRED,
               [answer(Trouble.TIME, last, source=us)])  # fmt: skip
    yield Case("any: no backend takes flows", idle, first, Reason.NO_BACKEND,
               [answer(Trouble.HOST, first, source=us)])  # fmt: skip
    small = tables(service(Mode.DSR, at=ANY), mtu=1300)
    wide = tcp(client, far, "S", bytes(1400))
    yield Case("any: a packet is too big for the appliance's link", small, wide, Reason.TOO_BIG,
               [answer(Trouble.BIG, wide, 1300, us)])  # fmt: skip


@pytest.mark.parametrize("case", [*both(out_of_time), *both(no_backend), *both(from_own_address)])
def test_the_sender_gets_an_error_from_an_address_that_it_can_tell_from_its_own(
    case: Case, engine: MakePlane
) -> None:
    case.check(engine)


def test_an_interface_without_an_address_of_the_family_sends_no_error(engine: MakePlane) -> None:
    ports = {LAN: port_info(LAN, 1500)._replace(addresses={}), DMZ: port_info(DMZ, 1500)}
    given = tables(service(Mode.DSR, at=ANY))
    far = V4.client(9, "10.0.8.8")._replace(mac=vip().mac)
    gateway = Gateway(engine, replace(given, ports=ports))
    gateway.expect(tcp(client(), far, "S", ttl=1), Reason.TTL_EXPIRED)


IDLE = {world: tables(service(Mode.NAT, {}, at=world.vip())) for world in WORLDS}


def refused(world: World, port: int, host: int = 2) -> Packet:
    return tcp(world.client(port, world.address(LAN, host)), world.vip(), "S")


@each_world
def test_one_receiver_gets_a_burst_and_then_so_many_a_second(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, IDLE[world])
    for port in range(1, BURST + 1):
        assert gateway.reason(refused(world, port)) is Reason.NO_BACKEND
    gateway.expect(refused(world, 999), Reason.UNANSWERED)
    step = INTERVAL_MS / 1000
    for number in range(1, 4):
        now = number * step
        assert gateway.reason(refused(world, 2000 + number), now) is Reason.NO_BACKEND
        assert gateway.reason(refused(world, 3000 + number), now) is Reason.UNANSWERED


@each_world
def test_after_a_silence_a_receiver_gets_a_whole_burst_again(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, IDLE[world])
    for start in (0.0, BURST * INTERVAL_MS / 1000, 1000.0):
        for port in range(1, BURST + 1):
            assert gateway.reason(refused(world, port), start) is Reason.NO_BACKEND
        assert gateway.reason(refused(world, 999), start) is Reason.UNANSWERED


@each_world
def test_in_the_long_run_a_receiver_gets_errors_at_the_allowed_rate(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, IDLE[world])
    for tick in range(800):
        gateway.receive(refused(world, 1 + tick), tick / 64)
    answered = gateway.plane.counts[Reason.NO_BACKEND]
    allowed = BURST + (799 / 64) * 1000 / INTERVAL_MS
    assert abs(answered - allowed) <= 1


@each_world
def test_each_receiver_has_a_limit_of_its_own(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, IDLE[world], secret=bytes(16))
    for port in range(1, BURST + 2):
        gateway.receive(refused(world, port))
    assert gateway.plane.counts[Reason.UNANSWERED] == 1
    others = [gateway.reason(refused(world, 1, host)) for host in range(10, 60)]
    assert others.count(Reason.NO_BACKEND) == len(others)


@each_world
def test_all_kinds_of_errors_share_one_limit(engine: MakePlane, world: World) -> None:
    given = tables(service(Mode.NAT, at=world.vip()), service(Mode.NAT, {}, at=world.vip(81)))
    gateway = Gateway(engine, given)
    for _ in range(BURST // 2):
        assert gateway.reason(tcp(world.client(), world.vip(81), "S")) is Reason.NO_BACKEND
        late = tcp(world.client(), world.vip(), "S", ttl=1)
        assert gateway.reason(late) is Reason.TTL_EXPIRED
    assert gateway.reason(late) is Reason.UNANSWERED


def test_errors_relayed_out_of_a_tunnel_are_limited_as_well(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.TUNNEL)))
    syn = tcp(client(), vip(), "S")
    sent = gateway.sends(syn)
    router = Peer("10.0.7.7", 0, "02:00:00:00:02:77")
    error = icmp_error(Trouble.BIG, sent, router, V4.gateway(DMZ), 1300)
    for _ in range(BURST):
        assert gateway.reason(error) is Reason.RELATED
    assert gateway.reason(error) is Reason.UNANSWERED


@each_world
def test_no_error_is_sent_about_a_later_fragment(engine: MakePlane, world: World) -> None:
    """In mode DSR, with a link that only the later fragment does not fit."""
    wide, narrow = (tables(service(Mode.DSR, at=world.vip(), proto=Proto.UDP), mtu=mtu)
                    for mtu in (1500, 300))  # fmt: skip
    gateway = Gateway(engine, wide)
    load = bytes(n % 256 for n in range(800))
    first, later = fragmented(udp(world.client(), world.vip(), load), 408)
    gateway.sends_all(first)
    gateway.plane.swap(narrow)
    gateway.expect(later, Reason.TOO_BIG)


def dsr(world: World) -> Tables:
    return tables(service(Mode.DSR, at=world.vip()))


@each_world
def test_an_error_that_cannot_be_sent_does_not_count_in_the_limit(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, dsr(world))
    to_all = world.client()._replace(mac="ff:ff:ff:ff:ff:ff")
    for _ in range(BURST + 5):
        assert gateway.reason(tcp(to_all, world.vip(), "S", ttl=1)) is Reason.TTL_EXPIRED
    late = tcp(via(LAN, world.client())._replace(mac=client().mac), world.vip(), "S", ttl=1)
    gateway.expect(late, Reason.TTL_EXPIRED, answer(Trouble.TIME, late))


def test_each_family_gets_errors_of_its_own_icmp(engine: MakePlane) -> None:
    given = tables(service(Mode.NAT, {}, at=V4.vip()), service(Mode.NAT, {}, at=V6.vip()))
    gateway = Gateway(engine, given)
    for world in WORLDS:
        packet = refused(world, 4000)
        gateway.expect(packet, Reason.NO_BACKEND, answer(Trouble.PORT, packet))
