"""A machine that is not ready yet, or not ready for a while: pktlb starts, waits and follows."""

from collections.abc import Iterator, Sequence

import pytest

from netns import nat
from netns.host import pktlb_command
from netns.lab import Lab
from netns.process import Process
from netns.waiting import wait_until

CURL = ("curl", "-sf", "--max-time", "2")
URL = nat.TOPOLOGY.url


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The topology of mode nat, with its servers at work and no balancer."""
    with Lab("pending") as lab:
        nat.build(lab)
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        yield lab


def start(lab: Lab, *more: str) -> Process:
    return lab.hosts["gw"].pktlb(*nat.TOPOLOGY.run_arguments("rr"), *more)


def start_with_file(lab: Lab, interfaces: Sequence[str] = ()) -> Process:
    """As at boot, when the file is right and the machine is not ready."""
    listed = ", ".join(f'"{name}"' for name in interfaces)
    backends = "".join(
        f'[[service.backend]]\naddress = "{a}:8080"\n' for a in nat.BACKENDS.values()
    )
    file = lab.directory / "pktlb.toml"
    file.write_text(
        f'[balancer]\ninterfaces = [{listed}]\n[[service]]\nvip = "{nat.TOPOLOGY.vip}"\n'
        f'mode = "nat"\n{backends}'
    )
    return lab.hosts["gw"].start(*pktlb_command("run", "-c", str(file)), ready="pktlb: ready")


def serves(lab: Lab, count: int = 6) -> set[str]:
    """Who answers `count` requests in a row; empty where one fails."""
    client = lab.hosts["client"]
    done = [client.run(*CURL, URL, check=False) for _ in range(count)]
    return set() if any(each.returncode for each in done) else {each.stdout[:1] for each in done}


def test_a_backend_without_a_route_holds_up_no_start(lab: Lab) -> None:
    process = start(lab, "--backend", "10.9.0.5:8080")
    process.wait_for("backend 10.9.0.5:8080: expected an address that this machine has a route to")
    assert "backends=3/4" in process.stdout
    assert serves(lab) == {"a", "b", "c"}


def test_a_backend_is_used_as_soon_as_it_has_a_route(lab: Lab) -> None:
    process = start(lab, "--backend", "10.9.0.5:8080")
    lab.hosts["a"].address("eth0", "10.9.0.5/32")
    lab.hosts["gw"].run("ip", "route", "add", "10.9.0.5", "via", "10.0.2.11")
    process.wait_for("backend 10.9.0.5:8080: pending no more")
    process.wait_for("backend 10.9.0.5 is reachable")
    assert process.stop() == 0


def test_a_network_that_comes_after_the_start_is_taken_into_use(lab: Lab) -> None:
    """At boot: the links are there and down, and have no addresses as yet."""
    gw = lab.hosts["gw"]
    for name in ("wan", "lan"):
        gw.run("ip", "address", "flush", "dev", name)
        gw.run("ip", "link", "set", name, "down")
    process = start_with_file(lab)
    process.wait_for("vip 10.0.1.100: no interface has an address in its network")
    for name, address in (("lan", "10.0.2.1/24"), ("wan", "10.0.1.1/24")):
        gw.run("ip", "link", "set", name, "up")
        gw.address(name, address)
    wait_until(lambda: serves(lab) == {"a", "b", "c"}, 15, "the service begins")
    assert process.stop() == 0
    assert "10.0.1.100" not in gw.state()


def test_an_interface_that_comes_after_the_start_is_taken_into_use(lab: Lab) -> None:
    gw = lab.hosts["gw"]
    gw.run("ip", "link", "set", "lan", "name", "later")
    process = start_with_file(lab, ["wan", "lan"])
    process.wait_for("interface lan: expected an interface of this machine (")
    gw.run("ip", "link", "set", "later", "name", "lan")
    wait_until(lambda: serves(lab) == {"a", "b", "c"}, 15, "the service begins")
    assert process.stop() == 0


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
@pytest.mark.parametrize("name", ["wan", "lan"])
def test_an_interface_that_is_renamed_goes_on(lab: Lab, name: str, named: bool) -> None:
    gw = lab.hosts["gw"]
    process = start(lab, *(["--interface", "wan", "--interface", "lan"] if named else []))
    assert serves(lab) == {"a", "b", "c"}
    gw.run("ip", "link", "set", name, "name", "inside")
    process.wait_for(f"interface {name} is called inside now")
    wait_until(lambda: serves(lab) == {"a", "b", "c"}, 10, "the service goes on")
    assert "inside" in gw.run("nft", "list", "table", "netdev", "pktlb").stdout
    assert gw.ask("restart").stdout
    wait_until(lambda: process.stdout.count("pktlb: ready") == 2, 15, "it has restarted")
    wait_until(lambda: serves(lab) == {"a", "b", "c"}, 10, "the service goes on")
    assert process.stop() == 0


def test_a_restart_while_an_interface_is_gone(lab: Lab) -> None:
    gw = lab.hosts["gw"]
    process = start(lab, "--interface", "wan", "--interface", "lan")
    gw.run("ip", "link", "del", "wan")
    process.wait_for("interface wan is gone")
    assert "restarted" in gw.ask("restart").stdout
    wait_until(lambda: process.stdout.count("pktlb: ready") == 2, 15, "it has restarted")
    process.wait_for("interface wan: expected an interface of this machine (")
    client = lab.hosts["client"]
    lab.link(client, "eth0", gw, "wan")
    client.address("eth0", "10.0.1.2/24")
    client.route("default", via="10.0.1.1")
    gw.address("wan", "10.0.1.1/24")
    wait_until(lambda: serves(lab) == {"a", "b", "c"}, 15, "the service goes on")
    assert process.stop() == 0
    assert "10.0.1.100" not in gw.state()


def direct(lab: Lab) -> bool:
    """Whether a backend is reached past the service: the kernel is given back its replies."""
    return lab.hosts["client"].run(*CURL, "http://10.0.2.11:8080", check=False).returncode == 0


def test_the_tun_device_is_made_anew(lab: Lab) -> None:
    gw = lab.hosts["gw"]
    process = start(lab)
    assert direct(lab)
    for _ in range(2):
        gw.run("ip", "link", "del", "pktlb")
        process.wait_for("the TUN device pktlb was deleted; making it anew")
        wait_until(lambda: direct(lab), 10, "packets are given back")
    assert serves(lab) == {"a", "b", "c"}
    gw.run("ip", "link", "del", "pktlb")
    assert "restarted" in gw.ask("restart").stdout
    wait_until(lambda: process.stdout.count("pktlb: ready") == 2, 15, "it has restarted")
    wait_until(lambda: direct(lab) and bool(serves(lab)), 10, "both ways work")
    assert process.stop() == 0
