#!/usr/bin/env python3
"""DSR (direct server return): the balancer only says which machine on the link gets the frame.

                     router                      switch
    client      wan          lan                    +---- balancer 10.0.2.1     pktlb runs here
    10.0.1.2 ---- 10.0.1.1 | 10.0.2.254 ------------+     VIP 10.0.2.100:80
                                                    +---- a 10.0.2.11 \\
                                                    +---- b 10.0.2.12  } VIP on lo, not on ARP
                                                    +---- c 10.0.2.13 /

The router asks for the VIP by ARP, and only the balancer answers. pktlb puts a backend's MAC
address into the frame and leaves all else as it is. The backend takes the packet for its own, as
the VIP is on its loopback, and answers from the VIP by way of the router: no reply crosses the
balancer, and the server sees the client's own address.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from netns.command import main
from netns.host import Host
from netns.lab import Lab
from netns.topology import Topology

VIP = "10.0.2.100"
ROUTER = "10.0.2.254"
BACKENDS = {"a": "10.0.2.11", "b": "10.0.2.12", "c": "10.0.2.13"}


def build(lab: Lab) -> None:
    """Lay out what the drawing shows."""
    client, router, switch = lab.host("client"), lab.host("router"), lab.bridge("switch")
    lab.link(client, "eth0", router, "wan")
    lab.link(router, "lan", switch, "router")

    client.address("eth0", "10.0.1.2/24")
    client.route("default", via="10.0.1.1")
    router.address("wan", "10.0.1.1/24")
    router.address("lan", f"{ROUTER}/24")
    router.sysctl("net.ipv4.ip_forward", "1")

    for name, address in {"balancer": "10.0.2.1", **BACKENDS}.items():
        host = lab.host(name)
        lab.link(host, "eth0", switch, name)
        host.address("eth0", f"{address}/24")
        host.route("default", via=ROUTER)
        if name in BACKENDS:
            hold_vip_quietly(host)


def hold_vip_quietly(backend: Host, vip: str = VIP) -> None:
    """Let a backend take packets to the VIP, but neither answer nor ask for it by ARP."""
    backend.sysctl("net.ipv4.conf.all.arp_ignore", "1")
    backend.sysctl("net.ipv4.conf.all.arp_announce", "2")
    backend.address("lo", f"{vip}/32")


TOPOLOGY = Topology(
    mode="dsr",
    drawing=__doc__,
    build=build,
    balancer="balancer",
    legs=(("client", "eth0"), ("router", "wan"), ("router", "lan"), ("balancer", "eth0")),
    vip=f"{VIP}:80",
    backends=BACKENDS,
    direct_return=True,
)

if __name__ == "__main__":
    sys.exit(main(TOPOLOGY))
