"""The service for anything: all that would be forwarded is spread over machines by MAC."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.l2 import ARP, Ether

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import HashFields, HashOn, Mode, Reason, Scheduler
from tests.support.cases import Case, both, each_world
from tests.support.gateway import ANY, OWN, TIMEOUTS, Gateway, MakePlane, service, tables
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
    echo,
    fragmented,
    frame,
    gso,
    icmp_error,
    ip,
    partial,
    tcp,
    udp,
    via,
)

ABC = {"a": 1, "b": 1, "c": 1}
SPREAD = tables(service(Mode.DSR, at=ANY))


def far(world: World, port: int = 443, host: int = 8) -> Peer:
    """A far machine; we are given its packets to forward."""
    return Peer(world.address(8, host), port, GATEWAY_MAC[LAN])


def cases(world: World) -> Iterator[Case]:
    client, there = world.client(), far(world)
    inside, appliance = world.inside, at(far(world), world.backend())
    opened = Reason.OPENED
    yield Case(
        "TCP", SPREAD, tcp(client, there, "S"), opened, [tcp(inside, appliance, "S", ttl=63)]
    )
    for flags in ("A", "SA", "FA", "R"):
        yield Case(
            f"TCP under way, {flags}",
            SPREAD,
            tcp(client, there, flags),
            Reason.PICKED_UP,
            [tcp(inside, appliance, flags, ttl=63)],
        )
    yield Case(
        "later packets of a TCP flow follow it",
        SPREAD,
        tcp(client, there, "A", b"x"),
        Reason.FORWARDED,
        [tcp(inside, appliance, "A", b"x", ttl=63)],
        before=[tcp(client, there, "S")],
    )
    yield Case(
        "UDP", SPREAD, udp(client, there, b"odd"), opened, [udp(inside, appliance, b"odd", ttl=63)]
    )
    yield Case(
        "a ping",
        SPREAD,
        echo(client, there, b"ping"),
        opened,
        [echo(inside, appliance, b"ping", ttl=63)],
    )
    yield Case(
        "any protocol",
        SPREAD,
        ip(client, there, b"12345678", proto=47),
        opened,
        [ip(inside, appliance, b"12345678", proto=47, ttl=63)],
    )
    yield Case(
        "a partial checksum stays partial",
        SPREAD,
        partial(tcp(client, there, "S")),
        opened,
        [partial(tcp(inside, appliance, "S", ttl=63))],
    )
    long = tcp(client, there, "A", bytes(9000))
    yield Case(
        "a long frame goes whole",
        SPREAD,
        gso(long, 1400),
        Reason.PICKED_UP,
        [gso(tcp(inside, appliance, "A", bytes(9000), ttl=63), 1400)],
    )
    error = icmp_error(Trouble.BIG, tcp(there, client, "A"), client, there, 1300)
    yield Case("an ICMP error about no flow is a packet like others", SPREAD, error,
               opened, [icmp_error(Trouble.BIG, tcp(there, client, "A"), inside, appliance, 1300,
                                   ttl=63)])  # fmt: skip
    ours = [
        ("a packet to the balancer itself", Peer(world.address(1, 1), 22, GATEWAY_MAC[LAN])),
        (
            "a packet to an address of the balancer's other side",
            Peer(world.address(2, 1), 22, GATEWAY_MAC[LAN]),
        ),
    ]
    for what, target in ours:
        packet = tcp(client, target, "S")
        yield Case(what, SPREAD, packet, Reason.NOT_OURS)


NOT_FORWARDED = [
    "224.0.0.5", "239.1.1.1", "255.255.255.255", "127.0.0.1", "169.254.1.1", "0.0.0.0", "240.0.0.1",
    "ff02::1", "ff05::2", "fe80::1", "febf::1", "::1", "::",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_FORWARDED)
def test_a_packet_to_an_address_that_no_router_forwards_to_is_not_spread(
    engine: MakePlane, address: str
) -> None:
    world = V6 if ":" in address else V4
    packet = udp(world.client(), Peer(address, 9, GATEWAY_MAC[LAN]))
    Gateway(engine, SPREAD).expect(packet, Reason.NOT_OURS)


NOT_FORWARDED_FROM = [
    "127.0.0.1",
    "0.0.0.0",
    "224.0.0.5",
    "169.254.1.1",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", NOT_FORWARDED_FROM)
def test_a_packet_from_an_address_that_no_router_forwards_is_not_spread(
    engine: MakePlane, address: str
) -> None:
    """RFC 1812, section 5.3.7; RFC 4291, sections 2.5.2, 2.5.3 and 2.5.6."""
    world = V6 if ":" in address else V4
    packet = udp(world.client(address=address), far(world))
    Gateway(engine, SPREAD).expect(packet, Reason.NOT_OURS)


@pytest.mark.parametrize("case", both(cases))
def test_a_packet_that_arrives_at_the_port_of_the_service_for_anything(
    case: Case, engine: MakePlane
) -> None:
    case.check(engine)


def test_arp_is_not_spread(engine: MakePlane) -> None:
    ether = Ether(src=V4.client().mac, dst=GATEWAY_MAC[LAN])
    Gateway(engine, SPREAD).expect(ether / ARP(), Reason.NOT_OURS)


@each_world
def test_a_broadcast_frame_is_not_spread(engine: MakePlane, world: World) -> None:
    """No router forwards a frame that was sent to all stations."""
    packet = udp(world.client(), far(world)._replace(mac="ff:ff:ff:ff:ff:ff"))
    Gateway(engine, SPREAD).expect(frame(packet, port=LAN), Reason.NOT_OURS)


@each_world
def test_a_frame_for_another_machine_is_not_spread(engine: MakePlane, world: World) -> None:
    """A switch that floods, or a device in promiscuous mode, brings such frames."""
    packet = udp(world.client(), far(world)._replace(mac="02:00:00:00:01:99"))
    Gateway(engine, SPREAD).expect(frame(packet, port=LAN), Reason.NOT_OURS)


@each_world
def test_frames_of_other_ports_are_not_spread(engine: MakePlane, world: World) -> None:
    packet = tcp(via(DMZ, world.client()), via(DMZ, far(world)), "S")
    packet.src = "02:00:00:00:02:99"
    Gateway(engine, SPREAD).expect(frame(packet, port=DMZ), Reason.NOT_OURS)


@each_world
@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_a_frame_from_an_appliance_is_given_to_the_kernel(
    engine: MakePlane, world: World, known: bool
) -> None:
    """The appliance sends it back to the same port, and the kernel forwards it."""
    gateway = Gateway(engine, SPREAD)
    if known:
        gateway.receive(tcp(world.client(), far(world), "S"))
    back = tcp(world.client(mac=V4.backend("a").mac), far(world), "S", ttl=63)
    arrived = frame(back, port=LAN)
    gateway.expect(arrived, Reason.NOT_OURS, arrived)
    assert len(gateway.plane.flows) == int(known)


@each_world
def test_fragments_follow_the_first(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, tables(service(Mode.DSR, ABC, at=ANY)))
    gateway.sends(tcp(world.client(), far(world), "S"))
    pieces = fragmented(udp(world.client(), far(world), bytes(400), df=False), 160)
    sent = gateway.sends_all(*pieces[::-1])
    assert {packet.dst for packet in sent} == {V4.backend("b").mac}


@each_world
def test_fragments_from_an_appliance_are_given_to_the_kernel(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, SPREAD)
    was = udp(world.client(mac=V4.backend("a").mac), far(world), bytes(400), df=False)
    first, second, _ = (frame(piece, port=LAN) for piece in fragmented(was, 160))
    gateway.expect(first, Reason.NOT_OURS, first)
    gateway.expect(second, Reason.NOT_OURS, second)


def on(fields: HashFields, **rest: Any) -> Tables:
    return tables(
        service(Mode.DSR, ABC, at=ANY, scheduler=Scheduler.HASH, hash_on=HashOn(fields, **rest))
    )


def chosen(engine: MakePlane, given: Tables, packet: Packet | Frame) -> str:
    return str(Gateway(engine, given).sends(packet).dst)


MANY = range(11, 51)


@each_world
def test_hashed_by_source_mac_all_packets_of_a_machine_go_one_way(
    engine: MakePlane, world: World
) -> None:
    given = on(HashFields.MAC)
    spread = set()
    for number in MANY:
        mac = f"02:00:00:00:01:{number:02x}"
        ways = {
            chosen(engine, given, tcp(world.client(port, world.address(1, port), mac), there, "S"))
            for port, there in ((2, far(world)), (3, far(world, host=9)), (4, far(world, port=1)))
        }
        assert len(ways) == 1
        spread |= ways
    assert len(spread) == 3


@each_world
def test_hashed_by_source_address_all_packets_of_a_host_go_one_way(
    engine: MakePlane, world: World
) -> None:
    given = on(HashFields.SOURCE)
    spread = set()
    for host in MANY:
        address = world.address(1, host)
        ways = {
            chosen(engine, given, packet(world.client(port, address), far(world, host=port)))
            for port in (2, 3, 4) for packet in (udp, tcp, echo)
        }  # fmt: skip
        assert len(ways) == 1
        spread |= ways
    assert len(spread) == 3


@each_world
@pytest.mark.parametrize("fields", [HashFields.ADDRESSES, HashFields.FIVE_TUPLE])
def test_a_symmetric_hash_sends_both_directions_to_one_appliance(
    engine: MakePlane, world: World, fields: HashFields
) -> None:
    """Two balancers, or two sides of one, see one direction each."""
    spread, differ = set(), 0
    for number in MANY:
        here, there = world.client(number, world.address(1, number)), far(world)
        back = tcp(there._replace(mac="02:00:00:00:01:99"),
                   here._replace(mac=GATEWAY_MAC[LAN]), "SA")  # fmt: skip
        forth = tcp(here, there, "S")
        way = chosen(engine, on(fields, symmetric=True), forth)
        assert way == chosen(engine, on(fields, symmetric=True), back)
        differ += chosen(engine, on(fields), forth) != chosen(engine, on(fields), back)
        spread.add(way)
    assert len(spread) == 3
    assert differ, "they are the same by symmetry, not by chance"


def test_families_are_spread_over_the_same_machines(engine: MakePlane) -> None:
    """A next hop is a MAC. Here all of them are configured by IPv4 addresses."""
    gateway = Gateway(engine, tables(service(Mode.DSR, {"a": 1, "b": 1}, at=ANY)))
    ways = [gateway.sends(tcp(world.client(), far(world), "S")) for world in WORLDS]
    assert [packet.dst for packet in ways] == [V4.backend(name).mac for name in "ab"]
    by_six = tables(service(Mode.DSR, {"a": 1, "b": 1}, at=ANY, world=V6))
    gateway = Gateway(engine, by_six)
    assert gateway.sends(tcp(V4.client(), far(V4), "S")).dst == V4.backend("a").mac


@each_world
def test_a_service_of_an_address_comes_before_the_service_for_anything(
    engine: MakePlane, world: World
) -> None:
    given = tables(service(Mode.DSR, {"a": 1}, at=ANY), service(Mode.NAT, {"b": 1}, at=world.vip()))
    gateway = Gateway(engine, given)
    syn = tcp(world.client(), world.vip(), "S")
    gateway.expect(syn, Reason.OPENED, tcp(world.inside, world.backend("b"), "S", ttl=63))
    reply = frame(tcp(world.backend("b"), world.inside, "SA"))
    gateway.expect(reply, Reason.RETURNED, tcp(world.vip(), world.client(), "SA", ttl=63))


@each_world
def test_other_ports_of_a_vip_are_not_spread(engine: MakePlane, world: World) -> None:
    vip = world.vip()
    own = OWN | {vip.endpoint.address}
    given = tables(service(Mode.DSR, at=ANY), service(Mode.NAT, at=vip), own=own)
    gateway = Gateway(engine, given)
    gateway.expect(tcp(world.client(), world.vip(81), "S"), Reason.NOT_OURS)
    gateway.expect(echo(world.client(), vip), Reason.NOT_OURS)


@each_world
def test_idle_flows_of_the_service_for_anything_expire(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, tables(service(Mode.DSR, ABC, at=ANY)))
    ping = echo(world.client(), far(world), b"ping")
    assert gateway.reason(ping, 0.0) is Reason.OPENED
    assert gateway.reason(ping, TIMEOUTS.udp - 0.25) is Reason.FORWARDED
    assert gateway.plane.expire(2 * TIMEOUTS.udp - 0.25) == 1


@each_world
def test_an_error_about_a_spread_packet_follows_its_flow(engine: MakePlane, world: World) -> None:
    """The appliance that keeps the connection's state needs them."""
    gateway = Gateway(engine, tables(service(Mode.DSR, ABC, at=ANY)))
    here, there = world.client(), far(world)
    gateway.sends(tcp(world.client(1), there, "S"))
    assert gateway.sends(tcp(here, there, "S")).dst == V4.backend("b").mac
    error = icmp_error(Trouble.PORT, tcp(there, here, "A"), here, there)
    (sent,) = gateway.receive(error).frames
    assert sent.data[:6].hex(":") == V4.backend("b").mac


@each_world
def test_a_packet_without_an_appliance_is_counted(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, replace(SPREAD, hops={}))
    assert gateway.reason(tcp(world.client(), far(world), "S")) is Reason.NO_NEXT_HOP


@each_world
def test_single_datagrams_are_spread_too(engine: MakePlane, world: World) -> None:
    given = tables(service(Mode.DSR, {"a": 1, "b": 1}, at=ANY, one_packet=True))
    gateway = Gateway(engine, given)
    ways = [gateway.sends(udp(world.client(), far(world), b"q")).dst for _ in range(4)]
    assert ways == [V4.backend(name).mac for name in "abab"]


def test_each_protocol_between_two_hosts_is_a_flow_of_its_own(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.DSR, ABC, at=ANY)))
    here, there = V4.client(), far(V4)
    for packet in (tcp(here, there, "S"), udp(here, there), ip(here, there, b"12", proto=47)):
        assert gateway.reason(packet) is Reason.OPENED
    assert len(gateway.plane.flows) == 3
