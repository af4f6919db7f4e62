"""A forged source that would make two ends answer each other for ever: the loop does not begin.

The router routes the VIP back to the balancer, and the server answers every datagram.
"""

import json
import socket

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.net.sockets import dialled
from tests.net.topologies import BALANCER, ONE_ARMED, in_both, ipv6_of
from tests.net.world import World, serving

VIPS = ("10.0.2.100", "10.0.2.101")
PAIRS = [
    *((here, there) for here in VIPS for there in VIPS),
    (ipv6_of(VIPS[0]), ipv6_of(VIPS[0])),
]
"Sources and destinations: a service and itself, and two services."
SNAT = ("--snat", BALANCER, "--snat", ipv6_of(BALANCER))


def balance(world: World, *more: str) -> None:
    """Start pktlb with a service for each VIP, of TCP and UDP."""
    words = [f"{word}/any" if word in world.topology.vips else word
             for word in world.arguments(*more)]  # fmt: skip
    first = words.index("--vip")
    backend = words[words.index("--backend") + 1]
    second = ("--vip", f"{VIPS[1]}:80/any", "--backend", backend)
    world.balancer.pktlb(*words[:first], *second, *words[first:])


def forge(world: World, here: str, there: str) -> None:
    """Send one datagram as the router would, from port 80 of an address to that of another."""
    router = world.lab.hosts["router"]
    macs = {"src": router.macs["lan"], "dst": world.balancer.macs["eth0"]}
    ip = (IPv6 if ":" in here else IP)(src=here, dst=there)
    datagram = Ether(**macs) / ip / UDP(sport=80, dport=80) / b"again"
    with router.enter(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("lan", 0))
        raw.send(bytes(datagram))


@pytest.mark.parametrize("snat", [(), SNAT], ids=["plain", "snat"])
def test_a_datagram_from_a_vip_to_a_vip_begins_no_loop(snat: tuple[str, ...]) -> None:
    with serving(in_both(ONE_ARMED)) as world:
        balance(world, *snat)
        for here, there in PAIRS:
            forge(world, here, there)
        with dialled(world.client, world.vip) as client:
            client.send(b"question")
            assert client.recv(2000).endswith(b"question")
        reasons = json.loads(world.balancer.ask("status", "--json").stdout)["reasons"]
        counted = ("BAD_SOURCE", "OPENED", "FORWARDED", "RETURNED")
        assert [reasons[name] for name in counted] == [len(PAIRS), 1, 0, 1]
