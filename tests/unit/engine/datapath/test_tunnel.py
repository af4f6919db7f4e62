"""The tunnel: an outer header of the backend's family in front, the packet inside left as it was.

Either family in either: cases for all four. Sizes at their edges are in `test_tunnel_sizes`.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.packet import Padding

from pktlb.engine.datapath.frame import GSO_TCP4, GSO_TCP6, GSO_UDP, NO_OFFLOAD, Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import Case
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    V4,
    V6,
    WORLDS,
    Peer,
    Trouble,
    World,
    answer,
    at,
    frame,
    gso,
    parsed,
    partial,
    tcp,
    udp,
    wrapped,
)
from tests.support.sound import layout


def tunnel(world: World, outer: World, mtu: int = 1500) -> Tables:
    return tables(
        service(Mode.TUNNEL, at=world.vip(), world=outer),
        service(Mode.TUNNEL, at=world.vip(53), proto=Proto.UDP, world=outer),
        mtu=mtu,
    )


def to_zero(source: Peer, target: Peer) -> bytes:
    """A payload that makes the UDP checksum come out as 0."""
    data = bytes(frame(udp(source, target, b"\0\0")).data)
    place = 14 + layout(data[14:]).transport + 6
    return data[place : place + 2]


def number(outer: World, ident: int) -> dict[str, int]:
    """The identification of an outer header; only IPv4 has one."""
    return {"id": ident} if outer.family == 4 else {}


def cases(world: World, outer: World) -> Iterator[Case]:
    given, client, vip, inside = tunnel(world, outer), world.client(), world.vip(), world.inside
    backend, dns = outer.backend(), world.vip(53)
    there, their_dns = at(vip, backend), at(dns, backend)
    syn = tcp(client, vip, "S")
    room = 1500 - outer.size
    most = bytes(room - world.size - 20)
    big = tcp(client, vip, "A", most + b"1")
    full = tcp(client, vip, "A", bytes(1500 - world.size - 20))
    long = gso(tcp(client, vip, "A", bytes(3000)), len(most) + 1)
    summed = gso(udp(client, dns, bytes(3000)), 1480 - world.size)
    zero = to_zero(inside, their_dns)

    def wrap(inner: object, ident: int = 1) -> object:
        return wrapped(backend, inner, **number(outer, ident))

    yield Case(
        "a SYN gets an outer header from the balancer to the backend, with a TTL of its own",
        given,
        tcp(client, vip, "S", ttl=9),
        Reason.OPENED,
        [wrap(tcp(inside, there, "S", ttl=8))],
    )
    yield Case(
        "each packet gets the next identification",
        given,
        tcp(client, vip, "A"),
        Reason.FORWARDED,
        [wrap(tcp(inside, there, "A", ttl=63), 2)],
        before=[syn],
    )
    yield Case(
        "traffic class and both bits of ECN are copied",
        given,
        tcp(client, vip, "S", tos=0xBB),
        Reason.OPENED,
        [wrap(tcp(inside, there, "S", tos=0xBB, ttl=63))],
    )
    yield Case(
        "an odd number of bytes is wrapped",
        given,
        tcp(client, vip, "S", b"odd"),
        Reason.OPENED,
        [wrap(tcp(inside, there, "S", b"odd", ttl=63))],
    )
    yield Case(
        "a datagram that was not summed stays so",
        given,
        udp(client, dns, b"q", check=0),
        Reason.OPENED,
        [wrap(udp(inside, their_dns, b"q", check=0, ttl=63))],
    )
    yield Case(
        "a partial checksum is completed",
        given,
        partial(tcp(client, vip, "S", b"odd")),
        Reason.OPENED,
        [wrap(tcp(inside, there, "S", b"odd", ttl=63))],
    )
    yield Case(
        "a partial checksum of a datagram is completed",
        given,
        partial(udp(client, dns, b"query")),
        Reason.OPENED,
        [wrap(udp(inside, their_dns, b"query", ttl=63))],
    )
    yield Case(
        "a datagram whose completed checksum comes out as 0 says 0xffff",
        given,
        partial(udp(client, dns, zero)),
        Reason.OPENED,
        [wrap(udp(inside, their_dns, zero, check=0xFFFF, ttl=63))],
    )
    yield Case(
        "Ethernet padding is not wrapped, nor summed",
        given,
        Frame(1, partial(syn).data + b"\xaa" * 6, partial(syn).offload),
        Reason.OPENED,
        [wrap(tcp(inside, there, "S", ttl=63))],
    )
    yield Case(
        "Ethernet padding does not make a packet too big",
        given,
        tcp(client, vip, "S", most) / Padding(b"\xaa" * 20),
        Reason.OPENED,
        [wrap(tcp(inside, there, "S", most, ttl=63))],
    )
    yield Case(
        "a packet that just fits with its outer header passes",
        given,
        tcp(client, vip, "A", most),
        Reason.FORWARDED,
        [wrap(tcp(inside, there, "A", most, ttl=63), 2)],
        before=[syn],
    )
    yield Case(
        "one byte more is answered from the VIP with the size that fits",
        given,
        big,
        Reason.TOO_BIG,
        [answer(Trouble.BIG, big, room)],
        before=[syn],
    )
    yield Case(
        "the packet is quoted as it came, up to what may be quoted",
        given,
        full,
        Reason.TOO_BIG,
        [answer(Trouble.BIG, full, room)],
        before=[syn],
    )
    yield Case(
        "a long frame is refused when its segments do not fit",
        given,
        long,
        Reason.TOO_BIG,
        [answer(Trouble.BIG, parsed(long), room)],
        before=[syn],
    )
    yield Case(
        "a train of datagrams is refused when one of them does not fit",
        given,
        summed,
        Reason.TOO_BIG,
        [answer(Trouble.BIG, parsed(summed), room)],
    )
    yield Case(
        "a first packet that is too big opens its flow all the same",
        given,
        udp(client, dns, b"small"),
        Reason.FORWARDED,
        [wrap(udp(inside, their_dns, b"small", ttl=63))],
        before=[udp(client, dns, bytes(1473))],
    )
    yield Case(
        "an offload of another protocol cannot be cut",
        given,
        Frame(1, long.data, long.offload._replace(gso_type=GSO_UDP, segment_size=1000)),
        Reason.UNSEGMENTABLE,
        before=[syn],
    )
    yield Case(
        "datagrams offloaded as TCP cannot be cut",
        given,
        Frame(
            1,
            summed.data,
            summed.offload._replace(
                gso_type=GSO_TCP4 if world.family == 4 else GSO_TCP6, segment_size=1000
            ),
        ),
        Reason.UNSEGMENTABLE,
    )
    yield Case("segments of no size cannot be cut", given,
               Frame(1, long.data, long.offload._replace(segment_size=0)), Reason.UNSEGMENTABLE,
               before=[syn])  # fmt: skip


def only(outer: World) -> Iterator[Case]:
    """Cases of one inner family alone."""
    backend, four, six = outer.backend(), tunnel(V4, outer), tunnel(V6, outer)
    dns, their_dns = V4.vip(53), at(V4.vip(53), backend)
    options = [IPOption_NOP(), IPOption_Router_Alert()]
    extensions = [IPv6ExtHdrDestOpt()]
    yield Case(
        "DF is copied where there is one",
        four,
        udp(V4.client(), dns, b"q", df=False),
        Reason.OPENED,
        [wrapped(backend, udp(V4.inside, their_dns, b"q", df=False, ttl=63))],
    )
    yield Case(
        "IPv4 options stay inside",
        four,
        udp(V4.client(), dns, b"q", options=options),
        Reason.OPENED,
        [wrapped(backend, udp(V4.inside, their_dns, b"q", options=options, ttl=63))],
    )
    yield Case(
        "IPv6 extension headers stay inside",
        six,
        tcp(V6.client(), V6.vip(), "S", extensions=extensions),
        Reason.OPENED,
        [
            wrapped(
                backend, tcp(V6.inside, at(V6.vip(), backend), "S", ttl=63, extensions=extensions)
            )
        ],
    )
    yield Case("a flow label is copied where there is room for one", six,
               tcp(V6.client(), V6.vip(), "S", fl=0xABCDE), Reason.OPENED,
               [wrapped(backend, tcp(V6.inside, at(V6.vip(), backend), "S", fl=0xABCDE, ttl=63))]
               )  # fmt: skip


FOUR = [(world, outer) for world in WORLDS for outer in WORLDS]
"Each family inside each."
ALL = [pytest.param(c, id=f"{w} in {o}: {c}") for w, o in FOUR for c in cases(w, o)]
ALL += [pytest.param(c, id=f"in {outer}: {c}") for outer in WORLDS for c in only(outer)]


@pytest.mark.parametrize("case", ALL)
def test_a_frame_in_mode_tunnel(case: Case, engine: MakePlane) -> None:
    case.check(engine)


def test_backends_of_both_families_serve_one_vip(engine: MakePlane) -> None:
    table = service(Mode.TUNNEL, {"a": 1, "b": 1})
    mixed = replace(table, backends=(table.backends[0], V6.backend("b", 80).endpoint))
    gateway = Gateway(engine, tables(mixed))
    for port, outer in ((1, V4.backend("a")), (2, V6.backend("b"))):
        inner = tcp(V4.inside._replace(port=port), at(V4.vip(), outer), "S", ttl=63)
        syn = tcp(V4.client(port), V4.vip(), "S")
        gateway.expect(syn, Reason.OPENED, wrapped(outer, inner))


def test_the_identification_wraps_around(engine: MakePlane) -> None:
    data = bytes(frame(tcp(V4.client(), V4.vip(), "S")).data)
    plane = Gateway(engine, tunnel(V4, V4)).plane
    for _ in range(0xFFFF):
        plane.handle(Frame(1, bytearray(data), NO_OFFLOAD), 0.0)
    (sent,) = plane.handle(Frame(1, bytearray(data), NO_OFFLOAD), 0.0).frames
    assert parsed(sent).id == 0
