"""The output of `pktlb run`: one line and a status for each mistake, and one line when ready."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from netns import tunnel
from netns.host import pktlb_command
from netns.lab import Lab
from netns.topology import Topology
from tests.net.conftest import MODES
from tests.net.world import World

VIP = ("--vip", "10.0.1.100:80")
A = ("--backend", "10.0.2.11:8080")
NAT = ("--mode", "nat")
GOOD = (*NAT, *VIP, *A)
TUNNEL_VIP = ("--mode", "tunnel", "--vip", "10.0.2.100:80")
DSR_VIP = ("--mode", "dsr", "--vip", "10.0.1.100:8080")

BAD = [
    ((*VIP, *A), "--mode: expected nat, dsr or tunnel"),
    (("--mode", "bridge", *VIP, *A), "--mode: invalid choice: 'bridge'"),
    ((*NAT, *VIP), "--vip 10.0.1.100:80: expected at least one --backend"),
    ((*NAT, *A, *VIP), "--backend 10.0.2.11:8080: expected a --vip before it"),
    ((*NAT, "--vip", "10.0.1:80", *A), "--vip 10.0.1:80: expected an address"),
    ((*NAT, "--vip", "example.org:80", *A), "--vip example.org:80: expected an address"),
    (
        (*NAT, "--vip", "10.0.1.100", *A),
        "--backend 10.0.2.11:8080: expected no port, the VIP 10.0.1.",
    ),
    ((*NAT, "--vip", "10.0.1.100:80/sctp", *A), "--vip 10.0.1.100:80/sctp: expected ADDR:PORT"),
    (
        (*NAT, "--vip", "10.0.1.100:70000", *A),
        "--vip 10.0.1.100:70000: expected a port in 1..65535",
    ),
    ((*NAT, "--vip", "10.0.1.100:0", *A), "--vip 10.0.1.100:0: expected a port in 1..65535"),
    ((*NAT, "--vip", "[2001:db8::1]:80", *A), "--backend 10.0.2.11:8080: expected an IPv6 address"),
    ((*NAT, "--vip", "[fe80::1]:80", *A), "--vip [fe80::1]:80: expected the address of a host"),
    (
        (*NAT, "--vip", "any", "--backend", "10.0.2.11", "--interface", "wan"),
        "--mode nat: expected dsr for",
    ),
    (
        ("--mode", "dsr", "--vip", "any", "--backend", "10.0.2.11"),
        "--vip any: expected interfaces as well",
    ),
    (
        ("--mode", "dsr", "--vip", "any", "--backend", "10.0.9.9", "--interface", "wan"),
        "backend 10.0.9.9: expected a backend on the same link in mode dsr",
    ),
    ((*GOOD, "--hash", "mac"), "--hash mac: expected scheduler hash"),
    ((*GOOD, "--one-packet"), "--one-packet: expected a VIP of UDP alone"),
    ((*GOOD, "--pick-up", "--snat", "10.0.2.1"), "--pick-up: expected no snat"),
    ((*NAT, "--vip", "0.0.0.0:80", *A), "--vip 0.0.0.0:80: expected the address of a host"),
    ((*NAT, *VIP, *A, *VIP, *A), "--vip 10.0.1.100:80: given twice"),
    ((*NAT, "--vip", "172.16.0.1:80", *A), "vip 172.16.0.1: no interface has an address in its"),
    (
        (*NAT, "--vip", "127.0.0.1:80", *A),
        "--vip 127.0.0.1:80: expected the address of a host",
    ),
    ((*NAT, *VIP, "--backend", ""), "--backend : expected an address"),
    ((*NAT, *VIP, "--backend", "10.0.2.11:http"), "--backend 10.0.2.11:http: expected a port"),
    ((*NAT, *VIP, "--backend", "10.0.2.11:70000"), "--backend 10.0.2.11:70000: expected a port"),
    ((*NAT, *VIP, "--backend", "10.0.2.11:8080x"), "--backend 10.0.2.11:8080x: expected a port"),
    ((*NAT, *VIP, *A, *A), "--backend 10.0.2.11:8080: expected each backend once"),
    ((*NAT, *VIP, "--backend", "10.0.2.11,weight=-1"), ",weight=-1: expected a weight in 0..65535"),
    ((*NAT, *VIP, "--backend", "10.0.2.11,weight=65536"), "expected a weight in 0..65535"),
    ((*NAT, *VIP, "--backend", "10.0.2.11,weight=1.5"), "expected a weight in 0..65535"),
    ((*NAT, *VIP, "--backend", "10.0.2.11,wieght=1"), "got the option 'wieght=1'"),
    (
        (*NAT, *VIP, "--backend", "10.0.1.1:8080"),
        "backend 10.0.1.1:8080: expected another machine",
    ),
    (
        (*NAT, *VIP, "--backend", "10.0.1.100"),
        "--backend 10.0.1.100: expected an address that is not a VIP",
    ),
    ((*NAT, *VIP, "--backend", "10.0.2.255"), "backend 10.0.2.255:80: expected"),
    ((*GOOD, "--scheduler", "random"), "--scheduler: invalid choice: 'random'"),
    (
        (*GOOD, "--snat", "10.0.2.9-10.0.2.1"),
        "--snat 10.0.2.9-10.0.2.1: expected ADDR or ADDR-ADDR",
    ),
    ((*GOOD, "--snat", "10.0.2.9-"), "--snat 10.0.2.9-: expected an address"),
    ((*GOOD, "--snat", "10.0.0.0-10.0.9.0"), "--snat 10.0.0.0-10.0.9.0: expected"),
    ((*GOOD, "--snat", "10.0.2.11"), "expected an address that is not one of snat, got 10.0.2.11"),
    ((*GOOD, "--snat", ""), "--snat : expected an address"),
    ((*GOOD, "--timeout", ""), "--timeout : expected NAME=SECONDS"),
    ((*GOOD, "--interface", "nope0"), "interface nope0: expected an interface of this machine"),
    ((*GOOD, "--interface", "lo"), "interface lo: expected an Ethernet interface"),
    ((*GOOD, "--interface", ""), "--interface : expected the name of an interface"),
    ((*GOOD, "--interface", "wan"), "backend 10.0.2.11: is reached through lan"),
    ((*GOOD, "--vip-interface", "nope0"), "vip_interface nope0: expected an interface"),
    ((*GOOD, "--vip-interface", ""), "--vip-interface : expected the name of an interface"),
    ((*GOOD, "--timeout", "tcp"), "--timeout tcp: expected NAME=SECONDS"),
    ((*GOOD, "--timeout", "tcp=0"), "--timeout tcp=0: expected seconds in 1.."),
    ((*GOOD, "--timeout", "tpc=5"), "--timeout tpc=5: unknown key"),
    ((*GOOD, "--max-flows", "0"), "--max-flows 0: expected a number of flows in 1.."),
    ((*GOOD, "--max-flows", "many"), "--max-flows many: expected a number of flows in 1.."),
    ((*GOOD, "--engine", "fast"), "--engine: invalid choice: 'fast'"),
    ((*GOOD, "--workers", "0"), "--workers 0: expected workers in 1..63"),
    ((*GOOD, "--engine", "python", "--workers", "2"), "--workers 2: expected engine native"),
    ((*GOOD, "--engine", "python", "--busy-poll", "5"), "--busy-poll 5: expected engine native"),
    ((*GOOD, "--engine", "python", "--realtime"), "--realtime: expected engine native"),
    ((*GOOD, "--realtime", "--busy-poll", "9"), "--realtime: expected no busy polling"),
    ((*GOOD, "--busy-poll", "-1"), "--busy-poll -1: expected microseconds in 0.."),
    ((*GOOD, "--backends", "10.0.2.12"), "--backends"),
    ((*DSR_VIP, "--backend", "10.0.2.11:8081"), "--backend 10.0.2.11:8081: expected the port of"),
    (
        (*DSR_VIP, "--backend", "10.0.1.2", "--snat", "10.0.2.1"),
        "--snat 10.0.2.1: expected a service of mode nat",
    ),
    ((*DSR_VIP, "--backend", "10.0.9.9"), "10.0.9.9:8080: expected a backend on the same link"),
    ((*TUNNEL_VIP, "--backend", "10.0.2.11:81"), "10.0.2.11:81: expected the port of the VIP, 80"),
]


@pytest.fixture(scope="module")
def gateway() -> Iterator[World]:
    """The topology of NAT with a route to a network further away; nothing in it is changed."""
    topology = MODES["nat"]
    with Lab("cli") as lab:
        topology.build(lab)
        lab.hosts["gw"].route("10.0.9.0/24", via="10.0.2.13")
        yield World(lab, topology)


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(it) for it, _ in BAD])
def test_a_flag_that_cannot_be_ends_pktlb_with_status_2_and_one_line(
    gateway: World, arguments: tuple[str, ...], expected: str
) -> None:
    """The line names the flag, the value and what was expected; the machine is unchanged."""
    done = gateway.try_pktlb("run", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("pktlb: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert "10.0.1.100" not in gateway.balancer.state()


@pytest.mark.parametrize("arguments", [(), ("walk",), ("run", "extra")], ids=" ".join)
def test_an_unknown_command_ends_with_status_2_and_one_line(
    gateway: World, arguments: tuple[str, ...]
) -> None:
    done = gateway.try_pktlb(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_an_interface_that_is_down_is_refused(gateway: World) -> None:
    gateway.balancer.run("ip", "link", "add", "spare", "type", "veth", "peer", "other")
    done = gateway.try_pktlb("run", *GOOD, "--interface", "spare")
    gateway.balancer.run("ip", "link", "del", "spare")
    assert done.returncode == 2
    assert done.stderr == "pktlb: interface spare: expected an interface that is up\n"


@pytest.mark.parametrize("command", ["run", "decap"])
def test_pktlb_without_root_says_what_is_missing(gateway: World, command: str) -> None:
    flags = GOOD if command == "run" else ("--vip", "192.0.2.1")
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    done = gateway.balancer.run(*nobody, *pktlb_command(command, *flags), check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "(needs " in done.stderr


def test_pktlb_as_root_without_capabilities_says_what_is_missing(gateway: World) -> None:
    """In a container, the kernel refuses a request of netlink or a socket."""
    powerless = ("setpriv", "--bounding-set", "-net_admin,-net_raw", "--inh-caps", "-all")
    done = gateway.balancer.run(*powerless, *pktlb_command("run", *GOOD), check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "(needs CAP_NET" in done.stderr


def test_pktlb_without_nft_says_what_to_install(gateway: World) -> None:
    done = gateway.balancer.run(
        "env", "PATH=/nonexistent", *pktlb_command("run", *GOOD), check=False
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == "pktlb: the command nft is missing (Debian package nftables)\n"
    assert "10.0.1.100" not in gateway.balancer.state()


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_are_printed_without_root(gateway: World, flag: str) -> None:
    done = gateway.balancer.run(
        "setpriv", "--reuid", "65534", "--clear-groups", *pktlb_command(flag)
    )
    assert "pktlb" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("topology", [*MODES.values()], ids=[*MODES])
def test_ready_is_one_line_on_stdout_and_one_word_to_the_service_manager(
    topology: Topology,
) -> None:
    with Lab("notify") as lab:
        topology.build(lab)
        balancer = lab.hosts[topology.balancer]
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
            manager.settimeout(5)
            path = lab.directory / "notify"
            manager.bind(str(path))
            process = balancer.start(
                *("env", f"NOTIFY_SOCKET={path}"),
                *pktlb_command(*topology.run_arguments("rr")),
                ready="pktlb: ready",
            )
            assert manager.recv(100) == b"READY=1"
            assert process.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"
        line = f"pktlb: ready mode={topology.mode} services=1 backends=3/3 interfaces="
        assert process.stdout.startswith(line)
        assert process.stdout.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "decap"])
def test_the_service_manager_may_listen_on_an_abstract_socket(command: str) -> None:
    with Lab("notify") as lab:
        tunnel.build(lab)
        host = lab.hosts["balancer"]
        with host.enter():
            manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with closing(manager):
            manager.settimeout(5)
            manager.bind(f"\0{lab.name}")
            arguments = tunnel.TOPOLOGY.run_arguments("rr")
            if command == "decap":
                arguments = ["decap", "--vip", "192.0.2.1"]
            host.start("env", f"NOTIFY_SOCKET=@{lab.name}", *pktlb_command(*arguments))
            assert manager.recv(100) == b"READY=1"
