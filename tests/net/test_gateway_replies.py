"""The balancer is the gateway of backends that answer from the VIP: in the modes dsr and tunnel.

Its kernel would drop these answers as forged, because they come from an address of its own.
"""

import re

import pytest

from netns.lab import Lab
from netns.server import sha256_of_bytes
from netns.topology import Topology
from tests.net.sockets import dialled, exchange
from tests.net.topologies import DSR_GATEWAY, TUNNEL_GATEWAY, in_both
from tests.net.world import balance_tcp_and_udp, serving, switch_offloads

SIZE = 10_000_000


def filter_loosely(lab: Lab) -> None:
    """The reverse-path filter as distributions set it."""
    for name in ("balancer", "a", "b", "c"):
        for key in ("all", "default", *lab.hosts[name].macs):
            lab.hosts[name].sysctl(f"net.ipv4.conf.{key}.rp_filter", "2")


@pytest.mark.parametrize("topology", [DSR_GATEWAY, TUNNEL_GATEWAY], ids=["dsr", "tunnel"])
def test_answers_come_back_through_the_balancer(topology: Topology) -> None:
    with serving(in_both(topology), filter_loosely) as world:
        balancer = balance_tcp_and_udp(world)
        for url, vip in zip(world.topology.urls, world.vips, strict=True):
            assert world.answers(6, url) == {"a": 2, "b": 2, "c": 2}
            assert world.download(SIZE, url) == sha256_of_bytes(SIZE)
            with dialled(world.client, vip) as client:
                exchange(client, 20_000)  # the answer is in fragments, too
        switch_offloads(world.lab, on=False)
        for url in world.topology.urls:
            assert world.download(SIZE, url) == sha256_of_bytes(SIZE)
        assert balancer.stop() == 0
        (returned,) = re.findall(r" returned=(\d+)", balancer.stderr)
        assert int(returned) > 2 * SIZE / 1500
