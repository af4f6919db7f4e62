"""Flags become a `Config`, or one line that names the flag, the value and what was expected."""

import shlex
import socket
from pathlib import Path

import pytest

from pktlb.cli.main import main, make_parser
from pktlb.cli.run import make_config
from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.config.text import parse_path, parse_snat, parse_vip
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, HashFields, HashOn, Mode, Scheduler, Timeouts, Vip, format_address

VIP = "--vip 10.0.1.100:80"
BACKEND = "--backend 10.0.2.11:8080"
VIP6 = "--vip [2001:db8::100]:80"
ADDRESS = bytes([10, 0, 1, 100])
ADDRESS6 = bytes.fromhex("20010db8000000000000000000000100")


def config(flags: str) -> Config:
    return make_config(make_parser().parse_args(["run", *shlex.split(flags)]))


def test_backends_and_schedulers_belong_to_the_vip_before_them() -> None:
    made = config(
        "--mode nat --scheduler lc "
        "--vip 10.0.1.100:80 --backend 10.0.2.11:8080 --backend 10.0.2.12,weight=3 "
        "--vip 10.0.1.100:53/udp --backend 10.0.2.13 --scheduler source"
    )
    web, dns = made.services
    assert web.vip == Vip(ADDRESS, 80, 80, (6,))
    assert dns.vip == Vip(ADDRESS, 53, 53, (17,))
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


DIALLED = [
    ("10.0.1.100:80", Vip(ADDRESS, 80, 80, (6,))),
    ("10.0.1.100:80/any", Vip(ADDRESS, 80, 80, (6, 17))),
    ("10.0.1.100:1000-1999/udp", Vip(ADDRESS, 1000, 1999, (17,))),
    ("10.0.1.100", Vip(ADDRESS)),
    ("10.0.1.100/tcp", Vip(ADDRESS, 0, 65535, (6,))),
    ("10.0.1.100/any", Vip(ADDRESS, 0, 65535, (6, 17))),
    ("10.0.1.100/gre", Vip(ADDRESS, 0, 65535, (47,))),
    ("10.0.1.100/132", Vip(ADDRESS, 0, 65535, (132,))),
    ("10.0.1.100/0", Vip(ADDRESS, 0, 65535, (0,))),
    ("[2001:db8::100]:80", Vip(ADDRESS6, 80, 80, (6,))),
    ("[2001:db8::100]:80-90/any", Vip(ADDRESS6, 80, 90, (6, 17))),
    ("2001:db8::100", Vip(ADDRESS6)),
    ("[2001:db8::100]", Vip(ADDRESS6)),
    ("2001:db8::100/esp", Vip(ADDRESS6, 0, 65535, (50,))),
    ("any", Vip(b"")),
]


@pytest.mark.parametrize(("text", "vip"), DIALLED, ids=[text for text, _ in DIALLED])
def test_what_clients_dial(text: str, vip: Vip) -> None:
    assert parse_vip(text) == vip
    assert parse_vip(str(vip)) == vip


def only(flags: str) -> Service:
    """The service of a configuration that has one."""
    (service,) = config(flags).services
    return service


def test_a_backend_serves_on_the_port_that_was_dialled() -> None:
    for flags, port in (
        (f"{VIP} --backend 10.0.2.11", 80),
        ("--vip 10.0.1.100:80-90 --backend 10.0.2.11", 0),
        ("--vip 10.0.1.100:80-90 --backend 10.0.2.11:70", 70),
        ("--vip 10.0.1.100 --backend 10.0.2.11", 0),
        ("--vip 10.0.1.100/any --backend 10.0.2.11:70", 70),
        (f"{VIP6} --backend 2001:db8:2::11", 80),
        (f"{VIP6} --backend [2001:db8:2::11]:8080", 8080),
    ):
        assert only(f"--mode nat {flags}").backends[0].endpoint.port == port
    assert only("--mode dsr --vip 10.0.1.100:80-90 --backend 10.0.2.11").backends[0] == Backend(
        Endpoint(bytes([10, 0, 2, 11]), 0)
    )


def test_a_backend_can_have_a_name() -> None:
    service = only(f"--mode nat {VIP} --backend 10.0.2.11,name=fw-1,weight=2 --backend 10.0.2.12")
    assert [(b.name, b.weight) for b in service.backends] == [("fw-1", 2), ("", 1)]


def test_a_tunnel_takes_backends_of_either_family() -> None:
    service = only(f"--mode tunnel {VIP} --backend 10.0.2.11 --backend 2001:db8:2::11")
    assert [len(b.endpoint.address) for b in service.backends] == [4, 16]


HASHED = [
    (VIP, "mac", HashOn(HashFields.MAC)),
    (VIP, "source", HashOn(HashFields.SOURCE)),
    (VIP, "source/24", HashOn(HashFields.SOURCE, prefix4=24)),
    (VIP6, "source/56", HashOn(HashFields.SOURCE, prefix6=56)),
    (VIP6, "source/24/56", HashOn(HashFields.SOURCE, 24, 56)),
    (VIP, "addresses", HashOn(HashFields.ADDRESSES)),
    (VIP, "addresses,symmetric", HashOn(HashFields.ADDRESSES, symmetric=True)),
    (VIP, "5-tuple,symmetric", HashOn(HashFields.FIVE_TUPLE, symmetric=True)),
]


@pytest.mark.parametrize(("vip", "text", "expected"), HASHED, ids=[h[1] for h in HASHED])
def test_what_is_hashed_can_be_chosen(vip: str, text: str, expected: HashOn) -> None:
    flags = f"--mode tunnel --scheduler hash --hash {text} {vip} --backend 10.0.2.11"
    assert only(flags).hash_on == expected


def test_schedulers_that_hash_know_what() -> None:
    for scheduler, fields in (
        ("source", HashFields.SOURCE), ("maglev", HashFields.FIVE_TUPLE),
        ("hash", HashFields.FIVE_TUPLE),
    ):  # fmt: skip
        assert only(f"--mode nat {VIP} {BACKEND} --scheduler {scheduler}").hash_on == HashOn(fields)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (f"--mode nat {VIP} {BACKEND}", False),
        (f"--mode nat {VIP} {BACKEND} --scheduler lc", False),
        (f"--mode nat {VIP} {BACKEND} --pick-up", True),
        (f"--mode nat --pick-up {VIP} {BACKEND}", True),
        (f"--mode nat {VIP} {BACKEND} --scheduler source", True),
        (f"--mode nat {VIP} {BACKEND} --scheduler maglev", True),
        (f"--mode nat {VIP} {BACKEND} --scheduler hash", True),
        (f"--mode nat {VIP} {BACKEND} --scheduler hash --snat 10.0.2.1", False),
        ("--mode dsr --vip any --backend 10.0.2.11 --interface eth0", True),
    ],
)
def test_connections_under_way_are_picked_up_where_it_is_known_where_to(
    flags: str, expected: bool
) -> None:
    assert only(flags).pick_up is expected


def test_each_datagram_can_be_on_its_own() -> None:
    made = config(
        f"--mode nat {VIP} {BACKEND} --vip 10.0.1.100:53/udp {BACKEND} --one-packet "
        f"--vip 10.0.1.101/udp {BACKEND}"
    )
    assert [service.one_packet for service in made.services] == [False, True, False]


def test_services_may_overlap_where_one_is_more_specific() -> None:
    vips = "10.0.1.100:80", "10.0.1.100:80-90", "10.0.1.100/tcp", "10.0.1.100", "10.0.1.100:80/udp"
    assert (
        len(config("--mode nat " + " ".join(f"--vip {v} {BACKEND[:-5]}" for v in vips)).services)
        == 5
    )


def test_snat_takes_addresses_of_both_families() -> None:
    made = config(
        f"--mode nat {VIP} {BACKEND} {VIP6} --backend 2001:db8:2::11 "
        "--snat 10.0.2.1 --snat 2001:db8:2::1-2001:db8:2::2"
    )
    assert [format_address(a) for a in made.snat] == ["10.0.2.1", "2001:db8:2::1", "2001:db8:2::2"]


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
    (f"{VIP} {BACKEND}", "--mode: expected nat, dsr or tunnel, got nothing"),
    (f"--mode nap {VIP} {BACKEND}", "--mode: invalid choice: 'nap'"),
    (f"--mode nat {BACKEND} {VIP}", "--backend 10.0.2.11:8080: expected a --vip before it"),
    (f"--mode nat {VIP}", "--vip 10.0.1.100:80: expected at least one --backend behind it"),
    (f"--mode nat --vip 10.0.1.100 {BACKEND}", "expected no port, the VIP 10.0.1.100 is not only"),
    (f"--mode nat --vip 10.0.1.100/gre {BACKEND}", "expected no port, the VIP 10.0.1.100/gre is"),
    (f"--mode dsr --vip any {BACKEND} --interface a", "expected no port, the VIP any is not only"),
    (f"--mode nat --vip 10.0.1.100:9-8 {BACKEND}", "expected the lower port first, got '9-8'"),
    (f"--mode nat --vip 10.0.1.100:9- {BACKEND}", "expected a port in 1..65535, got ''"),
    (f"--mode nat --vip 10.0.1.100/icmp {BACKEND}", "expected a protocol out of any, ah, dccp"),
    (f"--mode nat --vip 10.0.1.100/1 {BACKEND}", "other than ICMP, which the kernel answers"),
    (f"--mode nat --vip 10.0.1.100/256 {BACKEND}", "expected a protocol in 0..255, got '256'"),
    (f"--mode nat --vip 10.0.1.100:0 {BACKEND}", "expected a port in 1..65535, got '0'"),
    (f"--mode nat --vip 10.0.1.100:70000 {BACKEND}", "--vip 10.0.1.100:70000: expected a port"),
    (f"--mode nat --vip 10.0.1.100:http {BACKEND}", "expected a port in 1..65535, got 'http'"),
    (f"--mode nat --vip 10.0.1.100:²² {BACKEND}", "expected a port in 1..65535, got '²²'"),
    (f"--mode nat --vip 10.0.1.100:80/sctp {BACKEND}", "expected ADDR:PORT or ADDR:LOW-HIGH"),
    (f"--mode nat --vip 10.0.1.100:80/ {BACKEND}", "expected ADDR:PORT or ADDR:LOW-HIGH"),
    (f"--mode nat --vip 10.1:80 {BACKEND}", "expected an address such as 10.0.0.1 or"),
    (f"--mode nat --vip 010.0.0.1:80 {BACKEND}", "expected an address"),
    (f"--mode nat --vip web:80 {BACKEND}", "expected an address"),
    (f"--mode nat --vip [2001:db8::1:80 {BACKEND}", "expected an address such as"),
    (f"--mode nat --vip [10.0.1.100]:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat --vip [fe80::1]:80 {BACKEND}", "expected the address of a host, got [fe80::1]"),
    (f"--mode nat --vip [fe80::1%eth0]:80 {BACKEND}", "expected an address such as"),
    (f"--mode nat --vip [ff02::1]:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat --vip [::1]:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat --vip [::]:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat --vip [::ffff:10.0.0.1]:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat {VIP6} {BACKEND}", "expected an IPv6 address, as the VIP's: mode nat does not"),
    (f"--mode dsr {VIP} --backend 2001:db8::11", "expected an IPv4 address, as the VIP's: mode"),
    (f"--mode nat {VIP} {BACKEND},name=", "expected a name of 1..64 letters"),
    (f"--mode nat {VIP} {BACKEND},name=a --backend 10.0.2.12,name=a", "expected each name once"),
    (f"--mode nat {VIP} {BACKEND} --hash source", "--hash source: expected scheduler hash, got rr"),
    (f"--mode nat {VIP} {BACKEND} --scheduler hash --hash port", "--hash port: expected mac,"),
    (f"--mode nat {VIP} {BACKEND} --scheduler hash --hash mac,symmetric", "expected mac, source"),
    (f"--mode nat {VIP} {BACKEND} --scheduler hash --hash source/33", "bits of an address in 1.."),
    (f"--mode nat {VIP} {BACKEND} --one-packet", "--one-packet: expected a VIP of UDP alone"),
    (f"--mode nat --vip 10.0.1.100:53/any {BACKEND} --one-packet", "expected a VIP of UDP alone"),
    (f"--mode nat {VIP} {BACKEND} --pick-up --snat 10.0.2.1", "--pick-up: expected no snat"),
    ("--mode dsr --vip any --backend 10.0.2.11", "--vip any: expected interfaces as well"),
    (
        "--mode nat --vip any --backend 10.0.2.11 --interface a",
        "--mode nat: expected dsr for the VIP any",
    ),
    (
        "--mode dsr --interface a --vip any --backend 10.0.2.11 --vip any --backend 10.0.2.11",
        "--vip any: given twice",
    ),
    (
        f"--mode nat {VIP} {BACKEND} {VIP}/any {BACKEND}",
        "10.0.1.100:80/any: takes the same packets as 10.0.1.100:80/tcp",
    ),
    (
        f"--mode nat {VIP6} --backend 2001:db8::2 --snat 10.0.2.1",
        "expected an IPv6 address as well, for the VIP [2001:",
    ),
    (f"--mode nat {VIP} {BACKEND} --snat 10.0.0.1-2001:db8::1", "the lower first"),
    (f"--mode nat --vip 224.0.0.1:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat --vip 127.0.0.1:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat --vip 255.255.255.255:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat --vip 0.0.0.0:80 {BACKEND}", "expected the address of a host"),
    (f"--mode nat {VIP} {BACKEND} {VIP} {BACKEND}", "--vip 10.0.1.100:80: given twice"),
    (f"--mode nat {VIP} {BACKEND} {BACKEND}", "--backend 10.0.2.11:8080: expected each backend"),
    (
        f"--mode nat {VIP} --backend 10.0.1.100",
        "--backend 10.0.1.100: expected an address that is not a VIP",
    ),
    (f"--mode nat {VIP} {BACKEND},weight=-1", "expected a weight in 0..65535, got '-1'"),
    (f"--mode nat {VIP} {BACKEND},weight=65536", "expected a weight in 0..65535, got 65536"),
    (f"--mode nat {VIP} {BACKEND},wait=1", "got the option 'wait=1'"),
    (f"--mode dsr {VIP} {BACKEND}", "expected the port of the VIP, 80: mode dsr"),
    (f"--mode tunnel {VIP} {BACKEND}", "expected the port of the VIP, 80: mode tunnel"),
    (
        f"--mode dsr {VIP} --backend 10.0.1.11 --snat 10.0.1.1",
        "--snat 10.0.1.1: expected a service of mode nat",
    ),
    (f"--mode nat {VIP} {BACKEND} --snat 10.0.0.2-10.0.0.1", "the lower first"),
    (f"--mode nat {VIP} {BACKEND} --snat 10.0.0.0-10.0.1.0", "256 at most"),
    (f"--mode nat {VIP} {BACKEND} --timeout tcp", "--timeout tcp: expected NAME=SECONDS"),
    (
        f"--mode nat {VIP} {BACKEND} --timeout tpc=1",
        "--timeout tpc=1: unknown key, got 1 (did you mean tcp?)",
    ),
    (f"--mode nat {VIP} {BACKEND} --timeout tcp=0", "expected seconds in 1..1000000, got 0"),
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


def test_the_path_of_a_socket_may_be_as_long_as_the_kernel_takes_it(tmp_path: Path) -> None:
    longest = f"{tmp_path}/".ljust(107, "x")
    assert parse_path(longest) == longest
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(longest)
    with pytest.raises(ConfigError, match="107 bytes at most"):
        parse_path(longest + "x")


def test_one_snat_address_is_a_range_of_one() -> None:
    assert parse_snat("10.0.2.1") == (b"\x0a\x00\x02\x01",)
