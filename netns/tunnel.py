#!/usr/bin/env python3
"""Tunnel: the balancer puts a second IP header in front, and the packet can go anywhere.

                     router
    client      wan            front
    10.0.1.2 ---- 10.0.1.1   | 10.0.2.254 --------------- balancer 10.0.2.1   pktlb run
                             |                            VIP 10.0.2.100:80
                             | back              switch
                             | 10.0.3.254 ---------+----- a 10.0.3.11 \\
                                                   +----- b 10.0.3.12  } pktlb decap: VIP
                                                   +----- c 10.0.3.13 /

The client dials the VIP. pktlb puts an IP header in front that is addressed to a backend, on a
subnet that the balancer is no part of; routers look at that one only. On the backend `pktlb decap`
takes it off and hands the client's packet to the kernel, which knows the VIP as its own and
answers straight to the client: no reply crosses the balancer, and the server sees the client's
own address.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from netns.command import main
from netns.lab import Lab
from netns.topology import Topology

BACKENDS = {"a": "10.0.3.11", "b": "10.0.3.12", "c": "10.0.3.13"}


def build(lab: Lab) -> None:
    """Lay out what the drawing shows."""
    client, router, balancer = lab.host("client"), lab.host("router"), lab.host("balancer")
    switch = lab.bridge("switch")
    lab.link(client, "eth0", router, "wan")
    lab.link(balancer, "eth0", router, "front")
    lab.link(router, "back", switch, "router")

    client.address("eth0", "10.0.1.2/24")
    client.route("default", via="10.0.1.1")
    balancer.address("eth0", "10.0.2.1/24")
    balancer.route("default", via="10.0.2.254")
    router.address("wan", "10.0.1.1/24")
    router.address("front", "10.0.2.254/24")
    router.address("back", "10.0.3.254/24")
    router.sysctl("net.ipv4.ip_forward", "1")

    for name, address in BACKENDS.items():
        backend = lab.host(name)
        lab.link(backend, "eth0", switch, name)
        backend.address("eth0", f"{address}/24")
        backend.route("default", via="10.0.3.254")


TOPOLOGY = Topology(
    mode="tunnel",
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
    backends=BACKENDS,
    direct_return=True,
    decap=True,
)

if __name__ == "__main__":
    sys.exit(main(TOPOLOGY))
