"""Traffic that is not balanced goes on as if pktlb did not run, also if it looks like a reply."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from netns import nat
from netns.lab import Lab
from netns.server import sha256_of_bytes
from tests.net.topologies import NAT6
from tests.net.world import CLIENT, CURL, World, parse, serving, start_all

VIP = "10.0.1.100"
BACKEND = "10.0.2.11:8080"
DIRECT = f"http://{BACKEND}"
SIZE = 20_000_000
SNAT = ["", "10.0.2.1", "10.0.2.201-10.0.2.203"]


@pytest.fixture(params=["0", "2"], ids=["rp_filter off", "rp_filter loose"])
def gateway(request: pytest.FixtureRequest) -> Iterator[World]:
    """The topology of NAT, with the reverse-path filter as distributions set it."""

    def prepare(lab: Lab) -> None:
        gw = lab.hosts["gw"]
        for key in ("all", "default", *gw.macs):
            gw.sysctl(f"net.ipv4.conf.{key}.rp_filter", request.param)

    with serving(nat.TOPOLOGY, prepare) as world:
        yield world


@pytest.mark.parametrize("snat", SNAT)
def test_a_client_can_talk_to_a_backend_past_the_vip(gateway: World, snat: str) -> None:
    """The replies have the same source as replies of balanced connections. The guard holds them
    back, and pktlb gives them to the kernel."""
    gateway.balance(*pool(snat))
    assert [(it.server, it.client) for it in gateway.ask(3, DIRECT)] == [("a", CLIENT)] * 3
    assert gateway.download(SIZE, DIRECT) == sha256_of_bytes(SIZE)
    assert gateway.answers(3) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("snat", SNAT)
def test_the_balancer_itself_can_talk_to_a_backend(gateway: World, snat: str) -> None:
    """With an address of its own for --snat, replies to it and to clients look alike."""
    gateway.balance(*pool(snat))
    for _ in range(3):
        answers = parse(gateway.balancer.run(*CURL, DIRECT, DIRECT, DIRECT).stdout)
        assert [(it.server, it.client) for it in answers] == [("a", "10.0.2.1")] * 3
        assert gateway.answers(3) == {"a": 1, "b": 1, "c": 1}


def test_a_direct_connection_that_is_open_before_goes_on(gateway: World) -> None:
    held = gateway.client.start("curl", "-sNi", f"{DIRECT}/slow/2", ready="\r\n\r\n.")
    gateway.balance()
    assert held.wait() == 0


def test_ping_and_other_ports_of_the_vip_go_to_the_kernel(gateway: World) -> None:
    gateway.balance()
    gateway.balancer.serve(9000)
    ping(gateway, VIP)
    assert gateway.ask(1, f"http://{VIP}:9000")[0].server == "gw"
    refused = gateway.client.run("curl", "-s", "-m", "5", f"http://{VIP}:81", check=False)
    assert refused.returncode == 7


BIG = ("-s", "4000")
"Bytes that need several fragments, of which only the first has the ports."


@pytest.mark.parametrize("address", [VIP, "10.0.2.11"])
def test_fragments_of_packets_that_are_not_balanced_go_to_the_kernel(
    gateway: World, address: str
) -> None:
    """Later fragments have no ports. The guard holds them all back, and pktlb gives them to the
    kernel."""
    gateway.balance()
    ping(gateway, address, *BIG)


def test_a_service_may_be_a_whole_address_without_ping(gateway: World) -> None:
    gateway.balancer.pktlb(
        *("run", "--mode", "nat", "--vip", VIP, "--backend", "10.0.2.11"),
        *("--vip", f"{VIP}:7000-7999/any", "--backend", "10.0.2.12:8080"),
        *("--vip", f"{VIP}:7777", "--backend", "10.0.2.13:8080"),
    )
    ping(gateway, VIP)
    ping(gateway, VIP, *BIG)
    for port, name in ((8080, "a"), (7000, "b"), (7999, "b"), (7777, "c")):
        assert gateway.answers(2, f"http://{VIP}:{port}") == {name: 2}


@pytest.fixture
def gateway6() -> Iterator[Lab]:
    """The topology of NAT in IPv6, with its servers and pktlb running."""
    with NAT6.laboratory() as lab:
        NAT6.build(lab)
        start_all(lab, NAT6.servers())
        lab.hosts["gw"].pktlb(*NAT6.run_arguments("rr"))
        yield lab


def test_ipv6_packets_that_are_not_balanced_go_on_as_well(gateway6: Lab) -> None:
    client, gw, a = (gateway6.hosts[name] for name in ("client", "gw", "a"))
    gw.serve(9000, "[::]")
    a.serve(9000, "[::]")
    for url, name in (
        ("[fd01::100]:9000", "gw"), ("[fd02::11]:9000", "a"), ("[fd02::11]:8080", "a"),
    ):  # fmt: skip
        assert client.run(*CURL, f"http://{url}").stdout.startswith(f"{name} ")
    assert gw.run(*CURL, "http://[fd02::11]:8080").stdout.startswith("a ")
    for address in ("fd01::100", "fd02::11"):
        for size in ((), BIG):
            report = client.run("ping", "-n", "-c", "3", "-i", "0.02", "-W", "9", *size, address)
            assert " 3 received" in report.stdout
            assert "DUP" not in report.stdout


def test_the_kernel_takes_an_ipv6_vip_for_none_of_its_own_connections(gateway6: Lab) -> None:
    gw = gateway6.hosts["gw"]
    assert " src fd01::1 " in gw.run("ip", "-6", "route", "get", "fd01::2").stdout
    assert "deprecated" in gw.run("ip", "-6", "address", "show", "to", "fd01::100").stdout


def test_ping_and_other_ports_of_a_backend_pass_through_the_gateway(gateway: World) -> None:
    gateway.balance()
    gateway.lab.hosts["a"].serve(9000)
    ping(gateway, "10.0.2.11")
    assert gateway.ask(1, "http://10.0.2.11:9000")[0].client == CLIENT


def test_a_backend_can_be_a_client_of_others(gateway: World) -> None:
    """It also connects from its service port, which looks like a reply."""
    gateway.balance()
    with gateway.lab.hosts["a"].enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with gateway.client.enter():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(sender), closing(receiver):
        receiver.settimeout(5)
        receiver.bind((CLIENT, 5000))
        sender.bind(("10.0.2.11", 8081))
        sender.sendto(b"news", (CLIENT, 5000))
        assert receiver.recvfrom(100) == (b"news", ("10.0.2.11", 8081))
    gateway.client.serve(7000)
    line = ("--local-port", "8081", "http://10.0.1.2:7000")
    (answer,) = parse(gateway.lab.hosts["a"].run(*CURL, *line).stdout)
    assert (answer.client, answer.client_port) == ("10.0.2.11", 8081)


def test_udp_on_the_same_address_and_port_is_not_held_back(gateway: World) -> None:
    """The service is TCP: a datagram to the VIP meets the kernel's own socket."""
    gateway.balance()
    with gateway.balancer.enter():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with gateway.client.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(sender), closing(receiver):
        receiver.settimeout(5)
        receiver.bind((VIP, 80))
        sender.sendto(b"for the kernel", (VIP, 80))
        assert receiver.recv(100) == b"for the kernel"


def test_a_host_that_is_no_backend_is_reached_through_the_gateway(gateway: World) -> None:
    gateway.balancer.pktlb("run", "--mode", "nat", "--vip", f"{VIP}:80", "--backend", BACKEND)
    capture = gateway.lab.hosts["c"].capture("eth0", "tcp")
    assert gateway.answers(6) == {"a": 6}
    assert capture.stop() == []
    assert gateway.answers(6, "http://10.0.2.13:8080") == {"c": 6}


def test_pktlb_warns_of_a_strict_reverse_path_filter(nat_world: World) -> None:
    nat_world.balancer.sysctl("net.ipv4.conf.all.rp_filter", "1")
    balancer = nat_world.balance()
    assert "net.ipv4.conf.all.rp_filter is 1 (strict)" in balancer.stderr
    assert nat_world.answers(6) == {"a": 2, "b": 2, "c": 2}


def ping(world: World, address: str, *options: str) -> None:
    command = ("ping", "-n", "-c", "5", "-i", "0.02", "-W", "2", *options, address)
    report = world.client.run(*command).stdout
    assert " 5 received" in report
    assert "DUP" not in report


def pool(snat: str) -> tuple[str, ...]:
    return ("--snat", snat) if snat else ()
