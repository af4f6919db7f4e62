"""Direct server return: new MACs and one less TTL, nothing else."""

import pytest
from scapy.packet import Padding

from pktlb.datapath.frame import Offload
from pktlb.model import Mode, Proto, Reason
from tests.cases import Case
from tests.gateway import Engine, Gateway, service, tables
from tests.packets import (
    DMZ,
    at,
    backend,
    client,
    frame,
    gso,
    icmp_unreachable,
    parsed,
    partial,
    tcp,
    udp,
    via,
    vip,
)

DSR = tables(service(Mode.DSR), service(Mode.DSR, at=vip(53), proto=Proto.UDP))
INSIDE = via(DMZ, client())
THERE = at(vip(), backend())
"The VIP as the backend holds it."
SYN = tcp(client(), vip(), "S")
LONG = bytes(65495)
TOO_LONG = gso(tcp(client(), vip(), "PA", LONG), 1461)
STRANGE = frame(udp(client(), vip(53), LONG[:3000]), Offload(0, 3, 42, 1000, 0, 0))
"Of UDP fragmentation offload."
BIG = tcp(client(), vip(), "A", bytes(1461))

CASES = [
    Case("a SYN is sent to the backend's MAC", DSR, SYN, Reason.OPENED,
         [tcp(INSIDE, THERE, "S", ttl=63)]),
    Case("data of a known flow follows", DSR, tcp(client(), vip(), "PA", b"odd"),
         Reason.FORWARDED, [tcp(INSIDE, THERE, "PA", b"odd", ttl=63)], before=[SYN]),
    Case("a datagram keeps its checksum", DSR, udp(client(), vip(53), b"q"), Reason.OPENED,
         [udp(INSIDE, at(vip(53), backend()), b"q", ttl=63)]),
    Case("a datagram that was not summed stays so", DSR,
         udp(client(), vip(53), b"q", check=0), Reason.OPENED,
         [udp(INSIDE, at(vip(53), backend()), b"q", check=0, ttl=63)]),
    Case("a partial checksum is left to be completed", DSR, partial(tcp(client(), vip(), "S")),
         Reason.OPENED, [partial(tcp(INSIDE, THERE, "S", ttl=63))]),
    Case("a frame of 64 KiB goes through whole", DSR, gso(tcp(client(), vip(), "PA", LONG), 1448),
         Reason.FORWARDED, [gso(tcp(INSIDE, THERE, "PA", LONG, ttl=63), 1448)], before=[SYN]),
    Case("a long frame whose segments exceed the link is refused, as it came", DSR, TOO_LONG,
         Reason.TOO_BIG, [icmp_unreachable(4, parsed(TOO_LONG), 1500)], before=[SYN]),
    Case("a frame shorter than one of its segments is as big as it is", DSR,
         gso(tcp(client(), vip(), "A", bytes(900)), 9000), Reason.FORWARDED,
         [gso(tcp(INSIDE, THERE, "A", bytes(900), ttl=63), 9000)], before=[SYN]),
    Case("a long frame that is labelled as something else would arrive broken", DSR, STRANGE,
         Reason.UNSEGMENTABLE),
    Case("Ethernet padding is not sent on", DSR, SYN / Padding(b"\xaa" * 6), Reason.OPENED,
         [tcp(INSIDE, THERE, "S", ttl=63)]),
    Case("a packet too big for the link is refused", DSR, BIG, Reason.TOO_BIG,
         [icmp_unreachable(4, BIG, 1500)], before=[SYN]),
    Case("a packet of just the size of the link passes", DSR,
         tcp(client(), vip(), "A", bytes(1460)), Reason.FORWARDED,
         [tcp(INSIDE, THERE, "A", bytes(1460), ttl=63)], before=[SYN]),
    Case("the backend's answer is not ours, wherever it comes by", DSR,
         tcp(THERE, INSIDE, "SA"), Reason.NOT_OURS, before=[SYN]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_dsr(case: Case, engine: Engine) -> None:
    case.check(engine)


def test_a_pool_of_source_addresses_is_none_of_dsrs_business(engine: Engine) -> None:
    given = tables(service(Mode.DSR), service(Mode.NAT, at=vip(81)), snat=["10.0.2.9"])
    gateway = Gateway(engine, given, source_ports=[5000])
    gateway.expect(SYN, Reason.OPENED, tcp(INSIDE, THERE, "S", ttl=63))
    assert gateway.sends(tcp(client(), vip(81), "S")).sport == 5000
    gateway.receive(tcp(client(), vip(), "R"))
    assert gateway.engine.expire(1e6) == 2, "both end, and only one has a port to give back"


def test_two_services_with_one_backend_keep_the_clients_port(engine: Engine) -> None:
    gateway = Gateway(engine, tables(service(Mode.DSR), service(Mode.DSR, at=vip(81))))
    assert gateway.sends(SYN).sport == 4000
    assert gateway.sends(tcp(client(), vip(81), "S")).sport == 4000
