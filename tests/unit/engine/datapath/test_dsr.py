"""Direct server return: new MACs and one less TTL, nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.packet import Padding

from pktlb.engine.datapath.frame import Offload
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import Case, both, each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    V4,
    V6,
    Trouble,
    World,
    answer,
    at,
    client,
    frame,
    gso,
    parsed,
    partial,
    tcp,
    udp,
    vip,
)


def dsr(world: World) -> Tables:
    return tables(
        service(Mode.DSR, at=world.vip()), service(Mode.DSR, at=world.vip(53), proto=Proto.UDP)
    )


def cases(world: World) -> Iterator[Case]:
    given, client, vip, inside = dsr(world), world.client(), world.vip(), world.inside
    dns, there = world.vip(53), at(world.vip(), world.backend())
    their_dns = at(dns, world.backend())
    syn = tcp(client, vip, "S")
    most = bytes(1500 - world.size - 20)
    big = tcp(client, vip, "A", most + b"1")
    long = bytes(65475)
    too_long = gso(tcp(client, vip, "PA", long), len(most) + 1)
    odd = Offload(0, 3, 42, 1000, 0, 0)
    "Of UDP fragmentation offload."
    yield Case(
        "a SYN is sent to the backend's MAC",
        given,
        syn,
        Reason.OPENED,
        [tcp(inside, there, "S", ttl=63)],
    )
    yield Case(
        "data of a known flow follows",
        given,
        tcp(client, vip, "PA", b"odd"),
        Reason.FORWARDED,
        [tcp(inside, there, "PA", b"odd", ttl=63)],
        before=[syn],
    )
    yield Case(
        "a datagram keeps its checksum",
        given,
        udp(client, dns, b"q"),
        Reason.OPENED,
        [udp(inside, their_dns, b"q", ttl=63)],
    )
    yield Case(
        "a datagram that was not summed stays so",
        given,
        udp(client, dns, b"q", check=0),
        Reason.OPENED,
        [udp(inside, their_dns, b"q", check=0, ttl=63)],
    )
    yield Case(
        "a partial checksum is left to be completed",
        given,
        partial(tcp(client, vip, "S")),
        Reason.OPENED,
        [partial(tcp(inside, there, "S", ttl=63))],
    )
    yield Case(
        "a frame of 64 KiB goes through whole",
        given,
        gso(tcp(client, vip, "PA", long), 1428),
        Reason.FORWARDED,
        [gso(tcp(inside, there, "PA", long, ttl=63), 1428)],
        before=[syn],
    )
    yield Case(
        "a long frame whose segments exceed the link is refused, as it came",
        given,
        too_long,
        Reason.TOO_BIG,
        [answer(Trouble.BIG, parsed(too_long), 1500)],
        before=[syn],
    )
    yield Case(
        "a frame shorter than one of its segments is as big as it is",
        given,
        gso(tcp(client, vip, "A", bytes(900)), 9000),
        Reason.FORWARDED,
        [gso(tcp(inside, there, "A", bytes(900), ttl=63), 9000)],
        before=[syn],
    )
    yield Case(
        "a long frame that is labelled as something else would arrive broken",
        given,
        frame(udp(client, dns, long[:1400]), odd),
        Reason.UNSEGMENTABLE,
    )
    yield Case(
        "Ethernet padding is not sent on",
        given,
        syn / Padding(b"\xaa" * 6),
        Reason.OPENED,
        [tcp(inside, there, "S", ttl=63)],
    )
    yield Case(
        "a packet too big for the link is refused",
        given,
        big,
        Reason.TOO_BIG,
        [answer(Trouble.BIG, big, 1500)],
        before=[syn],
    )
    yield Case("a packet of just the size of the link passes", given,
               tcp(client, vip, "A", most), Reason.FORWARDED,
               [tcp(inside, there, "A", most, ttl=63)], before=[syn])  # fmt: skip


EXTENDED: dict[str, Any] = {"extensions": [IPv6ExtHdrDestOpt()]}
MORE = [
    Case("IPv6 extension headers stay where they are", dsr(V6),
         tcp(V6.client(), V6.vip(), "S", **EXTENDED), Reason.OPENED,
         [tcp(V6.inside, at(V6.vip(), V6.backend()), "S", ttl=63, **EXTENDED)]),
    Case("TCP of one family labelled as that of the other would arrive broken", dsr(V6),
         frame(tcp(V6.client(), V6.vip(), "A", bytes(1000)), Offload(1, 1, 74, 100, 54, 16)),
         Reason.UNSEGMENTABLE, before=[tcp(V6.client(), V6.vip(), "S")]),
]  # fmt: skip


@pytest.mark.parametrize("case", [*both(cases), *MORE], ids=str)
def test_a_frame_in_mode_dsr(case: Case, engine: MakePlane) -> None:
    case.check(engine)


def test_dsr_ignores_the_pool_of_source_addresses(engine: MakePlane) -> None:
    given = tables(service(Mode.DSR), service(Mode.NAT, at=vip(81)), snat=["10.0.2.9"])
    gateway = Gateway(engine, given, source_ports=[5000])
    syn = tcp(client(), vip(), "S")
    gateway.expect(syn, Reason.OPENED, tcp(V4.inside, at(vip(), V4.backend()), "S", ttl=63))
    assert gateway.sends(tcp(client(), vip(81), "S")).sport == 5000
    gateway.receive(tcp(client(), vip(), "R"))
    assert gateway.plane.expire(1e6) == 2, "both end, and only one has a port to give back"


@each_world
def test_two_services_with_one_backend_keep_the_clients_port(
    engine: MakePlane, world: World
) -> None:
    given = tables(service(Mode.DSR, at=world.vip()), service(Mode.DSR, at=world.vip(81)))
    gateway = Gateway(engine, given)
    assert gateway.sends(tcp(world.client(), world.vip(), "S")).sport == 4000
    assert gateway.sends(tcp(world.client(), world.vip(81), "S")).sport == 4000
