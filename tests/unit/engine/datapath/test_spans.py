"""Services of an address, a range of ports, or TCP and UDP together: the narrowest one counts."""

from collections.abc import Iterator

import pytest

from pktlb.engine.datapath.keys import endpoint_key
from pktlb.engine.datapath.tables import Ends, Tables
from pktlb.model import Endpoint, Mode, Proto, Reason, Vip
from tests.support.cases import Case, both, each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import V4, WORLDS, Packet, World, at, echo, ip, packed, tcp, udp, wrapped

TCP, UDP, GRE, ESP = Proto.TCP, Proto.UDP, Proto.GRE, Proto.ESP
HERE = b"\x0a\x00\x01\x64"

LAYERS = [
    ("all", Vip(HERE)),
    ("tcp", Vip(HERE, protos=(TCP,))),
    ("both", Vip(HERE, protos=(TCP, UDP))),
    ("gre", Vip(HERE, protos=(GRE,))),
    ("wide", Vip(HERE, 1000, 2999, (TCP, UDP))),
    ("narrow", Vip(HERE, 2000, 2099, (TCP,))),
    ("one", Vip(HERE, 2050, 2050, (TCP,))),
    ("pair", Vip(HERE, 53, 53, (TCP, UDP))),
    ("elsewhere", Vip(b"\x0a\x00\x01\x65", 80, 80, (TCP,))),
]
FOUND = [
    (TCP, 2050, "one"), (TCP, 2049, "narrow"), (TCP, 2000, "narrow"), (TCP, 2099, "narrow"),
    (TCP, 2100, "wide"), (TCP, 1999, "wide"), (TCP, 1000, "wide"), (TCP, 2999, "wide"),
    (TCP, 999, "tcp"), (TCP, 3000, "tcp"), (TCP, 0, "tcp"), (TCP, 65535, "tcp"),
    (UDP, 2050, "wide"), (UDP, 999, "both"), (UDP, 53, "pair"), (TCP, 53, "pair"),
    (GRE, 0, "gre"), (ESP, 0, "all"), (132, 0, "all"), (253, 0, "all"), (0, 0, "all"),
    (1, 0, None), (58, 0, None),
]  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("proto", "port", "name"), FOUND)
def test_the_narrowest_range_with_the_port_is_found(
    proto: int, port: int, name: str | None, order: int
) -> None:
    ends = Ends((vip, what) for what, vip in LAYERS[::order])
    found = ends.find(endpoint_key(proto, Endpoint(HERE, port)))
    # Two services of TCP are equally wide: either may be found.
    assert found == name or {found, name} == {"tcp", "both"}


def test_an_address_without_a_service_is_not_found() -> None:
    ends = Ends((vip, what) for what, vip in LAYERS)
    assert ends.find(endpoint_key(TCP, Endpoint(b"\x0a\x00\x01\x66", 80))) is None
    assert ends.find(endpoint_key(TCP, Endpoint(b"\x0a\x00\x01\x65", 81))) is None
    assert ends.addresses == {HERE, b"\x0a\x00\x01\x65"}


def whole(world: World, *protos: int, low: int = 0, high: int = 65535) -> Vip:
    return Vip(packed(world.vip().address), low, high, protos)


def address_service(world: World) -> Iterator[Case]:
    """A service of a whole address; its backends get the port dialled."""
    client, inside = world.client(), world.inside
    for port in (1, 80, 65535):
        dialled, there = world.vip(port), world.backend("a", port)
        given = tables(service(Mode.NAT, at=whole(world), port=0))
        syn, query = tcp(client, dialled, "S"), udp(client, dialled, b"q")
        yield Case(
            f"NAT keeps port {port} of TCP",
            given,
            syn,
            Reason.OPENED,
            [tcp(inside, there, "S", ttl=63)],
        )
        yield Case(
            f"NAT keeps port {port} of UDP",
            given,
            query,
            Reason.OPENED,
            [udp(inside, there, b"q", ttl=63)],
        )
        yield Case(
            f"NAT returns what comes from port {port}",
            given,
            tcp(there, inside, "SA"),
            Reason.RETURNED,
            [tcp(dialled, client, "SA", ttl=63)],
            before=[syn],
        )
        held = at(dialled, world.backend())
        yield Case(
            f"DSR keeps port {port}",
            tables(service(Mode.DSR, at=whole(world))),
            syn,
            Reason.OPENED,
            [tcp(inside, held, "S", ttl=63)],
        )
        yield Case(f"a tunnel keeps port {port}", tables(service(Mode.TUNNEL, at=whole(world))),
                   syn, Reason.OPENED, [wrapped(world.backend(), tcp(inside, held, "S", ttl=63))]
                   )  # fmt: skip
    there = world.backend("a", 8080)
    fixed = tables(service(Mode.NAT, at=whole(world)))
    yield Case("a backend with a port has that one for all", fixed,
               tcp(client, world.vip(443), "S"), Reason.OPENED,
               [tcp(inside, there, "S", ttl=63)])  # fmt: skip
    yield Case("a ping is the kernel's", tables(service(Mode.NAT, at=whole(world), port=0)),
               echo(client, world.vip()), Reason.NOT_OURS)  # fmt: skip


def ranges(world: World) -> Iterator[Case]:
    client, inside = world.client(), world.inside
    given = tables(service(Mode.NAT, at=whole(world, TCP, low=1000, high=1009), port=0))
    for port, ours in ((999, False), (1000, True), (1005, True), (1009, True), (1010, False)):
        syn = tcp(client, world.vip(port), "S")
        sent = [tcp(inside, world.backend("a", port), "S", ttl=63)] if ours else []
        yield Case(f"port {port} of 1000-1009", given, syn,
                   Reason.OPENED if ours else Reason.NOT_OURS, sent)  # fmt: skip
    yield Case("a range is of its protocol", given, udp(client, world.vip(1005)),
               Reason.NOT_OURS)  # fmt: skip
    pair = tables(service(Mode.NAT, at=whole(world, TCP, UDP, low=53, high=53), port=5353))
    dns = world.backend("a", 5353)
    yield Case("53/any is TCP", pair, tcp(client, world.vip(53), "S"), Reason.OPENED,
               [tcp(inside, dns, "S", ttl=63)])  # fmt: skip
    yield Case("53/any is UDP", pair, udp(client, world.vip(53)), Reason.OPENED,
               [udp(inside, dns, ttl=63)])  # fmt: skip
    yield Case("53/any is nothing else", pair, ip(client, world.vip(53), bytes(20), proto=47),
               Reason.NOT_OURS)  # fmt: skip


@pytest.mark.parametrize("case", [*both(address_service), *both(ranges)])
def test_a_packet_to_a_range_of_ports(case: Case, engine: MakePlane) -> None:
    case.check(engine)


def layered(world: World) -> Tables:
    """Backend a has a whole address, b its TCP, c one port of it."""
    return tables(
        service(Mode.NAT, {"a": 1}, at=whole(world), port=0),
        service(Mode.NAT, {"b": 1}, at=whole(world, TCP), port=0),
        service(Mode.NAT, {"c": 1}, at=world.vip(80), port=8080),
    )


@each_world
def test_several_services_of_an_address_each_take_their_part(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, layered(world))
    client, vip = world.client(), world.vip
    parts: list[tuple[Packet, str]] = [
        (tcp(client, vip(80), "S"), "c"), (tcp(client, vip(81), "S"), "b"),
        (udp(client, vip(80)), "a"), (ip(client, vip(), bytes(20), proto=47), "a"),
    ]  # fmt: skip
    for packet, name in parts:
        assert gateway.sends(packet).dst == world.backend(name).mac


@each_world
def test_replies_from_ranges_are_told_apart_from_other_packets(
    engine: MakePlane, world: World
) -> None:
    given = tables(service(Mode.NAT, at=whole(world, TCP, low=1000, high=1009), port=0))
    gateway = Gateway(engine, given)
    for port, reason in ((999, Reason.NOT_OURS), (1000, Reason.NO_FLOW), (1010, Reason.NOT_OURS)):
        packet = tcp(world.backend("a", port), world.inside, "A")
        gateway.expect(packet, reason, *([packet] if reason is Reason.NO_FLOW else []))


def test_the_round_robin_is_of_the_service_not_of_the_port(engine: MakePlane) -> None:
    given = tables(service(Mode.NAT, {"a": 1, "b": 1}, at=whole(V4), port=0))
    gateway = Gateway(engine, given)
    sent = [gateway.sends(tcp(V4.client(), V4.vip(port), "S")).dst for port in (1, 2, 3, 4)]
    assert sent == [V4.backend(name).mac for name in "abab"]


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_one_client_port_may_dial_many_ports_of_one_backend(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, at=whole(world), port=0)))
    for port in (80, 81, 82):
        assert gateway.sends(tcp(world.client(), world.vip(port), "S")).sport == 4000
    fixed = Gateway(engine, tables(service(Mode.NAT, at=whole(world), port=8080)))
    ports = {fixed.sends(tcp(world.client(), world.vip(p), "S")).sport for p in (80, 81, 82)}
    assert len(ports) == 3


@each_world
def test_source_ports_are_allotted_by_backend_not_by_the_port_dialled(
    engine: MakePlane, world: World
) -> None:
    pool = {4: "10.0.2.9", 6: "2001:db8:2::9"}[world.family]
    given = tables(service(Mode.NAT, at=whole(world), port=0), snat=[pool])
    gateway = Gateway(engine, given, source_ports=[5000, 5001])
    seen = set()
    for port in (80, 81):
        sent = gateway.sends(tcp(world.client(), world.vip(port), "S"))
        assert sent[1].src == pool
        seen.add((sent.sport, sent.dport))
        back = tcp(world.backend("a", port), world.client(sent.sport, pool), "SA")
        back.dst, back.src = sent.src, sent.dst
        gateway.expect(back, Reason.RETURNED, tcp(world.vip(port), world.client(), "SA", ttl=63))
    assert len(seen) == 2
