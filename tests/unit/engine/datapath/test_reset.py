"""The RSTs that both ends get when a connection is cut."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pktlb.engine.datapath.tcp import State
from pktlb.model import Mode, OnRemove, Reason
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    LAN,
    V4,
    V6,
    Packet,
    Peer,
    World,
    at,
    backend,
    client,
    fragmented,
    gso,
    tcp,
    via,
    vip,
    wrapped,
)
from tests.support.removal import after, key_of, on_the_way, removed, rst, segment

MODES = pytest.mark.parametrize("mode", Mode)
RESET, KEEP = OnRemove.RESET, OnRemove.KEEP


def resets(world: World) -> Iterator[tuple[Any, Packet, Packet]]:
    """A client's packet, the RST for the client (RFC 9293, section 3.10.7.1), and the RST for the
    backend in the client's name."""
    c, v = world.client(), world.vip()
    yield segment(c, v, "PA", b"12345", seq=7, ack=99), rst(v, c, 99), rst(c, v, 7, 99)
    yield segment(c, v, "A", b"", seq=7, ack=0), rst(v, c, 0), rst(c, v, 7, 0)
    last = 2**32 - 1
    yield segment(c, v, "SA", seq=7, ack=last), rst(v, c, last), rst(c, v, 7, last)
    yield segment(c, v, "F", b"abc", seq=last - 1, ack=3), rst(v, c, 0, 2), rst(c, v, last - 1)
    yield segment(c, v, "", b"abcd", seq=10), rst(v, c, 0, 14), rst(c, v, 10)
    yield segment(c, v, "SF", b"", seq=10), rst(v, c, 0, 12), rst(c, v, 10)
    padded = segment(c, v, "A", b"", seq=7, ack=5, options=[("NOP", None)] * 8)
    yield padded, rst(v, c, 5), rst(c, v, 7, 5)
    first = fragmented(segment(c, v, "A", bytes(100), seq=last, ack=5), 64)[0]
    yield first, rst(v, c, 5), rst(c, v, last, 5)
    yield gso(segment(c, v, "A", bytes(5000), seq=1, ack=6), 1000), rst(v, c, 6), rst(c, v, 1, 6)
    yield gso(segment(c, v, "P", bytes(5000), seq=6), 1000), rst(v, c, 0, 5006), rst(c, v, 6)


@each_world
@MODES
def test_a_client_s_packets_are_reset_at_both_ends(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway, as_ever = (removed(engine, on_remove, mode, world) for on_remove in (RESET, KEEP))
    for now, (given, answer, instead) in enumerate(resets(world)):
        on = as_ever.receive(instead, float(now)).frames
        gateway.expect(given, Reason.RESET, answer, *on, now=float(now))
    (flow,) = gateway.plane.flows
    assert flow.state is State.CLOSED
    assert flow.seen == now
    assert flow.tally.active == 0


@each_world
def test_a_backend_s_packets_are_reset_at_both_ends(engine: MakePlane, world: World) -> None:
    gateway = removed(engine, RESET, Mode.NAT, world)
    b, c = world.backend(), via(DMZ, world.client())
    on = on_the_way(rst(via(LAN, world.vip()), world.client(), 9, 3))
    gateway.expect(segment(b, c, "PA", b"1", seq=9, ack=3), Reason.RESET, rst(c, b, 3), on)


@pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
def test_answers_in_the_vip_s_name_are_reset_at_both_ends(engine: MakePlane, mode: Mode) -> None:
    gateway = removed(engine, RESET, mode)
    v, c = at(vip(), backend()), via(DMZ, client())
    on = on_the_way(rst(via(LAN, vip()), client(), 9))
    gateway.expect(segment(v, c, "P", b"1", seq=9), Reason.RESET, rst(c, v, 0, 10), on)


@each_world
def test_an_rst_is_translated_to_the_pool_s_address(engine: MakePlane, world: World) -> None:
    pool = Peer(world.address(DMZ, 9), 5000, world.gateway(DMZ).mac)
    c, v, b = world.client(), world.vip(), world.backend()
    given = tables(service(Mode.NAT, at=v), snat=[pool.address])
    gateway = Gateway(engine, given, source_ports=[pool.port])
    gateway.sends(tcp(c, v, "S"))
    gateway.plane.kill([key_of(c, v)])
    there, back = rst(pool, b, 7, 8), rst(via(LAN, v), c, 8, 7)
    gateway.expect(
        segment(c, v, "A", b"x", seq=7, ack=8), Reason.RESET, rst(v, c, 8), on_the_way(there)
    )
    gateway.expect(
        segment(b, pool, "A", b"x", seq=8, ack=7), Reason.RESET, rst(pool, b, 7), on_the_way(back)
    )


@each_world
@pytest.mark.parametrize("outer", [V4, V6], ids=str)
def test_an_rst_goes_through_the_tunnel(engine: MakePlane, world: World, outer: World) -> None:
    c, v = world.client(), world.vip()
    gateway = Gateway(engine, tables(service(Mode.TUNNEL, at=v, world=outer)))
    gateway.sends(tcp(c, v, "S"))
    gateway.plane.kill([key_of(c, v)])
    inside = on_the_way(rst(c, via(DMZ, v), 7))
    ident = {"id": 2} if outer is V4 else {}
    on = wrapped(outer.backend(), inside, **ident)
    gateway.expect(segment(c, v, "F", seq=7), Reason.RESET, rst(v, c, 0, 8), on)


def test_an_rst_does_not_count_in_the_tally(engine: MakePlane) -> None:
    gateway = removed(engine, RESET)
    before = gateway.plane.tallies()
    gateway.receive(segment(client(), vip(), "A", bytes(99)))
    gateway.receive(segment(backend(), via(DMZ, client()), "A", bytes(99)))
    for key, count in gateway.plane.tallies().items():
        was = before[key]
        assert (count.packets_in, count.packets_out) == (was.packets_in, was.packets_out)
        assert (count.bytes_in, count.bytes_out) == (was.bytes_in, was.bytes_out)


def test_without_a_next_hop_only_the_sender_is_reset(engine: MakePlane) -> None:
    gateway = removed(engine, RESET)
    b, c = backend(), via(DMZ, client())
    gateway.plane.swap(replace(after(RESET, Mode.NAT), ports={}))
    gateway.expect(segment(b, c, "A", ack=3), Reason.RESET, rst(c, b, 3))
    gateway.plane.swap(replace(after(RESET, Mode.NAT), hops={}))
    given = segment(client(), vip(), "A", ack=3)
    gateway.expect(given, Reason.RESET, rst(vip(), client(), 3))


def test_an_rst_that_does_not_fit_the_link_is_not_sent_on(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.TUNNEL, world=V6), mtu=79))
    gateway.receive(tcp(client(), vip(), "S"))
    gateway.plane.kill([key_of(client(), vip())])
    given = segment(client(), vip(), "A", ack=3)
    gateway.expect(given, Reason.RESET, rst(vip(), client(), 3))
