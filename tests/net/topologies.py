"""A network beside those of netns/: NAT with one arm."""

from dataclasses import replace

from netns import nat
from netns.lab import Lab

VIP = "10.0.2.100"
ROUTER = "10.0.2.254"
BALANCER = "10.0.2.1"
BACKENDS = {"a": "10.0.2.11", "b": "10.0.2.12", "c": "10.0.2.13"}


def build_one_armed(lab: Lab, way_back: str = BALANCER) -> None:
    """The balancer shares one link with the router and the backends.

    client      wan          lan     switch
    10.0.1.2 ---- 10.0.1.1 | 10.0.2.254 -----+---- gw 10.0.2.1     VIP 10.0.2.100:80
                                             +---- a, b, c         default route: way_back
    """
    client, router, switch = lab.host("client"), lab.host("router"), lab.bridge("switch")
    lab.link(client, "eth0", router, "wan")
    lab.link(router, "lan", switch, "router")
    client.address("eth0", "10.0.1.2/24")
    client.route("default", via="10.0.1.1")
    router.address("wan", "10.0.1.1/24")
    router.address("lan", f"{ROUTER}/24")
    router.sysctl("net.ipv4.ip_forward", "1")
    for name, address in {"gw": BALANCER, **BACKENDS}.items():
        host = lab.host(name)
        lab.link(host, "eth0", switch, name)
        host.address("eth0", f"{address}/24")
        host.route("default", via=ROUTER if name == "gw" else way_back)
    gw = lab.hosts["gw"]
    gw.sysctl("net.ipv4.ip_forward", "1")
    gw.sysctl("net.ipv4.conf.all.send_redirects", "0")
    gw.sysctl("net.ipv4.conf.eth0.send_redirects", "0")


def build_past_the_balancer(lab: Lab) -> None:
    """One arm, and the backends' default route leads past the balancer."""
    build_one_armed(lab, way_back=ROUTER)


ONE_ARMED = replace(
    nat.TOPOLOGY,
    drawing=build_one_armed.__doc__ or "",
    build=build_one_armed,
    vip=f"{VIP}:80",
    snat="",
)
PAST_THE_BALANCER = replace(ONE_ARMED, build=build_past_the_balancer)
