"""Packets that open no flow: not ours, not open, no room, no backend, no TTL."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import IPOption_NOP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Padding, Raw

from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason, Scheduler
from tests.support.cases import Case, both, each_world
from tests.support.gateway import TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    V4,
    V6,
    Peer,
    Trouble,
    World,
    answer,
    backend,
    client,
    echo,
    gso,
    parsed,
    partial,
    tcp,
    udp,
    via,
    vip,
)

POOL = {4: "10.0.2.9", 6: "2001:db8:2::9"}


def nat(world: World, **rest: Any) -> Tables:
    dns = service(Mode.NAT, at=world.vip(53), proto=Proto.UDP)
    return tables(service(Mode.NAT, at=world.vip()), dns, **rest)


def idle(world: World) -> Tables:
    """Services without backends that take flows."""
    dns = service(Mode.NAT, {}, at=world.vip(53), proto=Proto.UDP)
    return tables(service(Mode.NAT, {"a": 0}, at=world.vip()), dns)


def stranger(world: World) -> Peer:
    return via(DMZ, world.client(address=world.address(9, 9)))


NAT, IDLE = nat(V4), idle(V4)
INSIDE = V4.inside
SYN = tcp(client(), vip(), "S")
ETHERNET = {"src": client().mac, "dst": vip().mac}

STRANGE = [
    Case("a frame that is neither IPv4 nor IPv6", NAT, Ether(**ETHERNET) / ARP(),
         Reason.NOT_OURS),
    Case("a frame with a VLAN tag", NAT, Ether(**ETHERNET) / Dot1Q(vlan=5) / SYN["IP"],
         Reason.NOT_OURS),
    Case("a short frame of another protocol", NAT, Ether(**ETHERNET, type=0x88CC) / Raw(b"\0"),
         Reason.NOT_OURS),
    Case("an Ethernet header alone of another protocol", NAT, Ether(**ETHERNET, type=0x88CC),
         Reason.NOT_OURS),
]  # fmt: skip


def passed(world: World) -> Iterator[Case]:
    given, client, vip, inside = nat(world), world.client(), world.vip, world.inside
    there, backend = world.backend(), world.backend
    snat = nat(world, snat=[POOL[world.family]])
    yield Case("an ICMP echo to the VIP", given, echo(client, vip()), Reason.NOT_OURS)
    yield Case("the VIP at another port", given, tcp(client, vip(81), "S"), Reason.NOT_OURS)
    yield Case("the VIP with another protocol", given, udp(client, vip()), Reason.NOT_OURS)
    yield Case(
        "another address at the VIP's port",
        given,
        tcp(client, vip(80, world.address(1, 1)), "S"),
        Reason.NOT_OURS,
    )
    yield Case(
        "a client that talks to a backend directly", given, tcp(client, there, "S"), Reason.NOT_OURS
    )
    yield Case(
        "a backend that answers from another port",
        given,
        tcp(backend(port=22), inside, "SA"),
        Reason.NOT_OURS,
    )
    yield Case(
        "a machine that is no backend, from a backend's port",
        given,
        tcp(backend("c"), inside, "SA"),
        Reason.NOT_OURS,
    )
    yield Case(
        "what looks like a reply where no mode has replies",
        tables(service(Mode.DSR, at=vip())),
        tcp(there, inside, "SA"),
        Reason.NOT_OURS,
    )
    yield Case(
        "what looks like a reply, but not to an address of the pool",
        snat,
        tcp(there, inside, "SA"),
        Reason.NOT_OURS,
    )
    other = udp(client, world.client(9, world.address(8, 8)))
    yield Case("a packet between strangers", given, other, Reason.NOT_OURS)  # fmt: skip


def held_back(world: World) -> Iterator[Case]:
    given, client, vip = nat(world), world.client(), world.vip()
    there, pool = world.backend(), POOL[world.family]
    who = stranger(world)
    yield Case("a TCP packet of no connection", given, tcp(client, vip, "A"), Reason.NOT_OPEN)
    yield Case("a SYN+ACK to a service", given, tcp(client, vip, "SA"), Reason.NOT_OPEN)
    yield Case("a RST to a service", given, tcp(client, vip, "R"), Reason.NOT_OPEN)
    yield Case(
        "a long frame of no connection",
        given,
        gso(tcp(client, vip, "A", bytes(9000)), 1000),
        Reason.NOT_OPEN,
    )
    yield Case(
        "what looks like a reply but belongs to no flow",
        given,
        tcp(there, who, "SA"),
        Reason.NO_FLOW,
    )
    yield Case(
        "what looks like a reply, with its padding",
        given,
        tcp(there, who, "SA") / Padding(b"\xaa" * 6),
        Reason.NO_FLOW,
    )
    yield Case(
        "what looks like a reply, with little TTL",
        given,
        tcp(there, who, "SA", ttl=1),
        Reason.NO_FLOW,
    )
    yield Case("what looks like a reply to an address of the pool", nat(world, snat=[pool]),
               tcp(there, via(DMZ, world.client(address=pool)), "SA"), Reason.NO_FLOW)  # fmt: skip


def full(world: World) -> Iterator[Case]:
    syn = tcp(world.client(), world.vip(), "S")
    yield Case("a new flow when the table is full", nat(world),
               tcp(world.client(4001), world.vip(), "S"), Reason.TABLE_FULL, before=[syn],
               limits={"max_flows": 1})  # fmt: skip


def answered(world: World) -> Iterator[Case]:
    """Packets that are answered by an error from the VIP."""
    given, client, vip, dns = idle(world), world.client(), world.vip(), world.vip(53)
    syn, long = tcp(client, vip, "S"), udp(client, dns, bytes(1390))
    half = partial(syn)
    port, time = Trouble.PORT, Trouble.TIME
    yield Case(
        "a service whose only backend has no weight",
        given,
        syn,
        Reason.NO_BACKEND,
        [answer(port, syn)],
    )
    yield Case("a service without backends", given, long, Reason.NO_BACKEND, [answer(port, long)])
    yield Case(
        "padding is not quoted",
        given,
        syn / Padding(b"\xaa" * 6),
        Reason.NO_BACKEND,
        [answer(port, syn)],
    )
    yield Case(
        "a partial checksum is quoted as it came",
        given,
        half,
        Reason.NO_BACKEND,
        [answer(port, parsed(half))],
    )
    options = udp(client, dns, options=[IPOption_NOP()])
    yield Case("options are quoted", given, options, Reason.NO_BACKEND, [answer(port, options)])
    last = tcp(client, vip, "S", ttl=1)
    yield Case(
        "a first packet whose TTL runs out",
        nat(world),
        last,
        Reason.TTL_EXPIRED,
        [answer(time, last)],
    )
    none = tcp(client, vip, "S", ttl=0)
    yield Case(
        "a packet that comes with no TTL at all",
        nat(world),
        none,
        Reason.TTL_EXPIRED,
        [answer(time, none)],
    )
    data = tcp(client, vip, "A", b"data", ttl=1)
    yield Case(
        "a packet of a known flow whose TTL runs out",
        nat(world),
        data,
        Reason.TTL_EXPIRED,
        [answer(time, data)],
        before=[syn],
    )
    reply = tcp(world.backend(), world.inside, "SA", ttl=1)
    yield Case("a reply whose TTL runs out", nat(world), reply, Reason.TTL_EXPIRED,
               [answer(time, reply)], before=[syn])  # fmt: skip


@pytest.mark.parametrize("case", [*STRANGE, *both(passed)], ids=str)
def test_a_frame_that_is_not_ours_stays_with_the_kernel(case: Case, engine: MakePlane) -> None:
    case.check(engine)


@pytest.mark.parametrize("case", both(held_back))
def test_a_frame_that_was_kept_from_the_kernel_is_given_back_to_it(
    case: Case, engine: MakePlane
) -> None:
    replace(case, expect=[case.given]).check(engine)


@pytest.mark.parametrize("case", both(full))
def test_a_full_table_drops_the_packet_of_a_new_flow(case: Case, engine: MakePlane) -> None:
    case.check(engine)


@pytest.mark.parametrize("case", both(answered))
def test_the_sender_gets_an_icmp_error(case: Case, engine: MakePlane) -> None:
    case.check(engine)


UNANSWERABLE = [
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"),
    *("::", "::1", "ff02::1", "ff0e::1:2"),
]


@pytest.mark.parametrize("address", UNANSWERABLE)
def test_a_source_that_is_not_one_hosts_is_refused_without_an_error(
    engine: MakePlane, address: str
) -> None:
    world = V6 if ":" in address else V4
    packet = tcp(world.client(address=address), world.vip(), "S")
    Gateway(engine, idle(world)).expect(packet, Reason.BAD_SOURCE)


@each_world
def test_no_error_is_sent_to_a_group_of_macs(engine: MakePlane, world: World) -> None:
    shouting = world.client(mac="03:00:00:00:01:02")
    packet = tcp(shouting, world.vip(), "S")
    Gateway(engine, idle(world)).expect(packet, Reason.NO_BACKEND)


@pytest.mark.parametrize("mac", ["ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"])
@each_world
def test_no_error_is_sent_about_a_frame_that_went_to_many(
    engine: MakePlane, world: World, mac: str
) -> None:
    packet = tcp(world.client(), world.vip()._replace(mac=mac), "S")
    Gateway(engine, idle(world)).expect(packet, Reason.NO_BACKEND)


@each_world
def test_an_error_is_no_longer_than_every_host_takes(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, idle(world))
    most, head = {4: 576, 6: 1280}[world.family], world.size + 8
    for more in (-1, 0, 1):
        load = bytes(most - 2 * head + more)
        (sent,) = gateway.receive(udp(world.client(), world.vip(53), load)).frames
        assert len(sent.data) - 14 == most + min(0, more)


def test_a_packet_that_is_answered_or_refused_opens_no_flow(engine: MakePlane) -> None:
    gateway = Gateway(engine, IDLE)
    for packet in [SYN, tcp(client(), vip(), "A"), tcp(client(), vip(), "S", ttl=1)]:
        gateway.receive(packet)
    assert len(gateway.plane.flows) == 0


def test_a_ttl_that_runs_out_does_not_keep_a_flow_alive(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT)
    gateway.receive(SYN, now=0.0)
    gateway.receive(tcp(client(), vip(), "A", ttl=1), now=TIMEOUTS.syn - 1)
    assert gateway.reason(tcp(client(), vip(), "A"), now=TIMEOUTS.syn) is Reason.NOT_OPEN


def test_datagrams_keep_their_flow_for_a_time_of_their_own(engine: MakePlane) -> None:
    query, answer = udp(client(), vip(53), b"q"), udp(backend(), INSIDE, b"a")
    gateway = Gateway(engine, NAT)
    assert gateway.reason(query, 0.0) is Reason.OPENED
    assert gateway.reason(answer, TIMEOUTS.udp - 0.25) is Reason.RETURNED
    assert gateway.reason(query, 2 * TIMEOUTS.udp - 0.5) is Reason.FORWARDED
    assert gateway.reason(answer, 3 * TIMEOUTS.udp - 0.5) is Reason.NO_FLOW
    assert gateway.reason(query, 3 * TIMEOUTS.udp - 0.5) is Reason.OPENED


def test_a_full_table_forgets_expired_flows_to_make_room(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT, max_flows=2)
    gateway.receive(tcp(client(1), vip(), "S"), now=0.0)
    gateway.receive(tcp(client(2), vip(), "S"), now=5.0)
    third = tcp(client(3), vip(), "S")
    assert gateway.reason(third, now=TIMEOUTS.syn - 0.5) is Reason.TABLE_FULL
    assert gateway.reason(third, now=TIMEOUTS.syn) is Reason.OPENED
    assert len(gateway.plane.flows) == 2
    assert gateway.reason(tcp(client(2), vip(), "A"), now=TIMEOUTS.syn) is Reason.FORWARDED
    assert gateway.reason(tcp(client(1), vip(), "A"), now=TIMEOUTS.syn) is Reason.NOT_OPEN


def test_a_flow_in_use_is_never_lost_to_a_flood(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT, max_flows=8)
    gateway.receive(SYN)
    for number in range(200):
        now = number * 1.0
        gateway.receive(tcp(client(5000 + number), vip(), "S"), now)
        assert gateway.reason(tcp(client(), vip(), "A"), now) is Reason.FORWARDED
    assert gateway.plane.counts[Reason.TABLE_FULL] > 50
    assert gateway.plane.counts[Reason.OPENED] > 50


def test_a_refused_client_opens_a_flow_when_there_is_room_again(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT, max_flows=1)
    gateway.receive(SYN, now=0.0)
    again = tcp(client(4001), vip(), "S")
    assert gateway.reason(again, now=1.0) is Reason.TABLE_FULL
    assert gateway.plane.expire(TIMEOUTS.syn) == 1
    assert gateway.reason(again, now=TIMEOUTS.syn) is Reason.OPENED


def test_a_full_table_refuses_a_flow_before_a_backend_is_chosen(engine: MakePlane) -> None:
    both = tables(service(Mode.NAT), service(Mode.NAT, {}, at=vip(81), scheduler=Scheduler.LC))
    gateway = Gateway(engine, both, max_flows=1)
    gateway.receive(SYN)
    assert gateway.reason(tcp(client(), vip(81), "S")) is Reason.TABLE_FULL
