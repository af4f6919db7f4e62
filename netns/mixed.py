#!/usr/bin/env python3
"""Mixed families: a tunnel takes IPv4 and IPv6 to backends of either family, whatever is inside.

                    router
    client      wan           front
    10.0.1.2 ---- 10.0.1.1  | 10.0.2.254 --------- balancer 10.0.2.1, fd02::1   pktlb run
    fd01::2       fd01::1   | fd02::254            VIPs 10.0.2.100:80 and [fd02::100]:80
                            | back           switch
                            | 10.0.3.254 -----+--- a 10.0.3.11 \\
                            | fd03::254       +--- b 10.0.3.12  \\ pktlb decap: both VIPs
                            | fe80::1         +--- c fd03::13   /
                                              +--- d fd03::14  /

The client dials a VIP of IPv4 and one of IPv6. Both are served by all backends, of which each has
an address of one family only; the outer header is of that family: 4 in 4, 4 in 6, 6 in 4, 6 in 6.
`pktlb decap` on a backend unwraps all of them and holds both VIPs. For its answers a backend needs
a route in the client's family, but no address: the router's fe80::1 is the way, for IPv4 as well.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from netns.command import main
from netns.lab import Lab
from netns.mixed_demo import MixedDemo
from netns.topology import Topology

BACKENDS = {"a": "10.0.3.11", "b": "10.0.3.12", "c": "fd03::13", "d": "fd03::14"}


def build(lab: Lab) -> None:
    """Lay out what the drawing shows."""
    client, router, balancer = lab.host("client"), lab.host("router"), lab.host("balancer")
    switch = lab.bridge("switch")
    lab.link(client, "eth0", router, "wan")
    lab.link(balancer, "eth0", router, "front")
    lab.link(router, "back", switch, "router")

    for host, ifname, number, last in (
        (client, "eth0", 1, "2"),
        (router, "wan", 1, "1"),
        (balancer, "eth0", 2, "1"),
        (router, "front", 2, "254"),
        (router, "back", 3, "254"),
    ):
        host.address(ifname, f"10.0.{number}.{last}/24")
        host.address(ifname, f"fd0{number}::{last}/64")
    router.address("back", "fe80::1/64")
    router.forwards()
    client.route("default", via="10.0.1.1")
    client.route("::/0", via="fd01::1")
    balancer.route("default", via="10.0.2.254")
    balancer.route("::/0", via="fd02::254")

    for name, address in BACKENDS.items():
        backend = lab.host(name)
        lab.link(backend, "eth0", switch, name)
        if ":" in address:
            backend.address("eth0", f"{address}/64")
            backend.route("default", via="fe80::1", ifname="eth0")
        else:
            backend.address("eth0", f"{address}/24")
            backend.route("default", via="10.0.3.254")
        backend.route("::/0", via="fe80::1", ifname="eth0")


TOPOLOGY = Topology(
    mode="tunnel",
    name="mixed",
    drawing=__doc__,
    build=build,
    balancer="balancer",
    legs=(
        ("client", "eth0"),
        ("router", "wan"),
        ("router", "front"),
        ("balancer", "eth0"),
        ("router", "back"),
    ),
    vip="10.0.2.100:80",
    more_vips=("[fd02::100]:80",),
    backends=BACKENDS,
    direct_return=True,
    decap=True,
    ipv6=True,
)

if __name__ == "__main__":
    sys.exit(main(TOPOLOGY, demo=MixedDemo))
