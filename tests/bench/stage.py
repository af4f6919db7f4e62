"""The network that everything is measured in: a client, a gateway, and a host with three servers.

    client 10.0.1.2 ---- 10.0.1.1 gateway 10.0.2.1 ---- servers 10.0.2.11, .12, .13
    (core 1)             VIP 10.0.1.100 (core 0)        (core 1)

The servers are three addresses of one host: what is compared is the gateway, and a switch and two
more hosts would only add work that is the same for all. One gateway for each contender: they stand
side by side, and those whose turn it is not have nothing to do. All of it has IPv6 addresses, too:
fd00:1::2, fd00:1::100, fd00:2::11 and so on.
"""

from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple, Self

from netns.host import Host
from netns.lab import Lab
from tests.bench import core


class Net(NamedTuple):
    """The addresses of one family."""

    client: str
    wan: str
    vip: str
    lan: str
    servers: tuple[str, str, str]
    link: int
    "Length of the prefix of either link."
    host: int
    "That of a single address."
    flood_source: str
    "The first of those that frames come from which no host has sent."
    http_source: str
    http_prefix: int
    sources: str
    "All of those two."
    default: str

    @property
    def family(self) -> str:
        """As nftables calls it."""
        return "ip" if self.host == 32 else "ip6"

    def end(self, address: str) -> str:
        """An address with the port."""
        return f"{address}:{PORT}" if self.host == 32 else f"[{address}]:{PORT}"


PORT: Final = 8080
"Of the VIP and of the servers: two of the modes do not change it."
IPV4: Final = Net(
    client="10.0.1.2", wan="10.0.1.1", vip="10.0.1.100", lan="10.0.2.1",
    servers=("10.0.2.11", "10.0.2.12", "10.0.2.13"), link=24, host=32,
    flood_source="10.16.0.0", http_source="10.17.0.0", http_prefix=24, sources="10.16.0.0/15",
    default="default",
)  # fmt: skip
IPV6: Final = Net(
    client="fd00:1::2", wan="fd00:1::1", vip="fd00:1::100", lan="fd00:2::1",
    servers=("fd00:2::11", "fd00:2::12", "fd00:2::13"), link=64, host=128,
    flood_source="fd00:10::", http_source="fd00:11::", http_prefix=120, sources="fd00:10::/31",
    default="::/0",
)  # fmt: skip
HTTP_SOURCES: Final = 64
"Client addresses, more than one so that 64,512 ports are not all there is."

PORTS: Final = "1024 65535"
BACKLOG: Final = "8192"


class Receiving(Enum):
    """How the gateway's receiving gets onto the balancer's core.

    Left alone, a veth does it in the context of the sender, on the core of the load.
    """

    THREADS = "NAPI threads: their time is counted exactly, but a sender has to segment itself"
    STEERED = "receive packet steering: offloaded frames of 64 KiB stay whole"


class Stage:
    """One gateway with its client and servers, for the length of a `with` block."""

    def __init__(self) -> None:
        self._lab = Lab("bench", ipv6=True)
        self.client: Host
        self.gateway: Host
        self.servers: Host
        self.wan = self.lan = self.client_if = self.servers_if = ""
        "Names of interfaces; no other laboratory has the same ones, see `core.give_thread`."

    def __enter__(self) -> Self:
        lab = self._lab.__enter__()
        tag = lab.name.removeprefix(f"{lab.kind}-")
        self.client, self.gateway, self.servers = map(lab.host, ("client", "gateway", "servers"))
        self.client_if, self.servers_if = f"c{tag}", f"s{tag}"
        self.wan, self.lan = f"w{tag}", f"l{tag}"
        lab.link(self.client, self.client_if, self.gateway, self.wan)
        lab.link(self.gateway, self.lan, self.servers, self.servers_if)
        for net in (IPV4, IPV6):
            self._address(net)
        self.gateway.forwards()
        self.client.sysctl("net.ipv6.ip_nonlocal_bind", "1")  # a local route does for IPv4 only
        for host in (self.client, self.gateway, self.servers):
            host.sysctl("net.ipv4.ip_local_port_range", PORTS)
            host.sysctl("net.core.somaxconn", BACKLOG)
            host.sysctl("net.ipv4.tcp_max_syn_backlog", BACKLOG)
        return self

    def __exit__(self, *_: object) -> None:
        self._lab.close()

    def _address(self, net: Net) -> None:
        self.client.address(self.client_if, f"{net.client}/{net.link}")
        self.client.route(net.default, via=net.wan)
        local = f"{net.http_source}/{net.http_prefix}"
        self.client.run("ip", "route", "add", "local", local, "dev", "lo")
        self.gateway.address(self.wan, f"{net.wan}/{net.link}")
        self.gateway.address(self.lan, f"{net.lan}/{net.link}")
        self.gateway.route(net.sources, via=net.client)
        for address in net.servers:
            self.servers.address(self.servers_if, f"{address}/{net.link}")
        self.servers.route(net.default, via=net.lan)

    def file(self, name: str) -> Path:
        """Where something that runs on the gateway may keep a file; gone with the stage."""
        return self._lab.directory / name

    def receive(self, how: Receiving) -> list[int]:
        """Choose who does the gateway's receiving; return the kernel threads that do it."""
        if how is Receiving.STEERED:
            for ifname in (self.wan, self.lan):
                core.steer(self.gateway, ifname, core.BALANCER)
            return []
        segment_in_software(self.client, self.client_if)
        segment_in_software(self.servers, self.servers_if)
        return [
            core.give_thread(self.gateway, ifname, core.BALANCER) for ifname in (self.wan, self.lan)
        ]


def segment_in_software(host: Host, ifname: str) -> None:
    """A veth feeds its peer's NAPI only if it does no segmentation itself (veth_xmit)."""
    host.run("ethtool", "-K", ifname, "tso", "off")
