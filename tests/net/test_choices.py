"""Schedulers by load, schedulers that hash, and a choice for each datagram."""

import pytest

from netns.lab import Lab
from netns.process import Process
from tests.net.sockets import End, opened
from tests.net.topologies import BOTH, PAST_THE_BALANCER, in_both
from tests.net.world import World, serving, with_flags

PORTS = range(20_001, 20_025)
CLIENTS = ("10.0.1.2", "fd01::2")
NUMBERS = range(1, 13)
NETWORKS = ("10.9.{}.{}", "fd09:0:{}::{}")
"Networks of two hosts each, which differ in the first 24 and 48 bits."

WORLDS = BOTH | {"snat": in_both(PAST_THE_BALANCER)}
SNAT = ("--snat", "10.0.2.201", "--snat", "fd02::201")

FASTER = {"a": 3, "b": 1, "c": 0}
PAIR = {"a": 1, "b": 1, "c": 0}


def test_new_connections_go_where_the_load_is_least(nat_world: World) -> None:
    """`sed` prefers a fast backend, though it has a connection; `nq` an idle one. `p2c` compares
    two backends, which here are all."""
    world = nat_world
    for scheduler, weights, expected in (("sed", FASTER, "aaba"), ("nq", FASTER, "abaa")):
        balancer = world.balance(scheduler=scheduler, weights=weights)
        assert "".join(world.hold()[1] for _ in range(4)) == expected
        assert balancer.stop() == 0
    world.balance(scheduler="p2c", weights=PAIR)
    _, busy = world.hold()
    assert world.answers(8) == {{"a": "b", "b": "a"}[busy]: 8}


def test_hashes_choose_the_same_backends_after_a_new_start() -> None:
    """`maglev` uses the whole 5-tuple, `hash` the client's network; no order of clients counts."""
    ports = [[[(client, port)] for port in PORTS] for client in CLIENTS]
    networks = [
        [[(net.format(number, host), 0) for host in (1, 2)] for number in NUMBERS]
        for net in NETWORKS
    ]
    with serving(BOTH["nat"], add_networks) as world:
        for flags, each in (
            (["--scheduler", "maglev"], ports),
            (["--scheduler", "hash", "--hash", "source/24/48"], networks),
        ):
            groups = [group for of_family in each for group in of_family]
            balancer = balance_udp(world, *flags)
            homes = [{server(world, source) for source in group} for group in groups]
            assert balancer.stop() == 0
            balancer = balance_udp(world, *flags)
            again = [{server(world, source) for source in group} for group in reversed(groups)]
            assert balancer.stop() == 0
            assert homes == again[::-1]
            assert {len(names) for names in homes} == {1}
            for of_family in (homes[: len(each[0])], homes[len(each[0]) :]):
                assert set.union(*of_family) == {"a", "b", "c"}


@pytest.mark.parametrize("kind", WORLDS)
def test_each_datagram_of_a_socket_is_for_the_next_backend(kind: str) -> None:
    """A resolver asks in this way. Answers come from the address that was asked."""
    with serving(WORLDS[kind]) as world:
        balance_udp(world, "--one-packet", *(SNAT if kind == "snat" else ()))
        for source, vip in zip(CLIENTS, world.vips, strict=True):
            with opened(world.client, source) as client:
                client.connect(vip)
                names = []
                for turn in range(12):
                    client.send(b"%d" % turn)
                    name, _, said = client.recv(2000).decode().split()
                    names.append(name)
                    assert said == str(turn)
            assert "".join(names) == "abc" * 4


def add_networks(lab: Lab) -> None:
    """More addresses of the client, in networks behind it."""
    client, gw = lab.hosts["client"], lab.hosts["gw"]
    for net, length in zip(NETWORKS, (32, 128), strict=True):
        for number in NUMBERS:
            for host in (1, 2):
                client.address("eth0", f"{net.format(number, host)}/{length}")
    gw.route("10.9.0.0/16", via="10.0.1.2")
    gw.route("fd09::/32", via="fd01::2")


def server(world: World, source: End) -> str:
    """The server that answers a datagram from this end."""
    vip = world.vips[":" in source[0]]
    with opened(world.client, vip[0]) as client:
        client.bind(source)
        client.connect(vip)
        client.send(b"who?")
        return client.recv(2000).decode().split()[0]


def balance_udp(world: World, *flags: str) -> Process:
    """Start pktlb for the topology's services, of UDP, with these flags."""
    vips = world.topology.vips
    arguments = with_flags(world.arguments(), flags)
    return world.balancer.pktlb(*(f"{it}/udp" if it in vips else it for it in arguments))
