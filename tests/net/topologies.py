"""Topologies besides netns/: NAT with one arm, the balancer as gateway, all in IPv6."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from netns import dsr, nat, tunnel
from netns.lab import Lab
from netns.step import AddAddress, AddRoute
from netns.topology import Topology

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
    legs=(("client", "eth0"), ("router", "wan"), ("router", "lan"), ("gw", "eth0")),
    vip=f"{VIP}:80",
    snat="",
)
PAST_THE_BALANCER = replace(ONE_ARMED, build=build_past_the_balancer)


def build_gateway(lab: Lab) -> None:
    """The balancer is the router, and the backends answer by way of it, with the VIP as source.

    client      wan      balancer   lan          switch
    10.0.1.2 ---- 10.0.1.1        | 10.0.2.1 ------+--- a, b, c    default route: 10.0.2.1
                  VIP 10.0.1.100:80
    """
    client, balancer, switch = lab.host("client"), lab.host("balancer"), lab.bridge("switch")
    lab.link(client, "eth0", balancer, "wan")
    lab.link(balancer, "lan", switch, "balancer")
    client.address("eth0", "10.0.1.2/24")
    client.route("default", via="10.0.1.1")
    balancer.address("wan", "10.0.1.1/24")
    balancer.address("lan", f"{BALANCER}/24")
    balancer.forwards()
    for name, address in BACKENDS.items():
        backend = lab.host(name)
        lab.link(backend, "eth0", switch, name)
        backend.address("eth0", f"{address}/24")
        backend.route("default", via=BALANCER)


def build_dsr_gateway(lab: Lab) -> None:
    """The same topology, with the VIP on the backends."""
    build_gateway(lab)
    for name in BACKENDS:
        dsr.hold_vip_quietly(lab.hosts[name], "10.0.1.100")


DSR_GATEWAY = replace(
    dsr.TOPOLOGY,
    drawing=build_gateway.__doc__ or "",
    build=build_dsr_gateway,
    legs=(("client", "eth0"), ("balancer", "wan"), ("balancer", "lan")),
    vip="10.0.1.100:80",
    direct_return=False,
)
TUNNEL_GATEWAY = replace(
    DSR_GATEWAY, mode="tunnel", build=build_gateway, backends=BACKENDS, decap=True
)


def in_ipv6(topology: Topology) -> Topology:
    """A topology with IPv6 beside its IPv4, dialled by IPv6: fd02::100 where 10.0.2.100 was."""
    return replace(
        topology,
        build=with_ipv6(topology.build),
        vip=ipv6_of(topology.vip),
        backends={name: ipv6_of(end) for name, end in topology.backends.items()},
        snat=ipv6_of(topology.snat),
        ipv6=True,
    )


def with_ipv6(build: Callable[[Lab], None]) -> Callable[[Lab], None]:
    """Lay out a network, and give all that has an IPv4 address or route one of IPv6 as well."""

    def build_both(lab: Lab) -> None:
        build(lab)
        for step in tuple(lab.steps):
            match step:
                case AddAddress(namespace, ifname, address):
                    host, _, length = address.partition("/")
                    longer = "/128" if length == "32" else "/64"
                    lab.do(AddAddress(namespace, ifname, ipv6_of(host) + longer))
                case AddRoute(namespace, "default", via, ifname):
                    lab.do(AddRoute(namespace, "::/0", ipv6_of(via), ifname))
        for name in lab.hosts.keys() & {"router", "gw", "balancer"}:
            lab.hosts[name].sysctl("net.ipv6.conf.all.forwarding", "1")

    return build_both


def ipv6_of(end: str) -> str:
    """fd02::100 of 10.0.2.100, [fd02::100]:80 of 10.0.2.100:80; nothing of nothing."""
    end = re.sub(r"^10\.0\.(\d)\.(\d+):", r"[fd0\1::\2]:", end)
    return re.sub(r"^10\.0\.(\d)\.(\d+)$", r"fd0\1::\2", end)


NAT6, DSR6, TUNNEL6 = (in_ipv6(it) for it in (nat.TOPOLOGY, dsr.TOPOLOGY, tunnel.TOPOLOGY))


@dataclass(frozen=True, slots=True)
class DualStack(Topology):
    """A topology of which one `pktlb run` serves both families, each with backends of its own."""

    sides: tuple[Topology, ...] = ()

    def run_arguments(
        self, scheduler: str, weights: Mapping[str, int] | None = None, snat: str = ""
    ) -> list[str]:
        each = [side.run_arguments(scheduler, weights) for side in self.sides]
        start = each[0].index("--vip")
        services = [word for arguments in each for word in arguments[start:]]
        return [*each[0][:start], *services, *(["--snat", snat] if snat else [])]


def in_both(topology: Topology) -> DualStack:
    """A topology with IPv6 beside its IPv4, and a VIP of each."""
    other = in_ipv6(topology)
    every = {field.name: getattr(topology, field.name) for field in fields(topology)}
    both = {"build": other.build, "more_vips": (other.vip,), "ipv6": True}
    return DualStack(**every | both, sides=(topology, other))


def sides_of(topology: Topology) -> tuple[Topology, ...]:
    """The value of each family."""
    assert isinstance(topology, DualStack)
    return topology.sides


BOTH = {it.mode: in_both(it) for it in (nat.TOPOLOGY, dsr.TOPOLOGY, tunnel.TOPOLOGY)}
