#!/usr/bin/env python3
"""NAT: the balancer is the gateway, and writes another destination into every packet.

                       gw                         switch
    client      wan          lan                    +---- a 10.0.2.11:8080
    10.0.1.2 ---- 10.0.1.1 | 10.0.2.1 --------------+---- b 10.0.2.12:8080
                  VIP 10.0.1.100:80                 +---- c 10.0.2.13:8080
                  pktlb runs here

The client dials the VIP. pktlb puts a backend's address and port in its place; the backends' way
back leads through gw, where pktlb puts the VIP back. The server sees the client's own address
(with --snat: one of the balancer's, and then its way back need not lead through gw).
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from netns.command import main
from netns.lab import Lab
from netns.topology import Topology

BACKENDS = {"a": "10.0.2.11", "b": "10.0.2.12", "c": "10.0.2.13"}


def build(lab: Lab) -> None:
    """Lay out what the drawing shows."""
    client, gw, switch = lab.host("client"), lab.host("gw"), lab.bridge("switch")
    lab.link(client, "eth0", gw, "wan")
    lab.link(gw, "lan", switch, "gw")

    client.address("eth0", "10.0.1.2/24")
    client.route("default", via="10.0.1.1")
    gw.address("wan", "10.0.1.1/24")
    gw.address("lan", "10.0.2.1/24")
    gw.sysctl("net.ipv4.ip_forward", "1")

    for name, address in BACKENDS.items():
        backend = lab.host(name)
        lab.link(backend, "eth0", switch, name)
        backend.address("eth0", f"{address}/24")
        backend.route("default", via="10.0.2.1")


TOPOLOGY = Topology(
    mode="nat",
    drawing=__doc__,
    build=build,
    balancer="gw",
    legs=(("client", "eth0"), ("gw", "wan"), ("gw", "lan")),
    vip="10.0.1.100:80",
    backends={name: f"{address}:8080" for name, address in BACKENDS.items()},
    server_port=8080,
    snat="10.0.2.1",
)

if __name__ == "__main__":
    sys.exit(main(TOPOLOGY))
