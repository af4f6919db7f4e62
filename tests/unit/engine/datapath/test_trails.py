"""Fragments on their way: in any order each goes where the first one of its packet goes."""

from itertools import permutations

import pytest
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, Offload
from pktlb.model import Mode, Proto, Reason, Verdict
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    V4,
    V6,
    WORLDS,
    Trouble,
    World,
    answer,
    at,
    echo,
    fragmented,
    frame,
    ip_bytes,
    parsed,
    tcp,
    udp,
    via,
)
from tests.support.sound import ETHER
from tests.support.trails import DATA, arrived, expected, laid_out, pass_all, query

MODES = pytest.mark.parametrize("mode", Mode)


@each_world
@MODES
def test_each_fragment_in_order_is_sent_on_at_once(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, laid_out(mode, world))
    outcomes = [gateway.receive(piece) for piece in fragmented(query(world), 160)]
    assert [o.reason for o in outcomes] == [Reason.OPENED, Reason.FORWARDED, Reason.FORWARDED]
    frames = [sent for outcome in outcomes for sent in outcome.frames]
    assert len(frames) == 3
    assert arrived(frames, mode) == expected(mode, world)
    assert len({bytes(sent.data[:12]) for sent in frames}) == 1


@each_world
@MODES
@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_fragments_in_any_order_all_arrive(
    engine: MakePlane, mode: Mode, world: World, order: tuple[int, ...]
) -> None:
    gateway = Gateway(engine, laid_out(mode, world))
    pieces = fragmented(query(world), 160)
    frames = pass_all(gateway, [pieces[place] for place in order])
    assert arrived(frames, mode) == expected(mode, world)
    counts = gateway.plane.counts
    assert (counts[Reason.OPENED], counts[Reason.FORWARDED]) == (1, 2)
    assert counts[Reason.HELD] == 0


@each_world
@MODES
def test_a_fragment_that_comes_before_the_first_is_held(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, laid_out(mode, world))
    first, second, third = fragmented(query(world), 160)
    gateway.expect(second, Reason.HELD)
    gateway.expect(third, Reason.HELD)
    assert gateway.plane.counts[Reason.HELD] == 2
    outcome = gateway.receive(first)
    assert outcome.reason is Reason.OPENED
    assert len(outcome.frames) == 3
    assert gateway.plane.counts[Reason.HELD] == 0
    assert gateway.plane.counts[Reason.FORWARDED] == 2


@each_world
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)], ids=str)
def test_replies_in_fragments_are_translated_back(
    engine: MakePlane, world: World, order: tuple[int, ...]
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    gateway.receive(udp(world.client(), world.vip(), b"q"))
    reply = udp(world.backend(), world.inside, DATA, df=False)
    pieces = fragmented(reply, 160)
    frames = pass_all(gateway, [pieces[place] for place in order])
    whole = udp(world.vip(), world.client(), DATA, df=False, ttl=63)
    assert arrived(frames, Mode.NAT) == ip_bytes(whole)
    assert gateway.plane.counts[Reason.RETURNED] == 3


@each_world
def test_fragments_of_tcp_follow_their_flow(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    gateway.receive(tcp(world.client(), world.vip(), "S"))
    data = tcp(world.client(), world.vip(), "A", DATA, df=False)
    frames = pass_all(gateway, fragmented(data, 160)[::-1])
    whole = tcp(world.inside, world.backend(), "A", DATA, df=False, ttl=63)
    assert arrived(frames, Mode.NAT) == ip_bytes(whole)


@each_world
def test_fragments_of_two_packets_do_not_mix(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    packets = [query(world, id=ident) for ident in (1, 2)]
    one, two = (fragmented(p, 208, ident=n) for n, p in enumerate(packets, 1))
    gateway.expect(one[1], Reason.HELD)
    gateway.expect(two[1], Reason.HELD)
    first = list(gateway.receive(two[0]).frames)
    assert arrived(first, Mode.NAT) == expected(Mode.NAT, world, id=2)
    second = list(gateway.receive(one[0]).frames)
    assert arrived(second, Mode.NAT) == expected(Mode.NAT, world, id=1)


@each_world
def test_later_fragments_that_are_not_ours_are_given_to_the_kernel(
    engine: MakePlane, world: World
) -> None:
    """The guard keeps later fragments from the kernel by address alone, but not the first one."""
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(echo(world.client(), world.vip(), DATA, df=False), 160)
    gateway.expect(second, Reason.HELD)
    gateway.expect(first, Reason.NOT_OURS, second)
    gateway.expect(third, Reason.NOT_OURS, third)


@each_world
def test_fragments_between_strangers_are_not_ours(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    there = world.client(9, world.address(8, 8))
    for piece in fragmented(udp(world.client(), there, DATA, df=False), 160)[::-1]:
        gateway.expect(piece, Reason.NOT_OURS)


@each_world
def test_fragments_of_a_connection_that_is_not_open_are_given_to_the_kernel(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(tcp(world.client(), world.vip(), "A", DATA, df=False), 160)
    gateway.expect(third, Reason.HELD)
    gateway.expect(first, Reason.NOT_OPEN, first, third)
    gateway.expect(second, Reason.NOT_OPEN, second)


@each_world
def test_fragments_are_dropped_when_the_first_is_dropped(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world), max_flows=1)
    gateway.receive(udp(world.client(1), world.vip()))
    first, second, third = fragmented(query(world), 160)
    gateway.expect(third, Reason.HELD)
    gateway.expect(first, Reason.TABLE_FULL)
    gateway.expect(second, Reason.FRAGMENT_LOST)
    counts = gateway.plane.counts
    assert (counts[Reason.TABLE_FULL], counts[Reason.FRAGMENT_LOST]) == (1, 2)


@each_world
def test_an_error_is_sent_about_the_first_fragment_only(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(query(world, ttl=1), 160)
    gateway.expect(third, Reason.HELD)
    gateway.expect(first, Reason.TTL_EXPIRED, answer(Trouble.TIME, first))
    gateway.expect(second, Reason.FRAGMENT_LOST)


def test_fragments_too_big_for_the_link_are_cut_further(engine: MakePlane) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, V4, mtu=120))
    frames = pass_all(gateway, fragmented(query(V4), 160)[::-1])
    assert all(len(sent.data) - ETHER <= 120 for sent in frames)
    assert arrived(frames, Mode.NAT) == expected(Mode.NAT, V4)


@pytest.mark.parametrize("outer", WORLDS, ids=str)
def test_each_fragment_into_a_tunnel_has_an_outer_header(engine: MakePlane, outer: World) -> None:
    vip = V4.vip()
    gateway = Gateway(engine, tables(service(Mode.TUNNEL, at=vip, proto=Proto.UDP, world=outer)))
    pieces = fragmented(query(V4), 160)
    frames = pass_all(gateway, pieces[::-1])
    assert arrived(frames, Mode.TUNNEL) == expected(Mode.TUNNEL, V4)
    if outer is V4:
        assert [parsed(sent).id for sent in frames] == [1, 2, 3]


def test_options_and_extension_headers_of_fragments_are_kept(engine: MakePlane) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, V6))
    extensions = [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()]
    packet = query(V6, extensions=extensions)
    frames = pass_all(gateway, fragmented(packet, 160)[::-1])
    assert arrived(frames, Mode.NAT) == expected(Mode.NAT, V6, extensions=extensions)


def test_a_header_chain_that_goes_on_in_a_later_fragment_is_refused(engine: MakePlane) -> None:
    """The first fragment must have all headers (RFC 7112)."""
    gateway = Gateway(engine, laid_out(Mode.NAT, V6))
    long = IPv6ExtHdrDestOpt(options=[], len=0)
    packet = query(V6, extensions=[long])
    gateway.expect(fragmented(packet, 8)[0], Reason.BAD_FRAGMENT)


@MODES
def test_a_fragment_with_a_partial_checksum_is_dropped(engine: MakePlane, mode: Mode) -> None:
    gateway = Gateway(engine, laid_out(mode, V4))
    first = frame(fragmented(query(V4), 160)[0], Offload(NEEDS_CHECKSUM, 0, 0, 0, 34, 6))
    assert gateway.receive(first).reason.verdict is not Verdict.PASS
    assert not gateway.plane.counts[Reason.OPENED] or mode is not Mode.NAT


@each_world
def test_fragments_of_a_backend_that_cannot_be_reached_are_dropped(
    engine: MakePlane, world: World
) -> None:
    given = laid_out(Mode.NAT, world)
    gateway = Gateway(engine, given)
    first, second, third = fragmented(query(world), 160)
    gateway.receive(first)
    gateway.plane.swap(tables())
    assert gateway.reason(second) in (Reason.FORWARDED, Reason.NOT_OURS)
    assert gateway.reason(third) in (Reason.FORWARDED, Reason.NOT_OURS)


@each_world
def test_a_reply_of_a_backend_to_a_stranger_is_given_back_in_order(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    stranger = via(DMZ, world.client(address=world.address(9, 9)))
    pieces = fragmented(udp(world.backend(), stranger, DATA, df=False), 160)
    gateway.expect(pieces[1], Reason.HELD)
    gateway.expect(pieces[2], Reason.HELD)
    gateway.expect(pieces[0], Reason.NO_FLOW, *pieces)


def test_fragments_to_the_vip_belong_to_its_service(engine: MakePlane) -> None:
    gateway = Gateway(engine, laid_out(Mode.DSR, V4))
    gateway.receive(udp(V4.client(), V4.vip(), b"q"))
    reply = udp(at(V4.vip(), V4.backend()), V4.inside, DATA, df=False)
    frames = pass_all(gateway, fragmented(reply, 160)[::-1])
    assert arrived(frames, Mode.DSR) == ip_bytes(udp(V4.vip(), V4.client(), DATA, df=False, ttl=63))


@pytest.mark.parametrize(("pool", "world"), [("2001:db8:2::9", V4), ("10.0.2.9", V6)])
def test_replies_to_a_family_without_a_pool_are_followed_too(
    engine: MakePlane, pool: str, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world, snat=[pool]))
    gateway.receive(udp(world.client(), world.vip(), b"q"))
    reply = udp(world.backend(), world.inside, DATA, df=False)
    frames = pass_all(gateway, fragmented(reply, 160))
    whole = udp(world.vip(), world.client(), DATA, df=False, ttl=63)
    assert arrived(frames, Mode.NAT) == ip_bytes(whole)


@each_world
@pytest.mark.parametrize("order", [1, -1])
def test_replies_to_a_pool_are_followed(engine: MakePlane, world: World, order: int) -> None:
    pool = {4: "10.0.2.9", 6: "2001:db8:2::9"}[world.family]
    gateway = Gateway(engine, laid_out(Mode.NAT, world, snat=[pool]), source_ports=[5000])
    gateway.receive(udp(world.client(), world.vip(), b"q"))
    guise = via(DMZ, world.client(5000, pool))
    reply = udp(world.backend(), guise, DATA, df=False)
    frames = pass_all(gateway, fragmented(reply, 160)[::order])
    whole = udp(world.vip(), world.client(), DATA, df=False, ttl=63)
    assert arrived(frames, Mode.NAT) == ip_bytes(whole)
