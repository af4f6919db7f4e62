"""Long frames into a tunnel: cut as a network card would, each piece complete in itself."""

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert

from pktlb.datapath.frame import GSO_ECN, Frame
from pktlb.model import Mode, Proto, Reason
from tests.gateway import Engine, Gateway, service, tables
from tests.packets import (
    DMZ,
    Packet,
    at,
    backend,
    client,
    gso,
    parsed,
    tcp,
    udp,
    via,
    vip,
    wrapped,
)

TUNNEL = tables(service(Mode.TUNNEL), service(Mode.TUNNEL, at=vip(53), proto=Proto.UDP))
INSIDE = via(DMZ, client())
THERE = at(vip(), backend())
DATA = bytes(range(251)) * 20
STAMP = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]


def cut(engine: Engine, given: Frame, count: int) -> list[Packet]:
    """The inner packets that a long frame becomes in a tunnel, after a SYN has opened its flow."""
    gateway = Gateway(engine, TUNNEL)
    gateway.receive(tcp(client(), vip(), "S"))
    outcome = gateway.receive(given)
    assert outcome.reason in (Reason.FORWARDED, Reason.OPENED)
    assert len(outcome.frames) == count
    assert all(sent.offload.flags == sent.offload.gso_type == 0 for sent in outcome.frames)
    return [parsed(sent)[IP].payload for sent in outcome.frames]


def test_pieces_are_packets_of_their_own(engine: Engine) -> None:
    gateway = Gateway(engine, TUNNEL)
    gateway.receive(tcp(client(), vip(), "S"))
    gateway.expect(
        gso(tcp(client(), vip(), "A", DATA[:2500], tcp_options=STAMP, id=0xFFFE), 1000),
        Reason.FORWARDED,
        *(
            wrapped(
                backend(),
                tcp(INSIDE, THERE, "A", load, seq=seq, id=ident, ttl=63, tcp_options=STAMP),
                id=outer,
            )
            for load, seq, ident, outer in [
                (DATA[:1000], 1000, 0xFFFE, 2),
                (DATA[1000:2000], 2000, 0xFFFF, 3),
                (DATA[2000:2500], 3000, 0, 4),
            ]
        ),
    )


def test_the_sequence_number_wraps_around(engine: Engine) -> None:
    pieces = cut(engine, gso(tcp(client(), vip(), "A", DATA[:3000], seq=2**32 - 1500), 1000), 3)
    assert [piece.seq for piece in pieces] == [2**32 - 1500, 2**32 - 500, 500]


def test_fin_and_push_stay_on_the_last_piece_and_cwr_on_the_first(engine: Engine) -> None:
    given = gso(tcp(client(), vip(), "FPAEC", DATA[:3000]), 1000)
    marked = Frame(given.port, given.data, given.offload._replace(gso_type=GSO_ECN | 1))
    pieces = cut(engine, marked, 3)
    assert [str(piece[TCP].flags) for piece in pieces] == ["AEC", "AE", "FPAE"]


def test_a_frame_of_one_piece_keeps_all_its_flags(engine: Engine) -> None:
    (piece,) = cut(engine, gso(tcp(client(), vip(), "FPAC", DATA[:700]), 1000), 1)
    assert str(piece[TCP].flags) == "FPAC"
    assert bytes(piece[TCP].payload) == DATA[:700]


def test_a_frame_without_payload_is_one_piece(engine: Engine) -> None:
    (piece,) = cut(engine, gso(tcp(client(), vip(), "A"), 1000), 1)
    assert len(piece) == 40


@pytest.mark.parametrize(("size", "count"), [(2000, 2), (2001, 3), (1999, 2), (1000, 1)])
def test_the_last_piece_is_as_short_as_what_is_left(engine: Engine, size: int, count: int) -> None:
    pieces = cut(engine, gso(tcp(client(), vip(), "A", DATA[:size]), 1000), count)
    assert b"".join(bytes(piece[TCP].payload) for piece in pieces) == DATA[:size]
    assert all(len(bytes(piece[TCP].payload)) == 1000 for piece in pieces[:-1])


def test_datagrams_of_a_train_have_lengths_of_their_own(engine: Engine) -> None:
    pieces = cut(engine, gso(udp(client(), vip(53), DATA[:2500], id=9), 1000), 3)
    assert [piece[UDP].len for piece in pieces] == [1008, 1008, 508]
    assert [piece.id for piece in pieces] == [9, 10, 11]
    assert b"".join(bytes(piece[UDP].payload) for piece in pieces) == DATA[:2500]


def test_a_datagram_of_a_train_that_sums_to_nothing_is_sent_as_ffff(engine: Engine) -> None:
    single = bytes(udp(INSIDE, at(vip(53), backend()), b"\0\0"))
    to_zero = single[40:42]
    pieces = cut(engine, gso(udp(client(), vip(53), to_zero + b"ab"), 2), 2)
    assert pieces[0][UDP].chksum == 0xFFFF


def test_ip_options_and_tos_are_in_every_piece(engine: Engine) -> None:
    options = [IPOption_NOP(), IPOption_Router_Alert()]
    pieces = cut(engine, gso(udp(client(), vip(53), DATA[:2000], options=options, tos=3), 1000), 2)
    assert [(piece.ihl, piece.tos) for piece in pieces] == [(7, 3), (7, 3)]
    assert all(bytes(piece)[20:25] == b"\x01\x94\x04\0\0" for piece in pieces)


def test_a_frame_of_64_kib_becomes_46_pieces_that_fit(engine: Engine) -> None:
    data = bytes(65495)
    pieces = cut(engine, gso(tcp(client(), vip(), "A", data), 1440), 46)
    assert max(len(piece) for piece in pieces) == 1480
    assert sum(len(piece[TCP].payload) for piece in pieces) == len(data)


def test_ethernet_padding_is_not_cut_into_a_piece(engine: Engine) -> None:
    given = gso(tcp(client(), vip(), "A", DATA[:1000]), 1000)
    padded = Frame(given.port, given.data + b"\xaa" * 4, given.offload)
    (piece,) = cut(engine, padded, 1)
    assert bytes(piece[TCP].payload) == DATA[:1000]


def test_segments_without_df_that_exceed_the_link_are_fragmented(engine: Engine) -> None:
    given = gso(tcp(client(), vip(), "A", DATA[:3000], df=False), 1460)
    gateway = Gateway(engine, TUNNEL)
    gateway.receive(tcp(client(), vip(), "S"))
    outer = [parsed(sent)[IP] for sent in gateway.receive(given).frames]
    assert [(p.id, p.frag) for p in outer] == [(2, 0), (2, 185), (3, 0), (3, 185), (4, 0)]


@pytest.mark.parametrize("mode", [Mode.NAT, Mode.DSR])
def test_without_a_tunnel_segments_are_cut_only_to_be_fragmented(
    engine: Engine, mode: Mode
) -> None:
    gateway = Gateway(engine, tables(service(mode), mtu=1000))
    gateway.receive(tcp(client(), vip(), "S"))
    given = gso(tcp(client(), vip(), "A", DATA[:3000], df=False), 1400)
    sent = [parsed(each)[IP] for each in gateway.receive(given).frames]
    assert [(p.id, p.frag) for p in sent] == [(7, 0), (7, 122), (8, 0), (8, 122), (9, 0)]
