"""Fragments that are dropped: overlapping ones, tiny ones, and too many of them."""

from collections.abc import Iterator

import pytest

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.trail import (
    HELD_COST,
    LIFETIME_S,
    MAX_HELD_BYTES,
    MAX_PARTS,
    MAX_TRAILS,
    SHARE_OF_BYTES,
    SHARE_OF_TRAILS,
)
from pktlb.model import Mode, Reason
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane
from tests.support.oracle import slow_checksum
from tests.support.packets import V4, Packet, World, fragmented, frame, tcp, udp
from tests.support.trails import DATA, arrived, expected, laid_out, pass_all, query


def put_start(piece: Packet, start: int, more: bool | None = None) -> Packet:
    """A fragment moved to another place in its packet."""
    changed = piece.copy()
    head = changed.payload
    if head.version == 4:
        head.frag, head.chksum = start // 8, None
        if more is not None:
            head.flags = 1 if more else 0
    else:
        head.payload.offset = start // 8
        if more is not None:
            head.payload.m = int(more)
    return changed


CONTRADICTIONS = [("the one behind", 80, 88), ("the one before", 80, 232), ("all of it", 200, 104)]
"Fragments that overlap the one from 160 to 240 in different ways: size and start."


@each_world
@pytest.mark.parametrize(("what", "size", "start"), CONTRADICTIONS)
@pytest.mark.parametrize("held", [False, True], ids=["sent", "held"])
def test_a_packet_that_overlaps_itself_is_refused(
    engine: MakePlane, world: World, what: str, size: int, start: int, held: bool
) -> None:
    """All its fragments are dropped (RFC 5722): a filter and the receiver might see different
    packets."""
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third, *_ = fragmented(query(world), 80)
    before = [third] if held else [first, third]
    for piece in before:
        assert gateway.reason(piece) is not Reason.BAD_FRAGMENT
    wrong = put_start(fragmented(query(world), size)[1], start)
    gateway.expect(wrong, Reason.BAD_FRAGMENT)
    assert gateway.plane.counts[Reason.HELD] == 0
    assert gateway.plane.counts[Reason.BAD_FRAGMENT] == (2 if held else 1)
    gateway.expect(first if held else second, Reason.BAD_FRAGMENT)


@each_world
def test_a_fragment_that_repeats_parts_of_others_is_dropped(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third, *_ = fragmented(query(world), 80)
    gateway.sends_all(first, second, third)
    gateway.expect(put_start(second, 120), Reason.BAD_FRAGMENT)


@each_world
def test_a_packet_with_two_ends_is_refused(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(query(world), 160)
    for piece in (first, third):
        gateway.sends_all(piece)
    gateway.expect(put_start(third, 160, more=False), Reason.BAD_FRAGMENT)
    gateway.expect(second, Reason.BAD_FRAGMENT)


@each_world
def test_a_packet_with_a_fragment_behind_its_end_is_refused(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(query(world), 160)
    gateway.sends_all(first, third)
    gateway.expect(put_start(second, 480), Reason.BAD_FRAGMENT)
    gateway.expect(second, Reason.BAD_FRAGMENT)


@each_world
def test_a_repeated_fragment_is_dropped_and_does_no_harm(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(query(world), 160)
    frames = pass_all(gateway, [first])
    for again in (first, second, second):
        frames += gateway.receive(again).frames
    frames += gateway.receive(third).frames
    assert arrived(frames, Mode.NAT) == expected(Mode.NAT, world)
    assert len(frames) == 3


@each_world
def test_a_new_packet_may_have_the_identification_of_a_complete_one(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    for order in (1, -1, 1):
        frames = pass_all(gateway, fragmented(query(world), 160)[::order])
        assert arrived(frames, Mode.NAT) == expected(Mode.NAT, world)


def tiny(world: World) -> Iterator[tuple[str, Packet]]:
    client, vip = world.client(), world.vip()
    yield "8 bytes of TCP", fragmented(tcp(client, vip, "S", DATA, df=False), 8)[0]
    yield "16 bytes of TCP", fragmented(tcp(client, vip, "S", DATA, df=False), 16)[0]
    options = [("MSS", 1460), ("NOP", None), ("NOP", None)]
    longer = tcp(client, vip, "S", DATA, df=False, tcp_options=options)
    yield "TCP without its options", fragmented(longer, 24)[0]


@each_world
def test_a_first_fragment_that_hides_its_header_is_refused(engine: MakePlane, world: World) -> None:
    """The first fragment must have the whole transport header (RFC 1858, RFC 7112)."""
    for what, piece in tiny(world):
        gateway = Gateway(engine, laid_out(Mode.NAT, world))
        assert gateway.reason(piece) is Reason.BAD_FRAGMENT, what
        assert len(gateway.plane.flows) == 0


@each_world
def test_an_empty_or_uneven_fragment_is_refused(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    _, second, third = fragmented(query(world), 160)
    uneven = put_start(third, 320, more=True)
    uneven.payload.lastlayer().load = uneven.payload.lastlayer().load[:-1]
    clear_lengths(uneven)
    gateway.expect(uneven, Reason.BAD_FRAGMENT)
    empty = put_start(second, 160)
    empty.payload.lastlayer().load = b""
    clear_lengths(empty)
    gateway.expect(empty, Reason.BAD_FRAGMENT)


def clear_lengths(packet: Packet) -> None:
    """Let scapy compute lengths and checksums again."""
    head = packet.payload
    if head.version == 4:
        head.len = head.chksum = None
    else:
        head.plen = None


@each_world
def test_a_packet_longer_than_64_kib_is_refused(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    _, _, third = fragmented(query(world), 160)
    gateway.expect(put_start(third, 65528), Reason.BAD_FRAGMENT)


@each_world
def test_held_fragments_are_dropped_when_the_first_does_not_come_in_time(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(query(world), 160)
    gateway.receive(second, now=1.0)
    gateway.receive(third, now=5.0)
    gateway.plane.expire(1.0 + LIFETIME_S - 0.25)
    assert gateway.plane.counts[Reason.HELD] == 2
    gateway.plane.expire(1.0 + LIFETIME_S)
    counts = gateway.plane.counts
    assert (counts[Reason.HELD], counts[Reason.FRAGMENT_LOST]) == (0, 2)
    assert sum(counts.values()) == 2
    assert len(gateway.receive(first, now=1.0 + LIFETIME_S).frames) == 1


@each_world
def test_later_fragments_are_dropped_after_the_lifetime_of_their_packet(
    engine: MakePlane, world: World
) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    first, second, third = fragmented(query(world), 160)
    assert gateway.reason(first, now=0.0) is Reason.OPENED
    assert gateway.reason(second, now=LIFETIME_S - 0.25) is Reason.FORWARDED
    assert gateway.reason(third, now=LIFETIME_S) is Reason.HELD, "of another packet by now"


def test_the_number_of_packets_in_fragments_is_bounded(engine: MakePlane) -> None:
    """The oldest packet is forgotten."""
    gateway = Gateway(engine, laid_out(Mode.NAT, V4))
    first, second, _ = (frame(p) for p in fragmented(query(V4, id=0), 160))
    plane = gateway.plane
    for ident in range(MAX_TRAILS):
        assert plane.handle(renamed(second, ident, ident), 0.0).reason is Reason.HELD
    assert plane.counts[Reason.FRAGMENT_LOST] == 0
    assert plane.handle(renamed(second, MAX_TRAILS, MAX_TRAILS), 0.0).reason is Reason.HELD
    assert plane.counts[Reason.FRAGMENT_LOST] == 1
    assert plane.counts[Reason.HELD] == MAX_TRAILS
    assert len(plane.handle(renamed(first, 0), 0.0).frames) == 1, "what waited for it is gone"
    assert len(plane.handle(renamed(first, 2, 2), 0.0).frames) == 2


def renamed(piece: Frame, ident: int, client: int = 0) -> Frame:
    """An IPv4 fragment of another packet, from the client of this number."""
    data = bytearray(piece.data)
    data[18:20] = ident.to_bytes(2, "big")
    data[26:30] = bytes([10, 7, client >> 8, client & 0xFF])
    data[24:26] = b"\0\0"
    data[24:26] = slow_checksum(bytes(data[14:34])).to_bytes(2, "big")
    return Frame(piece.port, data)


def test_a_source_holds_no_more_packets_than_its_share(engine: MakePlane) -> None:
    """Its oldest one is forgotten, not that of another source."""
    gateway = Gateway(engine, laid_out(Mode.NAT, V4))
    first, second, _ = (frame(p) for p in fragmented(query(V4, id=0), 160))
    plane = gateway.plane
    assert plane.handle(renamed(second, 7, client=1), 0.0).reason is Reason.HELD
    for ident in range(2 * MAX_TRAILS):
        assert plane.handle(renamed(second, ident, client=2), 0.0).reason is Reason.HELD
    assert plane.counts[Reason.HELD] == 1 + SHARE_OF_TRAILS
    assert len(plane.handle(renamed(first, 7, client=1), 0.0).frames) == 2
    kept = 2 * MAX_TRAILS - SHARE_OF_TRAILS
    assert len(plane.handle(renamed(first, kept, client=2), 0.0).frames) == 2
    assert len(plane.handle(renamed(first, kept - 2, client=2), 0.0).frames) == 1


def test_forged_fragments_spoil_few_identifications(engine: MakePlane) -> None:
    """A forged fragment that overlaps spoils a packet, but only as long as its source has room."""
    gateway = Gateway(engine, laid_out(Mode.NAT, V4))
    first, second, third = (frame(p) for p in fragmented(query(V4, id=0), 160))
    forged = fragmented(udp(V4.client(), V4.vip(), bytes(800), df=False, id=0), 168)[1]
    plane = gateway.plane
    for ident in range(MAX_TRAILS):
        plane.handle(renamed(frame(forged), ident), 0.0)
    for ident in range(MAX_TRAILS - SHARE_OF_TRAILS):
        pieces = [renamed(piece, ident) for piece in (first, second, third)]
        reasons = [plane.handle(piece, 0.0).reason for piece in pieces]
        assert Reason.BAD_FRAGMENT not in reasons


def test_a_source_holds_no_more_bytes_than_its_share(engine: MakePlane) -> None:
    plane = Gateway(engine, laid_out(Mode.NAT, V4)).plane
    big = udp(V4.client(), V4.vip(), bytes(59992), df=False, id=0)
    _, second = (frame(piece) for piece in fragmented(big, 30000))
    room = SHARE_OF_BYTES // (len(second.data) + HELD_COST)
    for ident in range(room):
        assert plane.handle(renamed(second, ident), 0.0).reason is Reason.HELD
    assert plane.handle(renamed(second, room), 0.0).reason is Reason.FRAGMENT_LOST
    assert plane.handle(renamed(second, room, client=1), 0.0).reason is Reason.HELD


def test_the_bytes_of_held_fragments_are_bounded(engine: MakePlane) -> None:
    plane = Gateway(engine, laid_out(Mode.NAT, V4)).plane
    big = udp(V4.client(), V4.vip(), bytes(59992), df=False, id=0)
    first, second = (frame(piece) for piece in fragmented(big, 30000))
    room = MAX_HELD_BYTES // (len(second.data) + HELD_COST)
    for client in range(room):
        assert plane.handle(renamed(second, 0, client), 0.0).reason is Reason.HELD
    assert plane.handle(renamed(second, 0, room), 0.0).reason is Reason.FRAGMENT_LOST
    assert len(plane.handle(renamed(first, 0, 0), 0.0).frames) >= 2
    assert plane.handle(renamed(second, 0, room), 0.0).reason is not Reason.HELD
    assert plane.handle(renamed(second, 0, room + 1), 0.0).reason is Reason.HELD


@each_world
def test_a_packet_with_too_many_gaps_is_refused(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    pieces = fragmented(udp(world.client(), world.vip(), bytes(4000), df=False), 8)[1::2]
    for piece in pieces[:MAX_PARTS]:
        gateway.expect(piece, Reason.HELD)
    gateway.expect(pieces[MAX_PARTS], Reason.BAD_FRAGMENT)
    counts = gateway.plane.counts
    assert (counts[Reason.HELD], counts[Reason.BAD_FRAGMENT]) == (0, MAX_PARTS + 1)


@each_world
def test_fragments_in_reverse_order_leave_few_gaps(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    pieces = fragmented(query(world), 8)
    assert len(pieces) > 2 * MAX_PARTS
    frames = pass_all(gateway, pieces[::-1])
    assert arrived(frames, Mode.NAT) == expected(Mode.NAT, world)
