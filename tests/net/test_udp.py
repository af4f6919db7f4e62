"""UDP: requests and answers, sizes around the MTU, datagrams without checksum, sent in runs.

The server's echo is longer than the request, so tests of sizes receive datagrams themselves.
"""

import socket
from collections import Counter, defaultdict
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from netns.host import Host
from tests.net.world import CLIENT, World

if TYPE_CHECKING:
    from scapy.packet import Packet

OTHERS = ["10.0.1.21", "10.0.1.22", "10.0.1.23"]
MTU = 1500
HEADERS = 20 + 8
OUTER = 20

SO_NO_CHECK = 11
IP_MTU_DISCOVER, PMTUDISC_DONT, PMTUDISC_DO = 10, 0, 2
SOL_UDP, UDP_SEGMENT = 17, 103


def test_datagrams_are_answered_from_the_vip_and_each_port_keeps_its_server(world: World) -> None:
    balance_udp(world)
    for address in OTHERS:
        world.client.address("eth0", f"{address}/24")
    servers = defaultdict(set)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(closing(dial(world, address)))
            for address in [CLIENT, *OTHERS]
            for _ in range(9)
        ]
        for turn in range(3):
            for client in clients:
                client.send(f"turn {turn}".encode())
            for client in clients:
                name, seen_as, *rest = client.recv(2000).decode().split()
                assert rest == ["turn", str(turn)]
                assert seen_as == "{}:{}".format(*client.getsockname())
                servers[client.getsockname()].add(name)
    assert len(servers) == len(clients)
    assert Counter(next(iter(names)) for names in servers.values() if len(names) == 1) == {
        "a": 12, "b": 12, "c": 12,
    }  # fmt: skip


def test_a_datagram_without_checksum_arrives_without_one(world: World) -> None:
    balance_udp(world)
    captures = [host.capture("eth0", "ip dst not 10.0.1.2") for host in world.backends]
    with closing(dial(world)) as client:
        client.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        client.send(b"no sum")
        assert client.recv(2000).endswith(b" no sum")
    sent = [packet for capture in captures for packet in capture.stop() if packet.haslayer("UDP")]
    assert [packet["UDP"].chksum for packet in sent] == [0]


def test_the_longest_datagram_that_fits_arrives_whole(world: World) -> None:
    """DF is set; for the tunnel the datagram has to leave room for the outer header."""
    room = MTU - (OUTER if world.topology.mode == "tunnel" else 0)
    received, captured = deliver(world, room - HEADERS, PMTUDISC_DO)
    assert received == room - HEADERS
    assert [packet["IP"].len for packet in captured] == [MTU]


def test_a_datagram_one_byte_too_long_for_the_tunnel_goes_in_fragments(tunnel_world: World) -> None:
    """DF is clear: the outer packet is fragmented, and the backend's kernel reassembles it."""
    size = MTU - OUTER - HEADERS + 1
    received, captured = deliver(tunnel_world, size, PMTUDISC_DONT)
    assert received == size
    assert [(packet["IP"].proto, packet["IP"].frag) for packet in captured] == [(4, 0), (4, 185)]
    assert all(packet["IP"].len <= MTU for packet in captured)
    assert len({packet["IP"].id for packet in captured}) == 1


def test_a_datagram_of_the_cable_s_mtu_passes_a_tunnel_of_the_same_mtu(tunnel_world: World) -> None:
    received, captured = deliver(tunnel_world, MTU - HEADERS, PMTUDISC_DONT)
    assert received == MTU - HEADERS
    assert len(captured) == 2


def test_a_client_that_forbids_fragments_is_told_what_fits_the_tunnel(tunnel_world: World) -> None:
    """ICMP "fragmentation needed" reaches the client's kernel, which refuses the next one."""
    balance_udp(tunnel_world)
    with closing(dial(tunnel_world)) as client:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        client.send(bytes(MTU - HEADERS))
        with pytest.raises(OSError, match="Message too long"):
            client.recv(2000)
        vip, _ = tunnel_world.vip
        assert f"mtu {MTU - OUTER}" in tunnel_world.client.run("ip", "route", "get", vip).stdout
        client.send(bytes(MTU - HEADERS - OUTER))
        assert client.recv(2000).startswith((b"a ", b"b ", b"c "))


def test_a_run_of_datagrams_that_the_sender_leaves_uncut_arrives_cut(world: World) -> None:
    """UDP segmentation offload: one frame to the balancer stands for many datagrams."""
    balance_udp(world)
    sent = [bytes([number]) * 1000 for number in range(8)]
    with closing(dial(world)) as client:
        client.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
        client.send(b"".join(sent))
        answers = [client.recv(2000).split(b" ", 2) for _ in sent]
    assert sorted(data for _, _, data in answers) == sent
    assert len({name for name, *_ in answers}) == 1


def balance_udp(world: World) -> None:
    """Start pktlb with the topology's service, of UDP."""
    vip = world.topology.vip
    arguments = world.arguments()
    arguments[arguments.index(vip)] = f"{vip}/udp"
    world.balancer.pktlb(*arguments)


def dial(world: World, address: str = CLIENT) -> socket.socket:
    """A socket of the client that is connected: it takes answers from the VIP only."""
    with world.client.enter():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.bind((address, 0))
    client.connect(world.vip)
    return client


def listen(host: Host, port: int) -> socket.socket:
    with host.enter():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.settimeout(5)
    server.bind(("0.0.0.0", port))
    return server


def deliver(world: World, size: int, discovery: int) -> "tuple[int, list[Packet]]":
    """Send a datagram to a service of one backend: what it gets, and the frames that bring it."""
    address, _ = world.vip
    backend = world.topology.backends["a"].partition(":")[0]
    service = ("--vip", f"{address}:5300/udp", "--backend", f"{backend}:5300")
    world.balancer.pktlb("run", "--mode", world.topology.mode, *service)
    host = world.lab.hosts["a"]
    capture = host.capture("eth0", f"ip dst {backend} or ip dst {address}")
    with closing(listen(host, 5300)) as server, closing(dial(world)) as client:
        client.connect((address, 5300))
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discovery)
        client.send(bytes(size))
        received = len(server.recv(2 * MTU))
    return received, capture.stop()
