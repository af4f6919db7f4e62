"""What is let in and what is not: not ours, not open, no room, no backend, no TTL."""

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IPOption_NOP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Padding, Raw

from pktlb.model import Mode, Proto, Reason, Scheduler
from tests.cases import Case
from tests.gateway import TIMEOUTS, Engine, Gateway, service, tables
from tests.packets import (
    DMZ,
    Packet,
    backend,
    client,
    gso,
    icmp_unreachable,
    ip,
    parsed,
    partial,
    tcp,
    udp,
    via,
    vip,
)

NAT = tables(service(Mode.NAT), service(Mode.NAT, at=vip(53), proto=Proto.UDP))
SNAT = tables(service(Mode.NAT), snat=["10.0.2.9"])
DSR = tables(service(Mode.DSR))
IDLE = tables(service(Mode.NAT, {"a": 0}), service(Mode.NAT, {}, at=vip(53), proto=Proto.UDP))
INSIDE = via(DMZ, client())
STRANGER = via(DMZ, client(address="10.0.9.9"))
SYN = tcp(client(), vip(), "S")
NO_BACKEND = Reason.NO_BACKEND


def later(packet: Packet, offset: int) -> Packet:
    """A fragment that is not the first: its payload could be anything."""
    changed = packet.copy()
    changed["IP"].frag = offset
    return changed


FIRST = udp(client(), vip(53), bytes(64), df=False, more=True)
TCP_FIRST = tcp(client(), vip(), "S", bytes(64), df=False, more=True)
REPLY_FIRST = udp(backend(), INSIDE, bytes(64), df=False, more=True)

PASSED = [
    Case("a frame that is not IPv4", NAT, Ether(src=client().mac, dst=vip().mac) / ARP(),
         Reason.NOT_OURS),
    Case("a frame with a VLAN tag", NAT,
         Ether(src=client().mac, dst=vip().mac) / Dot1Q(vlan=5) / SYN["IP"], Reason.NOT_OURS),
    Case("a short frame that is not IPv4", NAT,
         Ether(src=client().mac, dst=vip().mac, type=0x88CC) / Raw(b"\0"), Reason.NOT_OURS),
    Case("an Ethernet header alone that is not IPv4", NAT,
         Ether(src=client().mac, dst=vip().mac, type=0x88CC), Reason.NOT_OURS),
    Case("an ICMP echo to the VIP", NAT, ip(client(), vip(), ICMP()), Reason.NOT_OURS),
    Case("the VIP at another port", NAT, tcp(client(), vip(81), "S"), Reason.NOT_OURS),
    Case("the VIP with another protocol", NAT, udp(client(), vip()), Reason.NOT_OURS),
    Case("another address at the VIP's port", NAT, tcp(client(), vip(80, "10.0.1.1"), "S"),
         Reason.NOT_OURS),
    Case("a client that talks to a backend directly", NAT, tcp(client(), backend(), "S"),
         Reason.NOT_OURS),
    Case("a backend that answers from another port", NAT, tcp(backend(port=22), INSIDE, "SA"),
         Reason.NOT_OURS),
    Case("a machine that is no backend, from a backend's port", NAT,
         tcp(backend("c"), INSIDE, "SA"), Reason.NOT_OURS),
    Case("what looks like a reply where no mode has replies", DSR, tcp(backend(), INSIDE, "SA"),
         Reason.NOT_OURS),
    Case("what looks like a reply, but not to an address of the pool", SNAT,
         tcp(backend(), INSIDE, "SA"), Reason.NOT_OURS),
    *(Case(f"a fragment of whomever at offset {offset}", NAT, later(FIRST, offset),
           Reason.FRAGMENT) for offset in (1, 0xFF, 0x100, 0x1000, 0x1FFF)),
    Case("a first fragment of another protocol", NAT,
         ip(client(), vip(), ICMP() / bytes(56), df=False, more=True), Reason.NOT_OURS),
    Case("a first fragment to nobody we know", NAT,
         udp(client(), vip(54), bytes(64), df=False, more=True), Reason.NOT_OURS),
]  # fmt: skip

HELD_BACK = [
    Case("a TCP packet in the middle of nothing", NAT, tcp(client(), vip(), "A"), Reason.NOT_OPEN),
    Case("a SYN+ACK to a service", NAT, tcp(client(), vip(), "SA"), Reason.NOT_OPEN),
    Case("a RST to a service", NAT, tcp(client(), vip(), "R"), Reason.NOT_OPEN),
    Case("a long frame in the middle of nothing", NAT,
         gso(tcp(client(), vip(), "A", bytes(9000)), 1000), Reason.NOT_OPEN),
    Case("what looks like a reply but belongs to no flow", NAT, tcp(backend(), STRANGER, "SA"),
         Reason.NO_FLOW),
    Case("what looks like a reply, with its padding", NAT,
         tcp(backend(), STRANGER, "SA") / Padding(b"\xaa" * 6), Reason.NO_FLOW),
    Case("what looks like a reply, with little TTL", NAT, tcp(backend(), STRANGER, "SA", ttl=1),
         Reason.NO_FLOW),
    Case("what looks like a reply to an address of the pool", SNAT,
         tcp(backend(), via(DMZ, client(address="10.0.2.9")), "SA"), Reason.NO_FLOW),
    Case("a first fragment to a service", NAT, FIRST, Reason.FRAGMENT),
    Case("a first TCP fragment to a service", NAT, TCP_FIRST, Reason.FRAGMENT),
    Case("a first fragment of a known flow", NAT, FIRST, Reason.FRAGMENT,
         before=[udp(client(), vip(53))]),
    Case("a first fragment of a reply", NAT,
         udp(backend(), INSIDE, bytes(64), df=False, more=True), Reason.FRAGMENT,
         before=[udp(client(), vip(53))]),
    Case("a first fragment that looks like a reply", NAT,
         udp(backend(), STRANGER, bytes(64), df=False, more=True), Reason.FRAGMENT),
    Case("a first fragment with a SYN for a closed flow", NAT, TCP_FIRST, Reason.FRAGMENT,
         before=[SYN, tcp(client(), vip(), "R")]),
]  # fmt: skip

DROPPED = [
    Case("a first packet whose TTL runs out", NAT, tcp(client(), vip(), "S", ttl=1),
         Reason.TTL_EXPIRED),
    Case("a packet that comes with no TTL at all", NAT, tcp(client(), vip(), "S", ttl=0),
         Reason.TTL_EXPIRED),
    Case("a packet of a known flow whose TTL runs out", NAT, tcp(client(), vip(), "A", ttl=1),
         Reason.TTL_EXPIRED, before=[SYN]),
    Case("a reply whose TTL runs out", NAT, tcp(backend(), INSIDE, "SA", ttl=1),
         Reason.TTL_EXPIRED, before=[SYN]),
    Case("a new flow when the table is full", NAT, tcp(client(4001), vip(), "S"),
         Reason.TABLE_FULL, before=[SYN], limits={"max_flows": 1}),
]  # fmt: skip

ANSWERED = [
    Case("a service whose only backend has no weight", IDLE, SYN, NO_BACKEND,
         [icmp_unreachable(3, SYN)]),
    Case("a service without backends", IDLE, udp(client(), vip(53), bytes(900)), NO_BACKEND,
         [icmp_unreachable(3, udp(client(), vip(53), bytes(900)))]),
    Case("padding is not quoted", IDLE, SYN / Padding(b"\xaa" * 6), NO_BACKEND,
         [icmp_unreachable(3, SYN)]),
    Case("a partial checksum is quoted as it came", IDLE, partial(SYN), NO_BACKEND,
         [icmp_unreachable(3, parsed(partial(SYN)))]),
    Case("options are quoted", IDLE, udp(client(), vip(53), options=[IPOption_NOP()]), NO_BACKEND,
         [icmp_unreachable(3, udp(client(), vip(53), options=[IPOption_NOP()]))]),
]  # fmt: skip


@pytest.mark.parametrize("case", PASSED, ids=str)
def test_the_kernel_has_already_got(case: Case, engine: Engine) -> None:
    case.check(engine)


@pytest.mark.parametrize("case", HELD_BACK, ids=str)
def test_the_kernel_is_given(case: Case, engine: Engine) -> None:
    replace(case, expect=[case.given]).check(engine)


@pytest.mark.parametrize("case", DROPPED, ids=str)
def test_nobody_gets(case: Case, engine: Engine) -> None:
    case.check(engine)


@pytest.mark.parametrize("case", ANSWERED, ids=str)
def test_no_backend_is_answered_with_port_unreachable(case: Case, engine: Engine) -> None:
    case.check(engine)


UNANSWERABLE = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"]


@pytest.mark.parametrize("address", UNANSWERABLE)
def test_no_error_goes_to_an_address_that_is_not_one_hosts(engine: Engine, address: str) -> None:
    Gateway(engine, IDLE).expect(tcp(client(address=address), vip(), "S"), NO_BACKEND)


def test_no_error_is_sent_to_a_group_of_macs(engine: Engine) -> None:
    shouting = client(mac="03:00:00:00:01:02")
    Gateway(engine, IDLE).expect(tcp(shouting, vip(), "S"), NO_BACKEND)


def test_no_error_is_sent_about_a_frame_that_went_to_all(engine: Engine) -> None:
    to_all = vip()._replace(mac="ff:ff:ff:ff:ff:ff")
    Gateway(engine, IDLE).expect(tcp(client(), to_all, "S"), NO_BACKEND)


def test_the_quotation_ends_at_576_bytes(engine: Engine) -> None:
    gateway = Gateway(engine, IDLE)
    for size, length in [(520, 576), (519, 575), (521, 576)]:
        (answer,) = gateway.receive(udp(client(), vip(53), bytes(size))).frames
        assert parsed(answer)["IP"].len == length


def test_neither_answers_nor_refusals_leave_a_flow(engine: Engine) -> None:
    gateway = Gateway(engine, IDLE)
    for packet in [SYN, tcp(client(), vip(), "A"), tcp(client(), vip(), "S", ttl=1), FIRST]:
        gateway.receive(packet)
    assert len(gateway.engine.flows) == 0


def test_a_ttl_that_runs_out_does_not_keep_a_flow_alive(engine: Engine) -> None:
    gateway = Gateway(engine, NAT)
    gateway.receive(SYN, now=0.0)
    gateway.receive(tcp(client(), vip(), "A", ttl=1), now=TIMEOUTS.syn - 1)
    assert gateway.reason(tcp(client(), vip(), "A"), now=TIMEOUTS.syn) is Reason.NOT_OPEN


def test_datagrams_keep_their_flow_for_a_time_of_their_own(engine: Engine) -> None:
    query, answer = udp(client(), vip(53), b"q"), udp(backend(), INSIDE, b"a")
    gateway = Gateway(engine, NAT)
    assert gateway.reason(query, 0.0) is Reason.OPENED
    assert gateway.reason(answer, TIMEOUTS.udp - 0.25) is Reason.RETURNED
    assert gateway.reason(query, 2 * TIMEOUTS.udp - 0.5) is Reason.FORWARDED
    assert gateway.reason(answer, 3 * TIMEOUTS.udp - 0.5) is Reason.NO_FLOW
    assert gateway.reason(query, 3 * TIMEOUTS.udp - 0.5) is Reason.OPENED


def test_a_full_table_makes_room_by_forgetting_what_has_expired(engine: Engine) -> None:
    gateway = Gateway(engine, NAT, max_flows=2)
    gateway.receive(tcp(client(1), vip(), "S"), now=0.0)
    gateway.receive(tcp(client(2), vip(), "S"), now=5.0)
    third = tcp(client(3), vip(), "S")
    assert gateway.reason(third, now=TIMEOUTS.syn - 0.5) is Reason.TABLE_FULL
    assert gateway.reason(third, now=TIMEOUTS.syn) is Reason.OPENED
    assert len(gateway.engine.flows) == 2
    assert gateway.reason(tcp(client(2), vip(), "A"), now=TIMEOUTS.syn) is Reason.FORWARDED
    assert gateway.reason(tcp(client(1), vip(), "A"), now=TIMEOUTS.syn) is Reason.NOT_OPEN


def test_a_flow_in_use_is_never_lost_to_a_flood(engine: Engine) -> None:
    gateway = Gateway(engine, NAT, max_flows=8)
    gateway.receive(SYN)
    for number in range(200):
        now = number * 1.0
        gateway.receive(tcp(client(5000 + number), vip(), "S"), now)
        assert gateway.reason(tcp(client(), vip(), "A"), now) is Reason.FORWARDED
    assert gateway.engine.counts[Reason.TABLE_FULL] > 50
    assert gateway.engine.counts[Reason.OPENED] > 50


def test_a_refused_flow_may_come_back_when_there_is_room(engine: Engine) -> None:
    gateway = Gateway(engine, NAT, max_flows=1)
    gateway.receive(SYN, now=0.0)
    again = tcp(client(4001), vip(), "S")
    assert gateway.reason(again, now=1.0) is Reason.TABLE_FULL
    assert gateway.engine.expire(TIMEOUTS.syn) == 1
    assert gateway.reason(again, now=TIMEOUTS.syn) is Reason.OPENED


def test_a_full_table_refuses_before_it_looks_for_a_backend(engine: Engine) -> None:
    both = tables(service(Mode.NAT), service(Mode.NAT, {}, at=vip(81), scheduler=Scheduler.LC))
    gateway = Gateway(engine, both, max_flows=1)
    gateway.receive(SYN)
    assert gateway.reason(tcp(client(), vip(81), "S")) is Reason.TABLE_FULL
