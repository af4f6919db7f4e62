"""The machine changes under pktlb: MACs, neighbours, backends that come and go, addresses, MTUs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from netns.host import Host
from netns.server import blocks, sha256_of_bytes
from netns.waiting import wait_until
from tests.net.conftest import MODES
from tests.net.topologies import BOTH
from tests.net.world import EACH_ALONE, World, serving

ON_LINK = pytest.mark.parametrize("world", ["nat", "dsr"], indirect=True)
"In a tunnel the next hop is a router, which stays when a backend goes."

NEW_MAC = "02:00:00:00:aa:aa"
SIZE = 5_000_000

GIVEN_UP = re.compile(r"^(\S+) .*FAILED", re.MULTILINE)
"Addresses in the output of `ip monitor neigh`."

BROADCAST_ONLY = """
table netdev deaf {
chain in {
    type filter hook ingress device eth0 priority 0
    arp operation request ether daddr != ff:ff:ff:ff:ff:ff drop
    icmpv6 type nd-neighbor-solicit ip6 daddr != ff00::/8 drop
}
}
"""


@pytest.mark.parametrize(
    ("world", "announced", "patience"),
    [("nat", "1", 3), ("dsr", "1", 3), ("dsr", "0", 14)],
    indirect=["world"],
)
def test_a_backend_that_changes_its_mac_is_found_again(
    world: World, announced: str, patience: float
) -> None:
    """At once if the backend announces it (gratuitous ARP), else at the next check."""
    backend = world.lab.hosts["a"]
    backend.sysctl("net.ipv4.conf.eth0.arp_notify", announced)
    balancer = world.balance()
    world.ask(3)
    backend.run("ip", "link", "set", "eth0", "address", NEW_MAC)
    world.serves_again(patience, "the new MAC is known")
    even = {"a": 2, "b": 2, "c": 2}  # the others have served meanwhile
    wait_until(lambda: world.answers(6) == even, patience, "it has its share again")
    assert balancer.status is None


def test_a_flushed_neighbour_table_loses_nothing(world: World) -> None:
    balancer = world.balance()
    urls = [f"{world.url}/bytes/1000"] * 300
    load = world.client.start(
        "curl", "--silent", "--show-error", "--fail", "--max-time", "20", *EACH_ALONE,
        "--write-out", "%{stderr}%{time_total}\n", *urls,
    )  # fmt: skip
    flushes = 0
    while load.status is None:
        world.balancer.run("ip", "neigh", "flush", "all")
        flushes += 1
    assert load.status == 0
    times = [float(line) for line in load.stderr.splitlines()]
    assert len(times) == len(urls)
    assert max(times) < 0.9  # a lost packet would be sent again after 1 s (SYN) or 0.2 s
    assert flushes > 10
    assert balancer.stop() == 0
    assert "NO_NEXT_HOP" not in balancer.stderr


def test_a_backend_that_answers_no_question_to_its_last_mac_keeps_its_traffic() -> None:
    """In an overload questions or answers are lost, and the kernel gives up after three."""
    with serving(BOTH["nat"]) as world:
        balancer = world.balance()
        for backend in world.backends:
            backend.rules(BROADCAST_ONLY)
        watch = world.balancer.start("ip", "monitor", "neigh")

        def kernel_gave_all_up() -> bool:
            for url in world.topology.urls:
                assert world.answers(3, url) == {"a": 1, "b": 1, "c": 1}
            return len(set(GIVEN_UP.findall(watch.stdout))) == 2 * len(world.backends)

        wait_until(kernel_gave_all_up, 12, "the backends' addresses in both families have failed")
        world.serves_again(1, "they are found again")
        assert balancer.stop() == 0
        for trouble in ("cannot be reached", "NO_NEXT_HOP", "NO_BACKEND"):
            assert trouble not in balancer.stderr


@pytest.mark.parametrize("world", ["nat"], indirect=True)
def test_a_neighbour_that_is_set_by_hand_is_left_alone(world: World) -> None:
    """The others are asked for every few seconds. When they have been, this one has not."""
    ifname = list(world.balancer.macs)[-1]
    fixed = world.lab.hosts["a"].macs["eth0"]
    neighbour = ("10.0.2.11", "lladdr", fixed, "dev", ifname, "nud", "permanent")
    world.balancer.run("ip", "neigh", "replace", *neighbour)
    world.balance()
    capture = world.balancer.capture(ifname, "arp[6:2] = 1 and arp[24:4] = 0x0a00020c")  # for b
    wait_until(lambda: capture.file.stat().st_size > 40, 10, "the second backend is asked")
    shown = world.balancer.run("ip", "neigh", "show", "10.0.2.11").stdout
    assert shown.split()[-1] == "PERMANENT"
    assert world.answers(3) == {"a": 1, "b": 1, "c": 1}


@ON_LINK
def test_a_backend_that_is_not_there_yet_takes_no_traffic_until_it_appears(world: World) -> None:
    late = world.lab.hosts["c"]
    route = switch_off(late)
    balancer = world.balance()
    assert "backends=2/3" in balancer.stdout
    assert world.answers(6) == {"a": 3, "b": 3}
    switch_on(late, route)
    wait_until(lambda: world.answers(3)["c"], 15, "the third backend is taken in")
    assert world.answers(6) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize("world", ["nat"], indirect=True)
def test_a_backend_that_goes_away_takes_no_new_connections(world: World) -> None:
    balancer = world.balance()
    leaving = world.lab.hosts["c"]
    route = switch_off(leaving)
    world.serves_again(15, "connections go to the others only")
    assert world.answers(6) == {"a": 3, "b": 3}
    assert "backend 10.0.2.13 cannot be reached" in balancer.stderr
    switch_on(leaving, route)
    wait_until(lambda: world.answers(3)["c"], 15, "it is back")


@pytest.mark.parametrize("world", ["nat"], indirect=True)
@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_after_the_link_was_down_backends_are_asked_for_at_once(
    world: World, pause_s: float
) -> None:
    """Not only at the next check of all neighbours, which is every five seconds."""
    world.balance()
    assert world.answers(3) == {"a": 1, "b": 1, "c": 1}
    ifname = list(world.balancer.macs)[-1]
    for _ in range(3):
        line = f"ip link set {ifname} down; sleep {pause_s}; ip link set {ifname} up"
        world.balancer.run("sh", "-c", line)
        world.serves_again(3.5, "the backends are found again")


@ON_LINK
def test_without_any_backend_a_client_is_refused_at_once(world: World) -> None:
    for backend in world.backends:
        switch_off(backend)
    balancer = world.balance()
    assert "backends=0/3" in balancer.stdout
    refused = world.client.run("curl", "-s", "-m", "5", world.url, check=False)
    assert refused.returncode == 7
    assert balancer.stop() == 0
    assert "NO_BACKEND" in balancer.stderr


def test_a_vip_that_is_removed_by_hand_comes_back(world: World) -> None:
    before = world.balancer.state()
    balancer = world.balance()
    address, _ = world.vip
    (home,) = [it for it in world.balancer.macs if address in addresses(world.balancer, it)]
    world.balancer.run("ip", "address", "del", f"{address}/32", "dev", home)
    wait_until(lambda: address in addresses(world.balancer, home), 5, "the VIP is back")
    assert world.answers(3) == {"a": 1, "b": 1, "c": 1}
    assert balancer.stop() == 0
    assert world.balancer.state() == before


def test_the_tunnel_follows_a_change_of_the_mtu(tunnel_world: World, tmp_path: Path) -> None:
    world = tunnel_world
    world.balance()
    for host, ifname in (("balancer", "eth0"), ("router", "front")):
        world.lab.hosts[host].run("ip", "link", "set", ifname, "mtu", "1400")
    assert world.upload(make_file(tmp_path)) == sha256_of_bytes(SIZE)
    assert "mtu 1380" in world.client.run("ip", "route", "get", world.vip[0]).stdout


def test_nat_follows_a_change_of_the_mtu(nat_world: World, tmp_path: Path) -> None:
    """As soon as pktlb is told of it; until then offloaded segments pass as before."""
    world, file = nat_world, make_file(tmp_path)
    world.balance()
    world.balancer.run("ip", "link", "set", "lan", "mtu", "1300")

    def client_knows() -> bool:
        assert world.upload(file) == sha256_of_bytes(SIZE)
        return "mtu 1300" in world.client.run("ip", "route", "get", world.vip[0]).stdout

    wait_until(client_knows, 10, "the client has been told")


@pytest.mark.parametrize("mode", MODES)
def test_an_interface_that_goes_down_and_up_serves_again(mode: str) -> None:
    with serving(MODES[mode]) as world:
        balancer = world.balance()
        ifname = list(world.balancer.macs)[-1]
        route = switch_off(world.balancer, ifname)
        switch_on(world.balancer, route, ifname)
        world.serves_again(15, "traffic flows again")
        assert balancer.status is None


@dataclass(frozen=True, slots=True)
class Cable:
    """The balancer's last interface, and its other end."""

    ifname: str
    address: str
    other: str
    other_ifname: str
    other_address: str = ""


CABLES = {
    "nat": Cable("lan", "10.0.2.1/24", "switch", "gw"),
    "dsr": Cable("eth0", "10.0.2.1/24", "switch", "balancer"),
    "tunnel": Cable("eth0", "10.0.2.1/24", "router", "front", "10.0.2.254/24"),
}


def test_an_interface_that_is_replaced_by_another_is_taken_in(world: World) -> None:
    """A driver that is loaded again makes such an interface: same name, same MAC."""
    before = world.balancer.state()
    balancer = world.balance()
    cable, gw = CABLES[world.topology.mode], world.balancer
    mac = gw.macs[cable.ifname]
    route = gw.run("ip", "route", "show", "default").stdout.strip()
    gw.run("ip", "link", "del", cable.ifname)
    other = world.lab.hosts[cable.other]
    world.lab.link(gw, cable.ifname, other, cable.other_ifname)
    gw.run("ip", "link", "set", cable.ifname, "address", mac)
    gw.address(cable.ifname, cable.address)
    if cable.other_address:
        other.address(cable.other_ifname, cable.other_address)
    if route:
        gw.run("ip", "route", "replace", *route.split())
    world.serves_again(15, "traffic flows again")
    assert balancer.stop() == 0
    assert set(gw.interfaces()) == {"lo", *gw.macs}
    assert "netdev pktlb" not in before + gw.state()


def switch_off(host: Host, ifname: str = "eth0") -> str:
    """Remove the interface; the default route, which goes with it."""
    route = host.run("ip", "route", "show", "default").stdout.strip()
    host.run("ip", "link", "set", ifname, "down")
    return route


def switch_on(host: Host, route: str, ifname: str = "eth0") -> None:
    host.run("ip", "link", "set", ifname, "up")
    if route:
        host.run("ip", "route", "replace", *route.split())


def addresses(host: Host, ifname: str) -> list[str]:
    links = json.loads(host.run("ip", "-json", "address", "show", "dev", ifname).stdout)
    return [address["local"] for link in links for address in link["addr_info"]]


def make_file(directory: Path) -> Path:
    file = directory / "payload"
    file.write_bytes(b"".join(blocks(SIZE)))
    return file
