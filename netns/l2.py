#!/usr/bin/env python3
"""L2: whatever is forwarded is spread over firewalls, and both directions meet the same one.

                     left                                           right
    client           lan        front       front  rear         rear       srv
    10.0.1.2 ---+--- 10.0.1.1 | 10.0.2.1 -+- fw1 .11 | .11 -+- 10.0.3.1 | 10.0.4.1 --- server
    client2 .3 -+                         +- fw2 .12 | .12 -+                          10.0.4.2
    client3 .4 -+                         +- fw3 .13 | .13 -+
    client4 .5 -+              guest .2 --+
                               IPv6: fd01:: to fd04:: in place of 10.0.1. to 10.0.4.

A sandwich: pktlb runs on left and on right. The client dials neither: it talks to the server, and
left is the gateway on its way. pktlb puts a firewall's MAC address into each frame and leaves all
else as it is. The firewalls keep state: each passes a reply only if it has passed the request. They
see whole connections, because left and right choose by a hash that is the same for both directions,
and give the firewalls the same names. One balancer is enough if the machines in the middle put
their own addresses in the place of the clients', as gateways to the Internet do. One interface is
enough for that, too: guest is on the network of the firewalls, and left is its gateway.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from netns.command import main
from netns.host import Host, Switch
from netns.l2_demo import L2Demo
from netns.lab import Lab
from netns.sandwich import Sandwich

CLIENTS = {"client": 2, "client2": 3, "client3": 4, "client4": 5}
FIREWALLS = {"fw1": 11, "fw2": 12, "fw3": 13}

STATEFUL = """\
table inet firewall {
    counter opened {}
    counter strays {}
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "front" ct state new counter name "opened" accept
        counter name "strays"
    }
}
"""
"Passes all that goes out, and replies to it; a packet without state here is counted as a stray."

QUICK_NEIGHBOURS = "200"
"Milliseconds between questions for a neighbour that does not answer; the default is 1000."


def build(lab: Lab) -> None:
    """Lay out what the drawing shows."""
    lan, front, rear = (lab.bridge(name) for name in ("lan", "front", "rear"))
    left, right, server = lab.host("left"), lab.host("right"), lab.host("server")
    attach(lab, left, "lan", lan, net=1, last=1)
    attach(lab, left, "front", front, net=2, last=1)
    attach(lab, right, "rear", rear, net=3, last=1)
    lab.link(right, "srv", server, "eth0")
    number(right, "srv", net=4, last=1)
    number(server, "eth0", net=4, last=2)
    route(server, "all", via="4::1")
    for host, ifname, way in ((left, "front", "2::11"), (right, "rear", "3::11")):
        host.forwards()
        route(host, "all", via=way)
        host.sysctl(f"net.ipv4.neigh.{ifname}.retrans_time_ms", QUICK_NEIGHBOURS)
    for name, last in CLIENTS.items():
        attach(lab, lab.host(name), "eth0", lan, net=1, last=last)
        route(lab.hosts[name], "all", via="1::1")
    attach(lab, lab.host("guest"), "eth0", front, net=2, last=2)
    route(lab.hosts["guest"], "all", via="2::1")
    for name, last in FIREWALLS.items():
        firewall = lab.host(name)
        attach(lab, firewall, "front", front, net=2, last=last)
        attach(lab, firewall, "rear", rear, net=3, last=last)
        firewall.forwards()
        route(firewall, "1", via="2::1")
        route(firewall, "4", via="3::1")
        firewall.rules(STATEFUL)


def attach(lab: Lab, host: Host, ifname: str, switch: Switch, net: int, last: int) -> None:
    """Connect a host to a switch."""
    lab.link(host, ifname, switch, host.name)
    number(host, ifname, net, last)


def number(host: Host, ifname: str, net: int, last: int) -> None:
    """Give an interface its addresses of both families."""
    host.address(ifname, f"10.0.{net}.{last}/24")
    host.address(ifname, f"fd0{net}::{last}/64")


def route(host: Host, net: str, via: str) -> None:
    """Lead a network, or all, to `via` (2::11 is 10.0.2.11 and fd02::11), in both families."""
    near, _, last = via.partition("::")
    host.route("default" if net == "all" else f"10.0.{net}.0/24", via=f"10.0.{near}.{last}")
    host.route("::/0" if net == "all" else f"fd0{net}::/64", via=f"fd0{near}::{last}")


TOPOLOGY = Sandwich(
    mode="dsr",
    name="l2",
    drawing=__doc__,
    build=build,
    balancer="left",
    legs=(
        ("client", "eth0"),
        ("left", "lan"),
        ("left", "front"),
        ("right", "rear"),
        ("right", "srv"),
        ("server", "eth0"),
    ),
    vip="any",
    dialled=("10.0.4.2", "[fd04::2]"),
    backends={name: f"10.0.2.{last}" for name, last in FIREWALLS.items()},
    serving=("server",),
    ipv6=True,
    far_balancer="right",
    far_backends={name: f"10.0.3.{last}" for name, last in FIREWALLS.items()},
    interfaces={"left": "lan", "right": "srv"},
)

if __name__ == "__main__":
    sys.exit(main(TOPOLOGY, demo=L2Demo))
