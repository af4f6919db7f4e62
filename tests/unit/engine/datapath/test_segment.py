"""Long frames into a tunnel: they are cut as by a network card, each segment complete."""

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert

from pktlb.engine.datapath.frame import GSO_ECN, Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    V4,
    V6,
    WORLDS,
    Packet,
    World,
    at,
    backend,
    client,
    gso,
    parsed,
    tcp,
    udp,
    vip,
    wrapped,
)

DATA = bytes(range(251)) * 20
STAMP = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]


def laid_out(world: World, outer: World) -> Tables:
    return tables(
        service(Mode.TUNNEL, at=world.vip(), world=outer),
        service(Mode.TUNNEL, at=world.vip(53), proto=Proto.UDP, world=outer),
    )


TUNNEL = laid_out(V4, V4)
INSIDE = V4.inside
each_tunnel = pytest.mark.parametrize("outer", WORLDS, ids=["in IPv4", "in IPv6"])


def cut(engine: MakePlane, given: Frame, count: int) -> list[Packet]:
    """The inner packets that a long frame becomes in a tunnel, after a SYN has opened its flow."""
    world = V4 if given.data[12] == 8 else V6
    gateway = Gateway(engine, laid_out(world, V4))
    gateway.receive(tcp(world.client(), world.vip(), "S"))
    outcome = gateway.receive(given)
    assert outcome.reason in (Reason.FORWARDED, Reason.OPENED)
    assert len(outcome.frames) == count
    assert all(sent.offload.flags == sent.offload.gso_type == 0 for sent in outcome.frames)
    return [parsed(sent)[IP].payload for sent in outcome.frames]


PARTS = [(0, 1000, 0xFFFE, 2), (1000, 2000, 0xFFFF, 3), (2000, 2500, 0, 4)]
"The data, and the identification of each packet, inner and outer."


@each_world
@each_tunnel
def test_segments_are_packets_of_their_own(engine: MakePlane, world: World, outer: World) -> None:
    gateway = Gateway(engine, laid_out(world, outer))
    client, vip, there = world.client(), world.vip(), at(world.vip(), outer.backend())
    gateway.receive(tcp(client, vip, "S"))
    whole = tcp(client, vip, "A", DATA[:2500], tcp_options=STAMP, id=0xFFFE)
    pieces = [
        tcp(world.inside, there, "A", DATA[start:stop], seq=1000 + start, id=ident, ttl=63,
            tcp_options=STAMP)
        for start, stop, ident, _ in PARTS
    ]  # fmt: skip
    names = [{"id": part[3]} if outer is V4 else {} for part in PARTS]
    sent = [wrapped(outer.backend(), p, **n) for p, n in zip(pieces, names, strict=True)]
    gateway.expect(gso(whole, 1000), Reason.FORWARDED, *sent)


@each_world
@each_tunnel
def test_datagrams_of_a_train_are_packets_of_their_own(
    engine: MakePlane, world: World, outer: World
) -> None:
    gateway = Gateway(engine, laid_out(world, outer))
    dns = world.vip(53)
    whole = udp(world.client(), dns, DATA[:2500], id=0xFFFE)
    pieces = [
        udp(world.inside, at(dns, outer.backend()), DATA[start:stop], id=ident, ttl=63)
        for start, stop, ident, _ in PARTS
    ]
    names = [{"id": part[3] - 1} if outer is V4 else {} for part in PARTS]
    sent = [wrapped(outer.backend(), p, **n) for p, n in zip(pieces, names, strict=True)]
    gateway.expect(gso(whole, 1000), Reason.OPENED, *sent)


def test_the_sequence_number_wraps_around(engine: MakePlane) -> None:
    pieces = cut(engine, gso(tcp(client(), vip(), "A", DATA[:3000], seq=2**32 - 1500), 1000), 3)
    assert [piece.seq for piece in pieces] == [2**32 - 1500, 2**32 - 500, 500]


@each_world
def test_fin_and_psh_stay_on_the_last_segment_and_cwr_on_the_first(
    engine: MakePlane, world: World
) -> None:
    given = gso(tcp(world.client(), world.vip(), "FPAEC", DATA[:3000]), 1000)
    kind = GSO_ECN | given.offload.gso_type
    marked = Frame(given.port, given.data, given.offload._replace(gso_type=kind))
    pieces = cut(engine, marked, 3)
    assert [str(piece[TCP].flags) for piece in pieces] == ["AEC", "AE", "FPAE"]


def test_a_frame_of_one_segment_keeps_all_its_flags(engine: MakePlane) -> None:
    (piece,) = cut(engine, gso(tcp(client(), vip(), "FPAC", DATA[:700]), 1000), 1)
    assert str(piece[TCP].flags) == "FPAC"
    assert bytes(piece[TCP].payload) == DATA[:700]


def test_a_frame_without_payload_is_one_segment(engine: MakePlane) -> None:
    (piece,) = cut(engine, gso(tcp(client(), vip(), "A"), 1000), 1)
    assert len(piece) == 40


@pytest.mark.parametrize(("size", "count"), [(2000, 2), (2001, 3), (1999, 2), (1000, 1)])
def test_the_last_segment_has_the_rest_of_the_payload(
    engine: MakePlane, size: int, count: int
) -> None:
    pieces = cut(engine, gso(tcp(client(), vip(), "A", DATA[:size]), 1000), count)
    assert b"".join(bytes(piece[TCP].payload) for piece in pieces) == DATA[:size]
    assert all(len(bytes(piece[TCP].payload)) == 1000 for piece in pieces[:-1])


def test_datagrams_of_a_train_have_lengths_of_their_own(engine: MakePlane) -> None:
    pieces = cut(engine, gso(udp(client(), vip(53), DATA[:2500], id=9), 1000), 3)
    assert [piece[UDP].len for piece in pieces] == [1008, 1008, 508]
    assert [piece.id for piece in pieces] == [9, 10, 11]
    assert b"".join(bytes(piece[UDP].payload) for piece in pieces) == DATA[:2500]


def test_a_datagram_whose_checksum_is_0_is_sent_with_ffff(engine: MakePlane) -> None:
    single = bytes(udp(INSIDE, at(vip(53), backend()), b"\0\0"))
    to_zero = single[40:42]
    pieces = cut(engine, gso(udp(client(), vip(53), to_zero + b"ab"), 2), 2)
    assert pieces[0][UDP].chksum == 0xFFFF


def test_ip_options_and_tos_are_in_every_segment(engine: MakePlane) -> None:
    options = [IPOption_NOP(), IPOption_Router_Alert()]
    pieces = cut(engine, gso(udp(client(), vip(53), DATA[:2000], options=options, tos=3), 1000), 2)
    assert [(piece.ihl, piece.tos) for piece in pieces] == [(7, 3), (7, 3)]
    assert all(bytes(piece)[20:25] == b"\x01\x94\x04\0\0" for piece in pieces)


def test_a_frame_of_64_kib_becomes_46_segments_that_fit(engine: MakePlane) -> None:
    data = bytes(65495)
    pieces = cut(engine, gso(tcp(client(), vip(), "A", data), 1440), 46)
    assert max(len(piece) for piece in pieces) == 1480
    assert sum(len(piece[TCP].payload) for piece in pieces) == len(data)


def test_ethernet_padding_becomes_no_segment(engine: MakePlane) -> None:
    given = gso(tcp(client(), vip(), "A", DATA[:1000]), 1000)
    padded = Frame(given.port, given.data + b"\xaa" * 4, given.offload)
    (piece,) = cut(engine, padded, 1)
    assert bytes(piece[TCP].payload) == DATA[:1000]


def test_segments_without_df_that_exceed_the_link_are_fragmented(engine: MakePlane) -> None:
    given = gso(tcp(client(), vip(), "A", DATA[:3000], df=False), 1460)
    gateway = Gateway(engine, TUNNEL)
    gateway.receive(tcp(client(), vip(), "S"))
    outer = [parsed(sent)[IP] for sent in gateway.receive(given).frames]
    assert [(p.id, p.frag) for p in outer] == [(2, 0), (2, 185), (3, 0), (3, 185), (4, 0)]


@pytest.mark.parametrize("mode", [Mode.NAT, Mode.DSR])
def test_without_a_tunnel_segments_are_cut_only_to_be_fragmented(
    engine: MakePlane, mode: Mode
) -> None:
    gateway = Gateway(engine, tables(service(mode), mtu=1000))
    gateway.receive(tcp(client(), vip(), "S"))
    given = gso(tcp(client(), vip(), "A", DATA[:3000], df=False), 1400)
    sent = [parsed(each)[IP] for each in gateway.receive(given).frames]
    assert [(p.id, p.frag) for p in sent] == [(7, 0), (7, 122), (8, 0), (8, 122), (9, 0)]
