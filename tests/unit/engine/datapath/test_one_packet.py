"""Services in which each datagram is a flow of its own."""

from typing import Any

import pytest

from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason, Scheduler
from tests.support.cases import each_world
from tests.support.gateway import TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    GATEWAY_MAC,
    V4,
    Peer,
    World,
    at,
    fragmented,
    ip_bytes,
    tcp,
    udp,
    wrapped,
)
from tests.support.trails import arrived

MODES = pytest.mark.parametrize("mode", Mode)
AB = {"a": 1, "b": 1}


def single(mode: Mode, world: World, scheduler: Scheduler = Scheduler.RR, **rest: Any) -> Tables:
    table = service(
        mode, AB, at=world.vip(53), proto=Proto.UDP, scheduler=scheduler, one_packet=True
    )
    return tables(table, **rest)


def names(gateway: Gateway, world: World, count: int, port: int = 4000) -> str:
    """The backends that get one datagram after the other from the same client port."""
    by_mac = {world.backend(name).mac: name for name in "abc"}
    query = udp(world.client(port), world.vip(53), b"question")
    return "".join(by_mac[gateway.sends(query).dst] for _ in range(count))


@each_world
@MODES
def test_the_scheduler_chooses_for_each_datagram(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, single(mode, world))
    assert names(gateway, world, 6) == "ababab"


@each_world
@MODES
def test_a_single_datagram_is_sent_in_each_mode(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    client, dns, backend = world.client(), world.vip(53), world.backend()
    gateway = Gateway(engine, single(mode, world))
    held = at(dns, backend)
    sent = {
        Mode.NAT: udp(world.inside, backend, b"q", ttl=63),
        Mode.DSR: udp(world.inside, held, b"q", ttl=63),
        Mode.TUNNEL: wrapped(backend, udp(world.inside, held, b"q", ttl=63)),
    }
    gateway.expect(udp(client, dns, b"q"), Reason.OPENED, sent[mode])


@each_world
@pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
def test_dsr_and_tunnel_remember_no_flow_of_a_single_datagram(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, single(mode, world), max_flows=1)
    names(gateway, world, 20)
    assert len(gateway.plane.flows) == 0
    assert gateway.plane.counts[Reason.OPENED] == 20


@each_world
def test_nat_translates_the_reply_of_each_backend(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, single(Mode.NAT, world))
    assert names(gateway, world, 4) == "abab"
    assert len(gateway.plane.flows) == 2
    for name in "ba":
        reply = udp(world.backend(name), world.inside, b"answer")
        back = udp(world.vip(53), world.client(), b"answer", ttl=63)
        gateway.expect(reply, Reason.RETURNED, back)


@each_world
def test_with_a_pool_each_reply_finds_its_client(engine: MakePlane, world: World) -> None:
    pool = {4: "10.0.2.9", 6: "2001:db8:2::9"}[world.family]
    gateway = Gateway(engine, single(Mode.NAT, world, snat=[pool]), source_ports=range(5000, 5100))
    for port in (4000, 4001, 4000, 4001):
        sent = gateway.sends(udp(world.client(port), world.vip(53), b"q"))
        assert sent[1].src == pool
        backend = next(b for b in (world.backend(n) for n in "ab") if b.mac == sent.dst)
        guise = Peer(pool, sent.sport, GATEWAY_MAC[DMZ])
        back = udp(world.vip(53), world.client(port), b"a", ttl=63)
        gateway.expect(udp(backend, guise, b"a"), Reason.RETURNED, back)


@each_world
def test_the_flows_that_nat_remembers_expire(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, single(Mode.NAT, world))
    query = udp(world.client(), world.vip(53), b"q")
    for now in (0.0, 1.0):
        gateway.receive(query, now)
    reply = udp(world.backend(), world.inside, b"a")
    assert gateway.reason(reply, TIMEOUTS.udp - 0.25) is Reason.RETURNED
    assert gateway.plane.expire(10 * TIMEOUTS.udp) == 2
    assert gateway.reason(reply, 10 * TIMEOUTS.udp) is Reason.NO_FLOW


def test_single_datagrams_of_nat_are_bounded_by_the_flow_table(engine: MakePlane) -> None:
    gateway = Gateway(engine, single(Mode.NAT, V4), max_flows=1)
    assert names(gateway, V4, 1) == "a"
    other = udp(V4.client(4001), V4.vip(53), b"q")
    assert gateway.reason(other) is Reason.TABLE_FULL
    assert len(gateway.plane.flows) == 1


def test_least_connections_counts_the_flows_that_nat_remembers(engine: MakePlane) -> None:
    gateway = Gateway(engine, single(Mode.NAT, V4, Scheduler.LC))
    assert sorted(names(gateway, V4, 1, port) for port in range(1, 5)) == list("aabb")


@each_world
@MODES
def test_tcp_of_a_one_packet_service_has_flows(engine: MakePlane, mode: Mode, world: World) -> None:
    vip = world.vip(53)
    pair = service(mode, AB, at=vip, one_packet=True)
    gateway = Gateway(engine, tables(pair))
    assert gateway.reason(tcp(world.client(), vip, "S")) is Reason.OPENED
    assert gateway.reason(tcp(world.client(), vip, "A")) is Reason.FORWARDED


@each_world
@MODES
def test_a_datagram_in_fragments_goes_to_one_backend(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, single(mode, world))
    data = bytes(n % 251 for n in range(400))
    query = udp(world.client(), world.vip(53), data, df=False)
    frames = [s for piece in fragmented(query, 160) for s in gateway.receive(piece).frames]
    target = world.backend() if mode is Mode.NAT else world.vip(53)
    whole = udp(world.inside, target, data, df=False, ttl=63)
    assert arrived(frames, mode) == ip_bytes(whole)


@each_world
@MODES
def test_the_datagram_after_one_in_fragments_gets_a_backend_of_its_own(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, single(mode, world))
    query = udp(world.client(), world.vip(53), bytes(400), df=False)
    gateway.sends_all(*fragmented(query, 160))
    assert names(gateway, world, 4) == "baba"


@each_world
def test_a_hash_gives_a_datagram_the_same_backend_each_time(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, single(Mode.DSR, world, Scheduler.MAGLEV))
    assert {len(set(names(gateway, world, 3, port))) for port in range(1, 20)} == {1}
    assert {names(gateway, world, 1, port) for port in range(1, 20)} == {"a", "b"}
