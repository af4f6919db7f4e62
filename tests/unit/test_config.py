"""Flags become a `Config`, or one line that names the flag, the value and what was expected."""

import shlex

import pytest

from pktlb.cli.main import main, make_parser
from pktlb.cli.run import make_config
from pktlb.config import Config, parse_snat
from pktlb.model import Backend, Endpoint, Mode, Proto, Scheduler, Timeouts, format_address

VIP = "--vip 10.0.1.100:80"
BACKEND = "--backend 10.0.2.11:8080"


def config(flags: str) -> Config:
    return make_config(make_parser().parse_args(["run", *shlex.split(flags)]))


def test_backends_and_schedulers_belong_to_the_vip_before_them() -> None:
    made = config(
        "--mode nat --scheduler lc "
        "--vip 10.0.1.100:80 --backend 10.0.2.11:8080 --backend 10.0.2.12,weight=3 "
        "--vip 10.0.1.100:53/udp --backend 10.0.2.13 --scheduler source"
    )
    web, dns = made.services
    assert (web.vip, web.proto) == (Endpoint(b"\x0a\x00\x01\x64", 80), Proto.TCP)
    assert (dns.vip, dns.proto) == (Endpoint(b"\x0a\x00\x01\x64", 53), Proto.UDP)
    assert [service.scheduler for service in made.services] == [Scheduler.LC, Scheduler.SOURCE]
    assert web.backends == (
        Backend(Endpoint(b"\x0a\x00\x02\x0b", 8080), 1),
        Backend(Endpoint(b"\x0a\x00\x02\x0c", 80), 3),
    )
    assert dns.backends == (Backend(Endpoint(b"\x0a\x00\x02\x0d", 53), 1),)
    assert {service.mode for service in made.services} == {Mode.NAT}


def test_what_is_not_said_has_a_default() -> None:
    made = config(f"--mode dsr {VIP} --backend 10.0.1.11")
    assert made == Config(services=made.services)
    assert made.services[0].scheduler is Scheduler.RR
    assert made.timeouts == Timeouts(syn=60, tcp=900, fin=120, udp=300)


def test_the_other_flags_arrive() -> None:
    made = config(
        f"--mode nat {VIP} {BACKEND} --snat 10.0.2.254-10.0.3.1 --interface a --interface b "
        "--vip-interface c --timeout tcp=10,udp=20 --max-flows 7"
    )
    assert [format_address(a) for a in made.snat] == [
        "10.0.2.254", "10.0.2.255", "10.0.3.0", "10.0.3.1",
    ]  # fmt: skip
    assert (made.interfaces, made.vip_interface, made.max_flows) == (("a", "b"), "c", 7)
    assert made.timeouts == Timeouts(syn=60, tcp=10, fin=120, udp=20)


BAD = [
    (f"{VIP} {BACKEND}", "--mode"),
    ("--mode nat", "--vip: expected at least one"),
    (f"--mode nap {VIP} {BACKEND}", "--mode: invalid choice: 'nap'"),
    (f"--mode nat {BACKEND} {VIP}", "--backend 10.0.2.11:8080: expected a --vip before it"),
    (f"--mode nat {VIP}", "--vip 10.0.1.100:80: expected at least one --backend behind it"),
    (f"--mode nat --vip 10.0.1.100 {BACKEND}", "--vip 10.0.1.100: expected ADDR:PORT"),
    (f"--mode nat --vip 10.0.1.100:0 {BACKEND}", "expected a port in 1..65535, got '0'"),
    (f"--mode nat --vip 10.0.1.100:70000 {BACKEND}", "--vip 10.0.1.100:70000: expected a port"),
    (f"--mode nat --vip 10.0.1.100:http {BACKEND}", "expected a port in 1..65535, got 'http'"),
    (f"--mode nat --vip 10.0.1.100:²² {BACKEND}", "expected a port in 1..65535, got '²²'"),
    (f"--mode nat --vip 10.0.1.100:80/sctp {BACKEND}", "expected ADDR:PORT, ADDR:PORT/tcp or"),
    (f"--mode nat --vip 10.0.1.100:80/ {BACKEND}", "expected ADDR:PORT, ADDR:PORT/tcp or"),
    (f"--mode nat --vip 10.1:80 {BACKEND}", "expected an IPv4 address such as 10.0.0.1"),
    (f"--mode nat --vip 010.0.0.1:80 {BACKEND}", "expected an IPv4 address"),
    (f"--mode nat --vip web:80 {BACKEND}", "expected an IPv4 address"),
    (f"--mode nat --vip [2001:db8::1]:80 {BACKEND}", "--vip [2001:db8::1]:80: expected"),
    (f"--mode nat --vip 224.0.0.1:80 {BACKEND}", "expected the IPv4 address of a host"),
    (f"--mode nat --vip 127.0.0.1:80 {BACKEND}", "expected the IPv4 address of a host"),
    (f"--mode nat --vip 255.255.255.255:80 {BACKEND}", "expected the IPv4 address of a host"),
    (f"--mode nat --vip 0.0.0.0:80 {BACKEND}", "expected the IPv4 address of a host"),
    (f"--mode nat {VIP} {BACKEND} {VIP} {BACKEND}", "--vip 10.0.1.100:80/tcp: given twice"),
    (f"--mode nat {VIP} {BACKEND} {BACKEND}", "--backend 10.0.2.11:8080: expected each backend"),
    (f"--mode nat {VIP} --backend 10.0.1.100", "--backend 10.0.1.100:80: expected an address that"),
    (f"--mode nat {VIP} {BACKEND},weight=-1", "expected a weight in 0..65535, got '-1'"),
    (f"--mode nat {VIP} {BACKEND},weight=65536", "expected a weight in 0..65535, got '65536'"),
    (f"--mode nat {VIP} {BACKEND},wait=1", "got the option 'wait=1'"),
    (f"--mode dsr {VIP} {BACKEND}", "expected the port of the VIP, 80: mode dsr"),
    (f"--mode tunnel {VIP} {BACKEND}", "expected the port of the VIP, 80: mode tunnel"),
    (f"--mode dsr {VIP} --backend 10.0.1.11 --snat 10.0.1.1", "--snat: expected --mode nat"),
    (f"--mode nat {VIP} {BACKEND} --snat 10.0.0.2-10.0.0.1", "the lower first"),
    (f"--mode nat {VIP} {BACKEND} --snat 10.0.0.0-10.0.1.0", "256 at most"),
    (f"--mode nat {VIP} {BACKEND} --timeout tcp", "--timeout tcp: expected NAME=SECONDS"),
    (f"--mode nat {VIP} {BACKEND} --timeout tpc=1", "with the names syn, tcp, fin, udp"),
    (f"--mode nat {VIP} {BACKEND} --timeout tcp=0", "expected seconds for tcp in 1.."),
    (f"--mode nat {VIP} {BACKEND} --max-flows 0", "--max-flows 0: expected a number of flows"),
    (f"--mode nat {VIP} {BACKEND} --max-flows 9e9", "expected a number of flows in 1.."),
    (f"--mode nat {VIP} {BACKEND} --interface a/b", "--interface a/b: expected the name of an"),
    (f"--mode nat {VIP} {BACKEND} --interface ''", "expected the name of an interface"),
    (f"--mode nat {VIP} {BACKEND} --interface {'x' * 16}", "expected the name of an interface"),
    (f"--mode nat {VIP} {BACKEND} --engine warp", "--engine: invalid choice: 'warp'"),
    (f"--mode nat {VIP} {BACKEND} --sched rr", "unrecognized arguments: --sched rr"),
]


@pytest.mark.parametrize(("flags", "complaint"), BAD, ids=[flags for flags, _ in BAD])
def test_bad_flags_end_with_one_line_and_status_2(
    flags: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *shlex.split(flags)]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.startswith("pktlb: ")
    assert len(said.err.splitlines()) == 1
    assert not said.out


def test_one_snat_address_is_a_range_of_one() -> None:
    assert parse_snat("10.0.2.1") == (b"\x0a\x00\x02\x01",)
