"""Places of pktlb in a network: one interface or more, source NAT, several services."""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from netns import dsr
from netns.host import Host
from netns.lab import Lab
from netns.server import sha256_of_bytes
from netns.topology import Topology
from netns.waiting import wait_until
from tests.net.topologies import BALANCER, NAT6, ONE_ARMED, PAST_THE_BALANCER
from tests.net.world import CLIENT, CURL, EACH_ALONE, World, parse, serving, start_all

POOL = "10.0.2.201-10.0.2.203"
POOL_ADDRESSES = {"10.0.2.201", "10.0.2.202", "10.0.2.203"}
NEAR = "10.0.2.50"
SIZE = 20_000_000


@pytest.fixture
def one_armed() -> Iterator[World]:
    with serving(ONE_ARMED) as world:
        yield world


@pytest.fixture
def past() -> Iterator[World]:
    """Backends whose replies go past the balancer."""
    with serving(PAST_THE_BALANCER) as world:
        yield world


def test_one_interface_is_enough_for_nat(one_armed: World) -> None:
    before = one_armed.balancer.state()
    balancer = one_armed.balance()
    assert "interfaces=eth0" in balancer.stdout
    answers = one_armed.ask(6)
    assert Counter(it.server for it in answers) == {"a": 2, "b": 2, "c": 2}
    assert {it.client for it in answers} == {CLIENT}
    assert one_armed.download(SIZE) == sha256_of_bytes(SIZE)
    assert balancer.stop() == 0
    assert one_armed.balancer.state() == before


def test_direct_connections_to_backends_work_with_one_interface(one_armed: World) -> None:
    one_armed.balance()
    assert one_armed.answers(3, "http://10.0.2.11:8080") == {"a": 3}
    answers = parse(one_armed.balancer.run(*CURL, "http://10.0.2.11:8080").stdout)
    assert [it.client for it in answers] == [BALANCER]


def test_source_nat_brings_replies_back_that_would_go_past_the_balancer(past: World) -> None:
    """First without source NAT: the client gets answers from an address that it never asked."""
    balancer = past.balance()
    hopeless = past.client.run("curl", "-s", "-m", "1", past.url, check=False)
    assert hopeless.returncode == 28
    assert balancer.stop() == 0
    past.balance("--snat", BALANCER)
    answers = past.ask(6)
    assert Counter(it.server for it in answers) == {"a": 2, "b": 2, "c": 2}
    assert {it.client for it in answers} == {BALANCER}
    assert past.download(SIZE) == sha256_of_bytes(SIZE)


@pytest.mark.parametrize("topology", [ONE_ARMED, PAST_THE_BALANCER], ids=["through", "past"])
def test_a_pool_of_source_addresses_is_added_and_used_in_turn(topology: Topology) -> None:
    with serving(topology) as world:
        before = world.balancer.state()
        balancer = world.balance("--snat", POOL)
        assert Counter(it.client for it in world.ask(27)) == dict.fromkeys(POOL_ADDRESSES, 9)
        assert balancer.stop() == 0
        assert world.balancer.state() == before


def test_source_ports_stay_clear_of_those_that_the_kernel_chooses(past: World) -> None:
    low, high = past.balancer.run("sysctl", "-n", "net.ipv4.ip_local_port_range").stdout.split()
    past.balance("--snat", BALANCER)
    ports = {it.client_port for it in past.ask(60)}
    assert len(ports) >= 20  # a port may serve once for each of three backends
    assert not ports & set(range(int(low), int(high) + 1))


def test_tcp_and_udp_on_one_port_and_a_second_vip_are_separate_services(nat_world: World) -> None:
    world = nat_world
    before = world.balancer.state()
    a, b, c = world.topology.backends.values()
    balancer = world.balancer.pktlb(
        *("run", "--mode", "nat"),
        *("--vip", "10.0.1.100:80", "--backend", a),
        *("--vip", "10.0.1.100:80/udp", "--backend", b),
        *("--vip", "10.0.1.101:81/tcp", "--backend", b, "--backend", c, "--scheduler", "lc"),
    )
    assert "services=3 backends=3/3" in balancer.stdout
    assert world.answers(4) == {"a": 4}
    assert world.answers(4, "http://10.0.1.101:81") == {"b": 2, "c": 2}
    assert ask_by_udp(world.client, ("10.0.1.100", 80)) == "b"
    assert balancer.stop() == 0
    assert world.balancer.state() == before


def test_one_client_port_can_dial_two_services_of_one_backend(nat_world: World) -> None:
    """The backend must be able to tell the two connections apart."""
    world = nat_world
    backend = world.topology.backends["a"]
    services = [("10.0.1.100", 80), ("10.0.1.100", 81), ("10.0.1.101", 80)]
    flags = [
        it for vip, port in services for it in ("--vip", f"{vip}:{port}", "--backend", backend)
    ]
    world.balancer.pktlb("run", "--mode", "nat", *flags)
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(dial(world, end, 5001))) for end in services]
        for connection in sockets:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        (*answers,) = parse("".join(read_answer(connection) for connection in sockets))
    assert len(answers) == len(services)
    assert len({it.client_port for it in answers}) == len(services)
    assert {it.client for it in answers} == {CLIENT}


def test_interfaces_can_be_named(nat_world: World) -> None:
    balancer = nat_world.balance("--interface", "wan", "--interface", "lan")
    assert "interfaces=wan,lan" in balancer.stdout
    assert nat_world.answers(6) == {"a": 2, "b": 2, "c": 2}


def test_the_vip_can_live_on_an_interface_that_has_no_network_for_it(nat_world: World) -> None:
    """The client has a route to it here; a routing daemon may make one, too."""
    world = nat_world
    world.client.route("192.0.2.0/24", via="10.0.1.1")
    before = world.balancer.state()
    _, *backends = world.arguments()[world.arguments().index("10.0.1.100:80") :]
    arguments = ["run", "--mode", "nat", "--vip", "192.0.2.1:80", *backends]
    balancer = world.balancer.pktlb(*arguments, "--vip-interface", "wan")
    assert world.answers(6, "http://192.0.2.1") == {"a": 2, "b": 2, "c": 2}
    assert balancer.stop() == 0
    assert world.balancer.state() == before


def test_a_vip_that_is_there_already_is_used_and_stays(world: World) -> None:
    address, _ = world.vip
    ifname = next(iter(world.balancer.macs))
    world.balancer.address(ifname, f"{address}/32")
    before = world.balancer.state()
    balancer = world.balance()
    assert world.answers(6) == {"a": 2, "b": 2, "c": 2}
    assert balancer.stop() == 0
    assert world.balancer.state() == before


@pytest.fixture
def gateway6() -> Iterator[Lab]:
    """The topology of NAT in IPv6 beside IPv4, with its servers running."""
    with NAT6.laboratory() as lab:
        NAT6.build(lab)
        start_all(lab, NAT6.servers())
        yield lab


@pytest.mark.parametrize("crash", [False, True], ids=["stop", "crash"])
def test_vips_and_source_addresses_of_both_families_come_and_go(gateway6: Lab, crash: bool) -> None:
    """After a crash they are left; the next start knows that pktlb has added them."""
    gw = gateway6.hosts["gw"]
    before = gw.state()
    flags = (
        *("run", "--mode", "nat", "--snat", "10.0.2.200", "--snat", "fd02::200-fd02::201"),
        *("--vip", "10.0.1.100:80", "--backend", "10.0.2.11:8080"),
        *("--vip", "[fd01::100]:80", "--backend", "[fd02::11]:8080"),
    )
    balancer = gw.pktlb(*flags)
    if crash:
        balancer.kill()
        assert "fd01::100/128" in gw.state()
        balancer = gw.pktlb(*flags)
        assert "removing fd01::100, left by" in balancer.stderr
    for url, seen_as in (("10.0.1.100", "a 10.0.2.200:"), ("[fd01::100]", "a [fd02::200]:")):
        assert gateway6.hosts["client"].run(*CURL, f"http://{url}").stdout.startswith(seen_as)
    assert balancer.stop() == 0
    assert gw.state() == before


def test_an_ipv6_vip_that_is_taken_away_comes_back(gateway6: Lab) -> None:
    """The kernel takes IPv6 addresses away by itself, when an interface goes down."""
    gw, client = gateway6.hosts["gw"], gateway6.hosts["client"]
    gw.pktlb(*NAT6.run_arguments("rr"))
    gw.run("ip", "address", "del", "fd01::100/128", "dev", "wan")

    def serves() -> bool:
        quick = ("curl", "-s", "--fail", "--max-time", "1", NAT6.url)
        return client.run(*quick, check=False).returncode == 0

    wait_until(serves, 10, "the VIP is there again")


def test_interfaces_towards_the_backends_of_vip_any_are_only_sent_to(
    gateway6: Lab,
) -> None:
    gw = gateway6.hosts["gw"]
    before = gw.state()
    balancer = gw.pktlb(
        *("run", "--mode", "dsr", "--vip", "any", "--interface", "wan"),
        *("--backend", "10.0.2.11", "--backend", "fd02::12"),
    )
    assert "services=1 backends=2/2 interfaces=wan,lan" in balancer.stdout
    rules = gw.run("nft", "list", "table", "netdev", "pktlb").stdout
    assert 'device "wan"' in rules
    assert '"lan"' not in rules
    assert balancer.stop() == 0
    assert gw.state() == before


def test_an_address_of_the_balancer_itself_can_be_the_vip(nat_world: World) -> None:
    """The kernel keeps its other ports, and the address stays when pktlb ends."""
    world = nat_world
    before = world.balancer.state()
    a, *_ = world.topology.backends.values()
    balancer = world.balancer.pktlb(
        "run", "--mode", "nat", "--vip", "10.0.1.1:80", "--backend", a, "--snat", BALANCER
    )
    world.balancer.serve(9000)
    assert world.answers(3, "http://10.0.1.1") == {"a": 3}
    assert world.answers(3, "http://10.0.1.1:9000") == {"gw": 3}
    assert world.answers(3, f"http://{a}") == {"a": 3}
    assert balancer.stop() == 0
    assert world.balancer.state() == before


def test_with_source_nat_a_backend_can_be_a_client_of_its_own_service(nat_world: World) -> None:
    world = nat_world
    world.balance("--snat", BALANCER)
    urls = [world.url] * 6
    answers = parse(world.lab.hosts["a"].run(*CURL, *EACH_ALONE, *urls).stdout)
    assert Counter(it.server for it in answers) == {"a": 2, "b": 2, "c": 2}
    assert {it.client for it in answers} == {BALANCER}


@pytest.mark.parametrize(
    ("topology", "snat", "seen_as"),
    [(dsr.TOPOLOGY, (), NEAR), (ONE_ARMED, ("--snat", BALANCER), BALANCER)],
    ids=["dsr", "nat"],
)
def test_a_client_may_be_on_the_link_of_the_backends(
    topology: Topology, snat: tuple[str, ...], seen_as: str
) -> None:
    def prepare(lab: Lab) -> None:
        near = lab.host("near")
        lab.link(near, "eth0", lab.hosts["switch"], "near")
        near.address("eth0", f"{NEAR}/24")

    with serving(topology, prepare) as world:
        world.balance(*snat)
        urls = [world.url] * 6
        answers = parse(world.lab.hosts["near"].run(*CURL, *EACH_ALONE, *urls).stdout)
        assert Counter(it.server for it in answers) == {"a": 2, "b": 2, "c": 2}
        assert {it.client for it in answers} == {seen_as}


def test_a_tunnel_can_lead_to_backends_on_the_same_link() -> None:
    """There the VIP's ARP must be answered by the balancer alone, as for direct server return."""
    with serving(replace(dsr.TOPOLOGY, mode="tunnel", decap=True)) as world:
        world.balance()
        answers = world.ask(6)
        assert Counter(it.server for it in answers) == {"a": 2, "b": 2, "c": 2}
        assert {it.client for it in answers} == {CLIENT}
        assert world.download(SIZE) == sha256_of_bytes(SIZE)


def ask_by_udp(client: Host, server: tuple[str, int]) -> str:
    """The name of the server that answers."""
    with client.enter():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(asking):
        asking.settimeout(5)
        asking.connect(server)
        asking.send(b"hello")
        return asking.recv(2000).decode().split()[0]


def dial(world: World, server: tuple[str, int], port: int) -> socket.socket:
    """A connection from a certain port of the client."""
    with world.client.enter():
        connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.settimeout(5)
    connection.bind((CLIENT, port))
    connection.connect(server)
    return connection


def read_answer(connection: socket.socket) -> str:
    text = b""
    while not text.endswith(b":8080\n"):
        received = connection.recv(2000)
        assert received, text
        text += received
    return text.decode()
