"""Sources that no client can have: a reply to one would come back to us, or go to nobody."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import Case, both, each_world
from tests.support.gateway import ANY, OWN, Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    GATEWAY_MAC,
    LAN,
    V4,
    Packet,
    Peer,
    Trouble,
    World,
    at,
    fragmented,
    icmp_error,
    packed,
    tcp,
    udp,
    via,
    wrapped,
)

MODES = pytest.mark.parametrize("mode", Mode)
ON_LINK = {4: "169.254.7.7", 6: "fe80::7"}
EDGES_OF_LINK_LOCAL = {4: ("169.253.255.255", "169.255.0.0"), 6: ("fe7f::1", "fec0::1")}
BROADCAST = "10.0.1.255"


def dns(mode: Mode, world: World, *, snat: bool = False, **rest: Any) -> Tables:
    """Two services of UDP at different addresses, and one of TCP."""
    other = world.vip(53, world.address(LAN, 101))
    return tables(
        *(service(mode, at=end, proto=Proto.UDP) for end in (world.vip(53), other)),
        service(mode, at=world.vip(), pick_up=True),
        snat=[world.address(DMZ, 9)] if snat else [],
        own=OWN,
        broadcasts=frozenset({packed(BROADCAST)}),
        **rest,
    )


def impossible(world: World) -> Iterator[Case]:
    """Sources of a datagram that opens no flow, in any mode."""
    sources = {
        "the VIP itself": world.vip().address,
        "the VIP of another service": world.address(LAN, 101),
        "an address of the balancer on the clients' side": world.gateway(LAN).address,
        "an address of the balancer on the backends' side": world.gateway(DMZ).address,
    }
    if world is V4:
        sources["the broadcast address of a network of ours"] = BROADCAST
        sources["the last address of this-network"] = "0.255.255.255"
        sources["the last loopback address"] = "127.255.255.255"
        sources["the first reserved address"] = "240.0.0.0"
    for what, address in sources.items():
        for port in (53, 4000):
            given = udp(world.client(port, address), world.vip(53), b"q")
            for mode in Mode:
                yield Case(f"{mode.value}: {what}, port {port}", dns(mode, world), given,
                           Reason.BAD_SOURCE)  # fmt: skip
    stand_in = udp(world.client(53, world.address(DMZ, 9)), world.vip(53), b"q")
    yield Case("an address of the pool", dns(Mode.NAT, world, snat=True), stand_in,
               Reason.BAD_SOURCE)  # fmt: skip
    for flags in ("S", "A", "R", "SA"):
        given = tcp(world.client(80, world.vip().address), world.vip(), flags)
        yield Case(f"TCP with {flags}", dns(Mode.NAT, world), given, Reason.BAD_SOURCE)
    last = udp(world.client(53, world.vip().address), world.vip(53), b"q", ttl=1)
    yield Case("it is not told that its TTL ran out", dns(Mode.NAT, world), last,
               Reason.BAD_SOURCE)  # fmt: skip
    far = world.client(9, world.address(8, 8))._replace(mac=GATEWAY_MAC[LAN])
    ours = tcp(world.client(4000, world.gateway(DMZ).address), far, "S")
    yield Case("any: an address of the balancer", tables(service(Mode.DSR, at=ANY)), ours,
               Reason.BAD_SOURCE)  # fmt: skip


@pytest.mark.parametrize("case", both(impossible))
def test_a_source_that_no_client_can_have_is_refused(case: Case, engine: MakePlane) -> None:
    gateway = Gateway(engine, case.tables)
    gateway.expect(case.given, case.reason)
    assert len(gateway.plane.flows) == 0


@each_world
def test_all_fragments_from_an_impossible_source_are_dropped(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, dns(Mode.NAT, world))
    query = udp(world.client(53, world.vip().address), world.vip(53), bytes(400), df=False)
    first, second, third = fragmented(query, 160)
    assert gateway.reason(second) is Reason.HELD
    assert gateway.reason(first) is Reason.BAD_SOURCE
    assert gateway.reason(third) is Reason.FRAGMENT_LOST
    assert gateway.plane.counts[Reason.HELD] == 0


@each_world
@pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
def test_a_backend_still_answers_past_its_gateway_in_the_vips_name(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, dns(mode, world))
    assert gateway.reason(udp(world.client(), world.vip(53), b"q")) is Reason.OPENED
    reply = udp(at(world.vip(53), world.backend()), world.inside, b"a")
    assert gateway.reason(reply) is Reason.RETURNED


@each_world
def test_a_backend_is_still_a_client_of_its_own_service(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, dns(Mode.NAT, world, snat=True))
    backend = world.backend(port=4000)
    query = udp(backend, at(world.vip(53), world.gateway(DMZ)), b"q")
    assert gateway.reason(query) is Reason.OPENED


def sent(mode: Mode, client: Peer, world: World, query: bytes = b"q") -> Packet:
    """What the backend on the wire of the clients is sent."""
    held = world.vip(53)._replace(mac=world.backend().mac)
    inside = udp(client, held, query, ttl=63)
    if mode is Mode.NAT:
        return udp(client, world.backend(port=8080), query, ttl=63)
    return wrapped(world.backend(), inside) if mode is Mode.TUNNEL else inside


def beside(given: Tables) -> Tables:
    """The same, but the backends are on the link of the clients."""
    hops = {a: hop._replace(port=LAN) for a, hop in given.hops.items()}
    return replace(given, hops=hops)


@each_world
@MODES
def test_a_link_local_client_reaches_backends_on_its_link(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    client = world.client(address=ON_LINK[world.family])
    gateway = Gateway(engine, beside(dns(mode, world)))
    assert gateway.reason(udp(client, world.vip(53), b"q")) is Reason.OPENED
    assert gateway.reason(udp(client, world.vip(53), b"q")) is Reason.FORWARDED


@each_world
@MODES
@pytest.mark.parametrize("one_packet", [False, True])
def test_a_link_local_source_is_never_forwarded_to_another_link(
    engine: MakePlane, mode: Mode, world: World, one_packet: bool
) -> None:
    """RFC 3927, section 2.7; RFC 4291, section 2.5.6."""
    given = tables(service(mode, at=world.vip(53), proto=Proto.UDP, one_packet=one_packet))
    client = world.client(address=ON_LINK[world.family])
    gateway = Gateway(engine, given)
    gateway.expect(udp(client, world.vip(53), b"q"), Reason.BAD_SOURCE)
    assert len(gateway.plane.flows) == 0
    for tally in gateway.plane.tallies().values():
        assert (tally.connections, tally.packets_in) == (0, 0)
    gateway.plane.swap(beside(given))
    assert gateway.reason(udp(client, world.vip(53), b"q")) is Reason.OPENED
    gateway.plane.swap(given)
    gateway.expect(udp(client, world.vip(53), b"q"), Reason.BAD_SOURCE)


@each_world
@MODES
def test_addresses_beside_the_link_local_ones_are_like_others(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, dns(mode, world))
    for address in EDGES_OF_LINK_LOCAL[world.family]:
        query = udp(world.client(address=address), world.vip(53), b"q")
        assert gateway.reason(query) is Reason.OPENED


@each_world
def test_with_a_pool_the_backend_sees_no_link_local_source(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, dns(Mode.NAT, world, snat=True))
    client = world.client(address=ON_LINK[world.family])
    assert gateway.reason(udp(client, world.vip(53), b"q")) is Reason.OPENED


@each_world
@pytest.mark.parametrize("mode", Mode)
def test_an_error_from_an_impossible_or_a_link_local_source_is_refused(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, dns(mode, world))
    client, vip = world.client(), world.vip(53)
    gateway.receive(udp(client, vip, b"q"))
    reply = udp(vip, client, b"a")
    sources = {4: ("127.0.0.1", "224.0.0.1", "169.254.1.1"), 6: ("::1", "ff02::1", "fe80::1")}
    for address in sources[world.family]:
        source = Peer(address, 0, "02:00:00:00:01:77")
        gateway.expect(icmp_error(Trouble.BIG, reply, source, vip, 1400), Reason.BAD_SOURCE)


@each_world
def test_a_flow_whose_client_became_ours_is_not_taken_over(engine: MakePlane, world: World) -> None:
    """An earlier version opened such flows, and in a loop they never end."""
    before = tables(service(Mode.NAT, at=world.vip(53), proto=Proto.UDP))
    first = Gateway(engine, before)
    for host in (2, 3):
        first.receive(udp(world.client(53, world.address(LAN, host)), world.vip(53), b"q"))
    after = replace(before, own=frozenset({packed(world.address(LAN, 3))}))
    second = Gateway(engine, after)
    assert second.plane.load(first.plane.dump(1.0), 1.0) == 1
    (flow,) = second.plane.flows
    assert flow.key[: len(packed(world.vip().address))] == packed(world.address(LAN, 2))


def test_replies_to_a_client_go_on_after_others_were_refused(engine: MakePlane) -> None:
    gateway = Gateway(engine, dns(Mode.NAT, V4))
    gateway.receive(udp(V4.client(), V4.vip(53), b"q"))
    gateway.expect(udp(V4.client(53, V4.vip().address), V4.vip(53), b"q"), Reason.BAD_SOURCE)
    reply = udp(V4.backend(), via(DMZ, V4.client()), b"a")
    gateway.expect(reply, Reason.RETURNED, udp(V4.vip(53), V4.client(), b"a", ttl=63))
