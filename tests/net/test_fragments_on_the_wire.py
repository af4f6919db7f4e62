"""Datagrams in fragments, cut by real kernels and by hand, both ways, in each mode."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import count

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from netns.process import Process
from tests.net.sockets import dialled, exchange, listening
from tests.net.topologies import BOTH, PAST_THE_BALANCER, in_both
from tests.net.world import World, serving

SIZES = [3_000, 20_000, 60_000]
NO_SERVICE = 9999
WORD = bytes(range(256)) * 8
CUT = 600
"Payload bytes of each fragment that is made here."

WORLDS = BOTH | {"snat": in_both(PAST_THE_BALANCER)}
SNAT = ("--snat", "10.0.2.201", "--snat", "fd02::201")

idents = count(1)


@pytest.fixture(params=WORLDS)
def wired(request: pytest.FixtureRequest) -> Iterator[tuple[World, Process]]:
    """A balancer of UDP over both families."""
    with serving(WORLDS[request.param]) as world:
        vips = world.topology.vips
        arguments = world.arguments(*(SNAT if request.param == "snat" else ()))
        arguments = [f"{word}/udp" if word in vips else word for word in arguments]
        yield world, world.balancer.pktlb(*arguments)


def test_datagrams_in_fragments_are_answered_and_others_reach_the_kernel(
    wired: tuple[World, Process],
) -> None:
    world, balancer = wired
    for vip in world.vips:
        with dialled(world.client, vip) as client:
            for size in SIZES:
                exchange(client, size)
            in_any_order(world, client)
            overlapping(world, client)
        past_the_services(world, vip[0])
        world.client.run("ping", "-q", "-c", "2", "-i", "0.1", "-W", "2", "-s", "3000", vip[0])
    assert balancer.stop() == 0
    assert " bad_fragment=12" in balancer.stderr
    assert "BAD_FRAGMENT: fragment that overlaps another" in balancer.stderr


def in_any_order(world: World, client: socket.socket) -> None:
    """The first fragment comes last, or in the middle, or some come twice."""
    for order in ((3, 2, 1, 0), (2, 0, 3, 1), (1, 0, 0, 1, 2, 3)):
        cut = pieces(client)
        send(world, [cut[place] for place in order])
        assert client.recv(65535).endswith(b" " + WORD)


def overlapping(world: World, client: socket.socket) -> None:
    """No part of the datagram arrives, also not with later fragments; the next datagram does."""
    cut = pieces(client)
    forged = cut[1].copy()
    if IP in forged:
        forged[IP].frag -= 1
    else:
        forged[IPv6ExtHdrFragment].offset -= 1
    send(world, [cut[0], forged, *cut[1:]])
    exchange(client, 100)


def past_the_services(world: World, address: str) -> None:
    """A port of the VIP that no service has: all fragments reach the kernel, and it answers."""
    end = (address, NO_SERVICE)
    with dialled(world.client, end) as client, listening(world.balancer, end) as server:
        client.send(b"to the kernel" * 300)
        data, sender = server.recvfrom(65535)
        assert data == b"to the kernel" * 300
        server.sendto(data[::-1], sender)
        assert client.recv(65535) == data[::-1]


def pieces(client: socket.socket) -> list[Packet]:
    """A datagram in four fragments, as the client's kernel might send it."""
    (here, sport, *_), (there, dport, *_) = client.getsockname(), client.getpeername()
    load = UDP(sport=sport, dport=dport) / Raw(WORD)
    if client.family == socket.AF_INET:
        return list(fragment(IP(src=here, dst=there, id=next(idents)) / load, CUT))
    head = IPv6(src=here, dst=there) / IPv6ExtHdrFragment(id=next(idents))
    return list(fragment6(head / load, CUT + 48))


def send(world: World, packets: Iterable[Packet]) -> None:
    """Put packets on the client's cable."""
    (_, ifname), (near, its_ifname), *_ = world.topology.legs
    header = Ether(src=world.client.macs[ifname], dst=world.lab.hosts[near].macs[its_ifname])
    with world.client.enter():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with closing(raw):
        raw.bind((ifname, 0))
        for packet in packets:
            raw.send(bytes(header / packet))
