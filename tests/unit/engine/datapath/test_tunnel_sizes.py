"""Packets at the size limits of tunnels: which ones are refused, and which fragmented.

IPv4 with DF: an error. IPv4 without: the outer packet is fragmented. IPv6: an error as long as that
can help, that is down to 1280 bytes; those go through in fragments whatever the link.
"""

import pytest
from scapy.layers.inet import IP

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.oracle import slow_reassembly
from tests.support.packets import (
    V4,
    V6,
    WORLDS,
    Packet,
    Trouble,
    World,
    answer,
    at,
    client,
    gso,
    ip_bytes,
    parsed,
    udp,
    vip,
    wrapped,
)
from tests.support.sound import ETHER, assert_sound_ip, layout

each_outer = pytest.mark.parametrize("outer", WORLDS, ids=str)


def laid_out(world: World, outer: World, mtu: int) -> Tables:
    return tables(service(Mode.TUNNEL, at=world.vip(53), proto=Proto.UDP, world=outer), mtu=mtu)


def sized(world: World, length: int, df: bool = True) -> Packet:
    """A datagram in an IP packet of `size` bytes."""
    load = bytes(n % 251 for n in range(length - world.size - 8))
    return udp(world.client(), world.vip(53), load, df=df, tos=4)


def inner(world: World, outer: World, length: int, df: bool = True) -> Packet:
    """The packet as the backend receives it."""
    load = bytes(n % 251 for n in range(length - world.size - 8))
    return udp(world.inside, at(world.vip(53), outer.backend()), load, df=df, tos=4, ttl=63)


def packets(frames: list[Frame]) -> list[bytes]:
    return [bytes(sent.data[ETHER:]) for sent in frames]


def whole(frames: list[Frame]) -> bytes:
    """The packet that the backend's end of the tunnel unwraps."""
    made = slow_reassembly(packets(frames))
    assert_sound_ip(made)
    return made[layout(made).transport :]


MTUS = [576, 1300, 1319, 1320, 1321, 1500, 9000]


@each_outer
@pytest.mark.parametrize("mtu", MTUS)
def test_the_sender_of_ipv4_with_df_is_told_the_mtu_inside_the_tunnel(
    engine: MakePlane, outer: World, mtu: int
) -> None:
    gateway = Gateway(engine, laid_out(V4, outer, mtu))
    room = mtu - outer.size
    big = sized(V4, room + 1)
    gateway.expect(big, Reason.TOO_BIG, answer(Trouble.BIG, big, room))
    gateway.expect(
        sized(V4, room), Reason.FORWARDED, wrapped(outer.backend(), inner(V4, outer, room))
    )


@each_outer
@pytest.mark.parametrize("mtu", MTUS)
def test_ipv4_without_df_goes_in_fragments_of_the_outer_packet(
    engine: MakePlane, outer: World, mtu: int
) -> None:
    gateway = Gateway(engine, laid_out(V4, outer, mtu))
    room = mtu - outer.size
    (fits,) = gateway.receive(sized(V4, room, df=False)).frames
    assert len(fits.data) == ETHER + mtu
    frames = list(gateway.receive(sized(V4, room + 1, df=False)).frames)
    assert len(frames) == 2
    assert all(len(packet) <= mtu for packet in packets(frames))
    assert whole(frames) == ip_bytes(inner(V4, outer, room + 1, df=False))


@each_outer
@pytest.mark.parametrize("mtu", MTUS)
def test_the_sender_of_ipv6_is_told_the_mtu_inside_the_tunnel_but_1280_at_least(
    engine: MakePlane, outer: World, mtu: int
) -> None:
    gateway = Gateway(engine, laid_out(V6, outer, mtu))
    most = max(1280, mtu - outer.size)
    big = sized(V6, most + 1)
    gateway.expect(big, Reason.TOO_BIG, answer(Trouble.BIG, big, most))
    frames = list(gateway.receive(sized(V6, most)).frames)
    assert len(frames) == 1 if most + outer.size <= mtu else len(frames) > 1
    assert all(len(packet) <= mtu for packet in packets(frames))
    assert whole(frames) == ip_bytes(inner(V6, outer, most))


@each_outer
def test_fragments_of_an_outer_packet_have_its_identification(
    engine: MakePlane, outer: World
) -> None:
    gateway = Gateway(engine, laid_out(V4, outer, 1500))
    gateway.receive(sized(V4, 100))
    frames = list(gateway.receive(sized(V4, 3500, df=False)).frames)
    assert whole(frames) == ip_bytes(inner(V4, outer, 3500, df=False))
    places = [layout(packet) for packet in packets(frames)]
    assert [place.start for place in places] == (
        [0, 1480, 2960] if outer is V4 else [0, 1448, 2896]
    )
    assert [place.more for place in places] == [True, True, False]
    if outer is V4:
        assert [(parsed(f).id, parsed(f).tos, parsed(f).ttl) for f in frames] == [(2, 4, 64)] * 3
        return
    for sent in frames:
        head = parsed(sent).payload
        assert (head.tc, head.hlim, head.nh) == (4, 64, 44)
        assert (head.payload.id, head.payload.nh) == (2, 4)


@each_outer
def test_the_longest_packet_goes_through_in_fragments(engine: MakePlane, outer: World) -> None:
    """With an outer IPv4 header it would be longer than a packet can be: two packets then."""
    gateway = Gateway(engine, laid_out(V4, outer, 1500))
    outcome = gateway.receive(sized(V4, 65535, df=False))
    assert outcome.reason is Reason.OPENED
    by_ident: dict[int, list[Frame]] = {}
    for sent in outcome.frames:
        head = parsed(sent).payload
        by_ident.setdefault(head.id if outer is V4 else head.payload.id, []).append(sent)
    parts = [whole(pieces) for pieces in by_ident.values()]
    assert len(parts) == (2 if outer is V4 else 1)
    assert slow_reassembly(parts) == ip_bytes(inner(V4, outer, 65535, df=False))


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_the_longest_packet_with_df_is_too_big_for_every_link(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(world, V4, 70000))
    packet = sized(world, 65516)
    gateway.expect(packet, Reason.TOO_BIG, answer(Trouble.BIG, packet, 65515))
    assert gateway.reason(sized(world, 65515)) is Reason.FORWARDED


def test_an_outer_ipv6_header_takes_every_ipv4_packet(engine: MakePlane) -> None:
    gateway = Gateway(engine, laid_out(V4, V6, 70000))
    assert len(gateway.receive(sized(V4, 65535)).frames) == 1


@each_outer
def test_each_segment_of_a_long_frame_is_fragmented(engine: MakePlane, outer: World) -> None:
    gateway = Gateway(engine, laid_out(V4, outer, 1500))
    data = bytes(range(250)) * 12
    train = gso(udp(client(), vip(53), data, df=False), 1472)
    frames = list(gateway.receive(train).frames)
    idents = [parsed(s)[IP].id if outer is V4 else parsed(s).payload.payload.id for s in frames[:4]]
    assert idents == [1, 1, 2, 2]
    assert len(frames) == 5


def test_df_of_an_outer_ipv4_header_around_ipv6(engine: MakePlane) -> None:
    """It is set where the sender may be asked for a smaller size, so that it learns the MTU."""
    gateway = Gateway(engine, laid_out(V6, V4, 1500))
    for length, df in ((1280, 0), (1281, 2), (1480, 2)):
        (sent,) = gateway.receive(sized(V6, length)).frames
        assert int(parsed(sent)[IP].flags) == df
