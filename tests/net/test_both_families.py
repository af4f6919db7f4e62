"""IPv6 beside IPv4 on one balancer, in each mode."""

from collections import Counter
from pathlib import Path

import pytest

from netns.server import sha256_of_bytes
from tests.net.sockets import bracketed, dialled
from tests.net.topologies import BOTH, PAST_THE_BALANCER, in_both
from tests.net.world import World, balance_tcp_and_udp, serving, switch_offloads

SIZE = 10_000_000
EVEN = {"a": 2, "b": 2, "c": 2}
CLIENTS = ["10.0.1.2", "fd01::2"]
SNAT = [f"{net}{last}" for net in ("10.0.2.", "fd02::") for last in (201, 202)]

each_mode = pytest.mark.parametrize("mode", BOTH)


@each_mode
def test_http_udp_and_long_transfers_of_both_families(mode: str, payload: Path) -> None:
    with serving(BOTH[mode]) as world:
        balance_tcp_and_udp(world)
        for side, client in enumerate(CLIENTS):
            answers = world.ask(6, world.topology.urls[side])
            assert Counter(answer.server for answer in answers) == EVEN
            assert {answer.client for answer in answers} == {client}
            assert echo(world, side).startswith(f"{bracketed(client)}:")
        transfer(world, payload)  # long frames, checksums only begun
        switch_offloads(world.lab, on=False)
        transfer(world, payload)


def test_clients_of_both_families_are_translated(payload: Path) -> None:
    """The backends have no route through the balancer, but one to its addresses."""
    with serving(in_both(PAST_THE_BALANCER)) as world:
        before = world.balancer.state()
        ranges = [f"{low}-{high}" for low, high in (SNAT[:2], SNAT[2:])]
        balancer = balance_tcp_and_udp(world, "--snat", ranges[0], "--snat", ranges[1])
        for side, pool in enumerate((SNAT[:2], SNAT[2:])):
            answers = world.ask(6, world.topology.urls[side])
            assert Counter(answer.server for answer in answers) == EVEN
            assert {answer.client for answer in answers} == set(pool)
            assert echo(world, side).startswith(tuple(map(bracketed, pool)))
        transfer(world, payload)
        assert balancer.stop() == 0
        assert world.balancer.state() == before


@each_mode
def test_addresses_of_both_families_go_at_a_stop_and_are_cleaned_up_after_a_crash(
    mode: str,
) -> None:
    with serving(BOTH[mode]) as world:
        before = world.balancer.state()
        crashed = world.balance()
        vip, _ = world.vips[1]
        listed = world.balancer.run("ip", "-6", "address", "show").stdout.splitlines()
        (line,) = (line for line in listed if vip in line)
        assert "deprecated" in line  # the kernel never chooses it for connections of its own
        assert "nodad" in line  # nor waits a second before it answers for it
        crashed.kill()
        assert world.balancer.state() != before
        balancer = world.balance()
        assert [world.answers(6, url) for url in world.topology.urls] == [EVEN, EVEN]
        assert balancer.stop() == 0
        assert world.balancer.state() == before


def echo(world: World, side: int) -> str:
    """The client's address as the backend of a VIP sees it."""
    with dialled(world.client, world.vips[side]) as client:
        client.send(b"word")
        name, seen_as, said = client.recv(2000).decode().split()
    assert name in world.topology.backends
    assert said == "word"
    return seen_as


def transfer(world: World, payload: Path) -> None:
    """A long download and upload for each VIP."""
    for url in world.topology.urls:
        assert world.download(SIZE, url) == sha256_of_bytes(SIZE)
        assert world.upload(payload, url) == sha256_of_bytes(SIZE)
