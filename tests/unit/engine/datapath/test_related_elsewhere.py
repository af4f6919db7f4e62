"""ICMP errors whose flow is not in the table: another balancer has it, or it is one datagram's."""

from typing import Any

import pytest

from pktlb.engine.datapath.tables import Tables
from pktlb.model import HashFields, HashOn, Mode, Proto, Reason, Scheduler
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    LAN,
    Packet,
    Peer,
    Trouble,
    World,
    at,
    icmp_error,
    tcp,
    udp,
    wrapped,
)

ABC = {"a": 1, "b": 1, "c": 1}
DIRECT = pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
HASHING = pytest.mark.parametrize(
    "hashing", [Scheduler.SOURCE, Scheduler.MAGLEV, Scheduler.HASH], ids=lambda each: each.value
)
ROUTER = "02:00:00:00:01:77"


def given(mode: Mode, world: World, scheduler: Scheduler, **rest: Any) -> Tables:
    return tables(service(mode, ABC, at=world.vip(), scheduler=scheduler, **rest))


def complaint(world: World, about: Packet, **fields: Any) -> Packet:
    """An error from a router on the clients' side."""
    router = Peer(world.address(7, 7), 0, ROUTER)
    return icmp_error(Trouble.BIG, about, router, world.vip(), 1400, **fields)


def told(world: World, about: Packet, mac: str, mode: Mode, ident: int = 1) -> Packet:
    """The error as the backend with this MAC gets it; in a tunnel it is packet number `ident`."""
    (backend,) = (b for b in map(world.backend, "abc") if b.mac == mac)
    source = Peer(world.address(7, 7), 0, world.gateway(2).mac)
    error = icmp_error(Trouble.BIG, about, source, at(world.vip(), backend), 1400, ttl=63)
    outer = {"id": ident} if world.family == 4 else {}
    return wrapped(backend, error, **outer) if mode is Mode.TUNNEL else error


@each_world
@DIRECT
@HASHING
def test_an_error_goes_to_the_backend_that_the_clients_packet_goes_to(
    engine: MakePlane, mode: Mode, hashing: Scheduler, world: World
) -> None:
    here, elsewhere = (Gateway(engine, given(mode, world, hashing)) for _ in range(2))
    reached = set()
    for host in range(2, 22):
        client = world.client(4000 + host, world.address(LAN, host))
        mac = elsewhere.sends(tcp(client, world.vip(), "S")).dst
        reached.add(mac)
        reply = tcp(world.vip(), client, "A", b"data")
        error = told(world, reply, mac, mode, ident=host - 1)
        here.expect(complaint(world, reply), Reason.RELATED, error)
    assert len(reached) == len(ABC)
    assert len(here.plane.flows) == 0
    assert all(not t.connections and not t.packets_in for t in here.plane.tallies().values())


@each_world
@DIRECT
@pytest.mark.parametrize("scheduler", [Scheduler.RR, Scheduler.LC])
def test_a_scheduler_that_does_not_hash_cannot_tell_the_backend(
    engine: MakePlane, mode: Mode, scheduler: Scheduler, world: World
) -> None:
    reply = tcp(world.vip(), world.client(), "A")
    gateway = Gateway(engine, given(mode, world, scheduler))
    gateway.expect(complaint(world, reply), Reason.NOT_OURS)


@each_world
def test_an_error_about_no_flow_of_nat_is_not_ours(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, given(Mode.NAT, world, Scheduler.MAGLEV))
    gateway.expect(complaint(world, tcp(world.vip(), world.client(), "A")), Reason.NOT_OURS)


@each_world
def test_a_hash_over_macs_does_not_know_the_clients_from_an_error(
    engine: MakePlane, world: World
) -> None:
    tables = given(Mode.DSR, world, Scheduler.HASH, hash_on=HashOn(HashFields.MAC))
    reply = tcp(world.vip(), world.client(), "A")
    Gateway(engine, tables).expect(complaint(world, reply), Reason.NOT_OURS)


@each_world
def test_a_client_that_stays_with_its_backend_does_so_for_errors(
    engine: MakePlane, world: World
) -> None:
    """The pin counts, whatever the hash says."""
    persisting = given(Mode.DSR, world, Scheduler.MAGLEV, persist_s=60)
    gateway = Gateway(engine, persisting)
    mac = gateway.sends(tcp(world.client(4000), world.vip(), "S")).dst
    for port in range(5000, 5010):
        reply = tcp(world.vip(), world.client(port), "A")
        gateway.expect(complaint(world, reply), Reason.RELATED, told(world, reply, mac, Mode.DSR))


@each_world
def test_an_error_about_a_packet_to_an_impossible_client_is_not_ours(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, given(Mode.DSR, world, Scheduler.MAGLEV))
    reply = tcp(world.vip(), world.client(address=world.vip().address), "A")
    gateway.expect(complaint(world, reply), Reason.NOT_OURS)


@each_world
def test_an_error_without_a_flow_does_not_outlive_its_ttl(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, given(Mode.DSR, world, Scheduler.MAGLEV))
    last = complaint(world, tcp(world.vip(), world.client(), "A"), ttl=1)
    gateway.expect(last, Reason.TTL_EXPIRED)


def single(mode: Mode, world: World, scheduler: Scheduler) -> Tables:
    return given(mode, world, scheduler, proto=Proto.UDP, one_packet=True)


@each_world
@DIRECT
def test_an_error_about_a_reply_to_a_single_datagram_reaches_its_backend(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, single(mode, world, Scheduler.MAGLEV))
    mac = gateway.sends(udp(world.client(), world.vip(), b"q")).dst
    reply = udp(world.vip(), world.client(), b"a")
    error = told(world, reply, mac, mode, ident=2)
    gateway.expect(complaint(world, reply), Reason.RELATED, error)


@each_world
def test_nat_tells_the_backend_that_got_the_latest_single_datagram(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, single(Mode.NAT, world, Scheduler.RR))
    reply = udp(world.vip(), world.client(), b"a")
    gateway.expect(complaint(world, reply), Reason.NOT_OURS)
    for now, name in enumerate("abcab"):
        query = udp(world.client(), world.vip(), b"q")
        backend = world.backend(name)
        assert gateway.sends(query, now=float(now)).dst == backend.mac
        router = Peer(world.address(7, 7), 0, world.gateway(2).mac)
        was = udp(backend, world.client(), b"a")
        error = icmp_error(Trouble.BIG, was, router, backend, 1400, ttl=63)
        gateway.expect(complaint(world, reply), Reason.RELATED, error, now=float(now))
