"""Source NAT: clients appear to backends under addresses and ports of a pool."""

import pytest

from pktlb.engine.datapath.keys import endpoint_key
from pktlb.engine.datapath.snat import SourcePorts
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import each_world
from tests.support.gateway import TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    GATEWAY_MAC,
    V4,
    V6,
    Peer,
    World,
    backend,
    client,
    gso,
    packed,
    partial,
    syn,
    tcp,
    udp,
    via,
    vip,
)

POOL = ["10.0.2.9"]
POOLS = {4: "10.0.2.9", 6: "2001:db8:2::9"}
PORTS = [5000, 5001]


def pooled(world: World, *pool: str) -> Tables:
    dns = service(Mode.NAT, at=world.vip(53), proto=Proto.UDP)
    snat = pool or (POOLS[world.family],)
    return tables(service(Mode.NAT, at=world.vip()), dns, snat=snat)


ONE = pooled(V4)


def seen_as(port: int, address: str = POOL[0]) -> Peer:
    """The client as backends see it."""
    return Peer(address, port, GATEWAY_MAC[DMZ])


@each_world
def test_a_client_gets_an_address_and_port_of_the_pool_and_the_reply_is_undone(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, pooled(world), source_ports=PORTS)
    client, vip, backend = world.client(), world.vip(), world.backend()
    guise = seen_as(5000, POOLS[world.family])
    gateway.expect(tcp(client, vip, "S"), Reason.OPENED, tcp(guise, backend, "S", ttl=63))
    gateway.expect(
        tcp(backend, guise, "SA"), Reason.RETURNED, tcp(vip, client, "SA", ttl=63)
    )  # fmt: skip
    gateway.expect(
        partial(tcp(client, vip, "A", b"data")), Reason.FORWARDED,
        partial(tcp(guise, backend, "A", b"data", ttl=63)),
    )  # fmt: skip
    gateway.expect(
        gso(tcp(backend, guise, "A", bytes(9000)), 1428), Reason.RETURNED,
        gso(tcp(vip, client, "A", bytes(9000), ttl=63), 1428),
    )  # fmt: skip


@each_world
def test_a_datagram_without_checksum_stays_so_both_ways(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, pooled(world), source_ports=PORTS)
    client, dns, backend = world.client(), world.vip(53), world.backend()
    guise = seen_as(5000, POOLS[world.family])
    gateway.expect(
        udp(client, dns, b"q", check=0), Reason.OPENED,
        udp(guise, backend, b"q", check=0, ttl=63),
    )  # fmt: skip
    gateway.expect(
        udp(backend, guise, b"a", check=0), Reason.RETURNED,
        udp(dns, client, b"a", check=0, ttl=63),
    )  # fmt: skip


def test_a_pool_has_addresses_of_both_families(engine: MakePlane) -> None:
    given = tables(service(Mode.NAT), service(Mode.NAT, at=V6.vip()), snat=POOLS.values())
    gateway = Gateway(engine, given, source_ports=PORTS)
    for world in (V4, V6):
        guise = seen_as(5000, POOLS[world.family])
        packet = tcp(world.client(), world.vip(), "S")
        gateway.expect(packet, Reason.OPENED, tcp(guise, world.backend(), "S", ttl=63))


@pytest.mark.parametrize(("pool", "kept"), [(4, V6), (6, V4)])
def test_clients_of_a_family_without_a_pool_keep_their_own_addresses(
    engine: MakePlane, pool: int, kept: World
) -> None:
    given = tables(service(Mode.NAT), service(Mode.NAT, at=V6.vip()), snat=[POOLS[pool]])
    gateway = Gateway(engine, given, source_ports=PORTS)
    backend, inside = kept.backend(), kept.inside
    packet = tcp(kept.client(), kept.vip(), "S")
    gateway.expect(packet, Reason.OPENED, tcp(inside, backend, "S", ttl=63))
    reply = tcp(backend, inside, "SA")
    gateway.expect(reply, Reason.RETURNED, tcp(kept.vip(), kept.client(), "SA", ttl=63))
    stray = tcp(backend, inside._replace(port=9), "SA")
    gateway.expect(stray, Reason.NO_FLOW, stray)


def test_when_all_ports_towards_a_backend_are_taken_new_flows_are_refused(
    engine: MakePlane,
) -> None:
    gateway = Gateway(engine, ONE, source_ports=PORTS)
    assert [gateway.sends(syn(port)).sport for port in (4000, 4001)] == PORTS
    gateway.expect(syn(4002), Reason.NO_PORT)
    assert len(gateway.plane.flows) == 2
    gateway.expect(syn(4000), Reason.FORWARDED, tcp(seen_as(5000), backend(), "S", ttl=63))


def test_another_protocol_to_the_same_backend_has_its_own_ports(engine: MakePlane) -> None:
    gateway = Gateway(engine, ONE, source_ports=PORTS[:1])
    assert gateway.sends(syn(4000)).sport == 5000
    assert gateway.sends(udp(client(), vip(53))).sport == 5000


def test_each_backend_has_all_ports_of_the_pool(engine: MakePlane) -> None:
    two = tables(service(Mode.NAT, {"a": 1, "b": 1}), snat=POOL)
    gateway = Gateway(engine, two, source_ports=PORTS)
    sent = [gateway.sends(syn(port)) for port in range(4000, 4004)]
    assert sorted((p[1].dst, p.sport) for p in sent) == [
        ("10.0.2.2", 5000), ("10.0.2.2", 5001), ("10.0.2.3", 5000), ("10.0.2.3", 5001)
    ]  # fmt: skip
    assert gateway.reason(syn(4004)) is Reason.NO_PORT


def test_two_services_share_the_ports_of_a_backend(engine: MakePlane) -> None:
    both = tables(service(Mode.NAT), service(Mode.NAT, at=vip(81)), snat=POOL)
    gateway = Gateway(engine, both, source_ports=PORTS)
    assert gateway.sends(syn(4000)).sport == 5000
    assert gateway.sends(tcp(client(), vip(81), "S")).sport == 5001
    gateway.expect(
        tcp(backend(), seen_as(5001), "SA"), Reason.RETURNED, tcp(vip(81), client(), "SA", ttl=63)
    )


def test_every_address_of_the_pool_is_used(engine: MakePlane) -> None:
    given = tables(service(Mode.NAT), snat=["10.0.2.8", "10.0.2.9"])
    gateway = Gateway(engine, given, source_ports=PORTS)
    sent = [gateway.sends(syn(port)) for port in range(4000, 4004)]
    assert {(p[1].src, p.sport) for p in sent} == {
        (address, port) for address in ("10.0.2.8", "10.0.2.9") for port in PORTS
    }


def test_the_port_of_a_flow_that_timed_out_is_given_back(engine: MakePlane) -> None:
    gateway = Gateway(engine, ONE, source_ports=PORTS[:1])
    gateway.receive(syn(4000), now=0.0)
    assert gateway.reason(syn(4001), now=TIMEOUTS.syn - 0.5) is Reason.NO_PORT
    gateway.plane.expire(TIMEOUTS.syn)
    gateway.expect(
        syn(4001), Reason.OPENED, tcp(seen_as(5000), backend(), "S", ttl=63), now=TIMEOUTS.syn
    )
    assert gateway.reason(tcp(backend(), seen_as(5000), "SA"), TIMEOUTS.syn) is Reason.RETURNED


def test_a_closed_flow_that_opens_again_has_given_its_port_back(engine: MakePlane) -> None:
    gateway = Gateway(engine, ONE, source_ports=PORTS)
    gateway.receive(syn(4000))
    gateway.receive(tcp(client(), vip(), "R"))
    assert gateway.sends(syn(4000)).sport == 5001
    assert gateway.sends(syn(4001)).sport == 5000, "of the closed connection"


def test_a_port_given_back_waits_behind_those_that_were_never_used() -> None:
    pool = SourcePorts([packed("10.0.2.9")], [1, 2, 3])
    key = endpoint_key(Proto.TCP, backend().endpoint)
    first, second = pool.take(key), pool.take(key)
    assert first
    assert second
    pool.give_back(key, second)
    pool.give_back(key, first)
    taken = [pool.take(key) for _ in range(4)]
    assert [each and each.port for each in taken] == [3, 2, 1, None]


def test_a_pool_is_of_the_families_that_its_addresses_are_of() -> None:
    pool = SourcePorts([packed("10.0.2.9"), packed("10.0.2.8")], PORTS)
    assert pool.addresses(4) == [packed("10.0.2.8"), packed("10.0.2.9")]
    assert not pool.addresses(16)


def test_a_backend_that_dials_the_vip_from_its_service_port_is_not_confused_with_its_replies(
    engine: MakePlane,
) -> None:
    """The VIP is in the pool, and the service's own port is one of those allotted."""
    given = tables(service(Mode.NAT, at=vip(8080)), snat=[vip().address])
    gateway = Gateway(engine, given, source_ports=[8080, 8081])
    dialling = tcp(backend(), via(DMZ, vip(8080)), "S")
    assert gateway.sends(dialling).sport == 8081, "8080 would be the very flow that came in"
    assert gateway.reason(tcp(client(), vip(8080), "S")) is Reason.NO_PORT
    gateway.plane.expire(TIMEOUTS.syn)
    assert len(gateway.plane.flows) == 0
    assert gateway.sends(tcp(client(), vip(8080), "S"), TIMEOUTS.syn).sport == 8080
