"""Links that are narrower than the balancer's own: the sender is told to send less.

Nothing is tuned: no route, no MSS clamp. Routers answer long packets with ICMP, and pktlb brings
that to the sender.
"""

import re
from pathlib import Path

import pytest

from netns import dsr, mixed, tunnel
from netns.lab import Lab
from netns.server import blocks, sha256_of_bytes
from netns.topology import Topology
from tests.net.topologies import ONE_ARMED, PAST_THE_BALANCER, in_both
from tests.net.world import World, serving

NARROW, LEAST = "1400", "1280"
SIZE = 1_000_000


def narrow_near_the_client(lab: Lab) -> None:
    """The link of PPPoE or a VPN: the client still announces segments for 1500 bytes."""
    lab.hosts["router"].run("ip", "link", "set", "wan", "mtu", NARROW)


def narrow_near_the_backends(lab: Lab, mtu: str = NARROW) -> None:
    """A narrow link behind the balancer's next hop."""
    lab.hosts["router"].run("ip", "link", "set", "back", "mtu", mtu)


@pytest.mark.parametrize(
    ("topology", "snat"),
    [
        (ONE_ARMED, ()),
        (PAST_THE_BALANCER, ("10.0.2.201", "fd02::201")),
        (dsr.TOPOLOGY, ()),
        (tunnel.TOPOLOGY, ()),
    ],
    ids=["nat", "snat", "dsr", "tunnel"],
)
def test_downloads_work_over_a_narrow_link_near_the_client(
    topology: Topology, snat: tuple[str, ...]
) -> None:
    """The router's ICMP goes to the VIP, and from there to the backend that sent a long packet."""
    with serving(in_both(topology), narrow_near_the_client) as world:
        balancer = world.balance(*(word for address in snat for word in ("--snat", address)))
        for url in world.topology.urls:
            for _ in world.backends:
                assert world.download(SIZE, url) == sha256_of_bytes(SIZE)
        assert balancer.stop() == 0
        assert related(balancer.stderr) >= 2 * len(world.backends)


def test_uploads_work_over_a_narrow_link_near_a_tunnel_s_backends(tmp_path: Path) -> None:
    """The router's ICMP is about the outer packet; the client is told about the one inside.

    All of IPv4 and IPv6 in either. First the tunnels alone narrow the way, then the link as well;
    at last so much that IPv6 cannot send packets that are small enough.
    """
    file = tmp_path / "upload"
    file.write_bytes(b"".join(blocks(SIZE)))
    with serving(mixed.TOPOLOGY) as world:
        balancer = world.balance()
        upload_to_each(world, file)
        assert balancer.stop() == 0
        assert related(balancer.stderr) == 0
        narrow_near_the_backends(world.lab)
        balancer = world.balance()
        upload_to_each(world, file)
        assert balancer.stop() == 0
        assert related(balancer.stderr) > 0
        narrow_near_the_backends(world.lab, LEAST)
        world.balancer.run("ip", "route", "add", "fd03::/64", "via", "fd02::254", "mtu", LEAST)
        world.balance()
        upload_to_each(world, file)


def upload_to_each(world: World, file: Path) -> None:
    """By turns to all backends, of both families."""
    for url in world.topology.urls:
        for _ in world.backends:
            assert world.upload(file, url) == sha256_of_bytes(SIZE)


def related(log: str) -> int:
    """The number of ICMP errors that were sent on."""
    return sum(map(int, re.findall(r" related=(\d+)", log)))
