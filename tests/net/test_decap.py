"""`pktlb decap`, the backend's end of a tunnel: it undoes all that it does, as `pktlb run`."""

import signal
from collections.abc import Iterator

import pytest

from netns import mixed, tunnel
from netns.host import Host, pktlb_command
from netns.lab import Lab
from netns.process import Process
from netns.waiting import wait_until
from tests.net.world import CURL, World, serving, start_all

VIP = "10.0.2.100"


@pytest.fixture
def bare() -> Iterator[World]:
    """The topology of a tunnel with nothing running on its backend a."""
    with serving(tunnel.TOPOLOGY, without=["a"]) as world:
        yield world


@pytest.fixture
def both() -> Iterator[Lab]:
    """Backends of one family each, a of IPv4 and c of IPv6, that unwrap nothing yet."""
    with mixed.TOPOLOGY.laboratory() as lab:
        mixed.build(lab)
        start_all(lab, mixed.TOPOLOGY.servers())
        yield lab


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_undoes_everything(bare: World, ending: signal.Signals) -> None:
    backend = bare.lab.hosts["a"]
    before = backend.state()
    decap = backend.pktlb("decap", "--vip", VIP, "--vip", "192.0.2.1")
    assert decap.stdout == f"pktlb: ready vips={VIP},192.0.2.1\n"
    backend.serve(80)
    bare.balance()
    assert bare.answers(6) == {"a": 2, "b": 2, "c": 2}
    assert decap.stop(ending) == 0
    assert backend.state() == before


@pytest.mark.parametrize("name", ["a", "c"])
def test_decap_unwraps_each_family_out_of_each_and_undoes_everything(both: Lab, name: str) -> None:
    backend = both.hosts[name]
    before = backend.state()
    vips = ("10.0.2.100", "fd02::100")
    decap = backend.pktlb("decap", "--vip", vips[0], "--vip", vips[1])
    assert decap.stdout == f"pktlb: ready vips={','.join(vips)}\n"
    to = ("--backend", mixed.BACKENDS[name])
    both.hosts["balancer"].pktlb(
        *("run", "--mode", "tunnel", "--vip", "10.0.2.100:80", *to),
        *("--vip", "[fd02::100]:80", *to),
    )
    for url in ("http://10.0.2.100", "http://[fd02::100]"):
        answer = both.hosts["client"].run(*CURL, url).stdout
        assert answer.startswith(f"{name} ")
    assert decap.stop() == 0
    assert backend.state() == before


def test_a_backend_does_not_answer_neighbour_discovery_for_the_vip(both: Lab) -> None:
    """So there is nothing to warn of, other than with ARP. The kernel would answer only for an
    address of the interface itself."""
    router, backend = both.hosts["router"], both.hosts["c"]
    decap = backend.pktlb("decap", "--vip", "fd03::100")
    assert "fd03::100" not in decap.stderr
    asked = router.run("ping", "-c", "1", "-W", "1", "fd03::100", check=False)
    assert asked.returncode != 0
    assert decap.stop() == 0
    backend.address("eth0", "fd03::100/128")

    def answers() -> bool:
        return router.run("ping", "-c", "1", "-W", "1", "fd03::100", check=False).returncode == 0

    wait_until(answers, 10, "the address on the interface answers")


def test_after_a_crash_nothing_is_left_and_the_next_start_works(bare: World) -> None:
    backend = bare.lab.hosts["a"]
    before = backend.state()
    backend.pktlb("decap", "--vip", VIP).kill()
    assert backend.state() == before
    decap = backend.pktlb("decap", "--vip", VIP)
    backend.serve(80)
    bare.balance()
    assert bare.answers(6) == {"a": 2, "b": 2, "c": 2}
    assert decap.stop() == 0
    assert backend.state() == before


def test_a_second_pktlb_is_refused_and_does_not_disturb_the_first(tunnel_world: World) -> None:
    tunnel_world.balance()
    second = run(tunnel_world.lab.hosts["a"], "decap", "--vip", VIP)
    assert second[0] == 3
    assert "another `pktlb decap` runs in this network namespace: process " in second[1]
    assert tunnel_world.answers(6) == {"a": 2, "b": 2, "c": 2}


def test_decap_unwraps_nothing_for_other_addresses(bare: World) -> None:
    """A packet inside that is for no VIP is dropped and counted."""
    backend = bare.lab.hosts["a"]
    decap = backend.pktlb("decap", "--vip", "192.0.2.1")
    backend.serve(80)
    bare.balancer.pktlb("run", "--mode", "tunnel", "--vip", f"{VIP}:80", "--backend", "10.0.3.11")
    hopeless = bare.client.run("curl", "-s", "-m", "1", bare.url, check=False)
    assert hopeless.returncode == 28
    assert decap.stop() == 0
    assert "NOT_OURS" in decap.stderr
    assert "UNWRAPPED" not in decap.stderr


def test_decap_can_run_beside_a_balancer_on_one_machine(bare: World) -> None:
    """A backend may be a balancer of another service."""
    backend = bare.lab.hosts["a"]
    before = backend.state()
    both: list[Process] = [
        backend.pktlb("decap", "--vip", VIP),
        backend.pktlb("run", "--mode", "nat", "--vip", "10.0.3.100:80", "--backend", "10.0.3.12"),
    ]
    backend.serve(80)
    bare.balance()
    assert bare.answers(6) == {"a": 2, "b": 2, "c": 2}
    assert [it.stop() for it in both] == [0, 0]
    assert backend.state() == before


def test_decap_warns_of_a_backend_that_would_answer_arp_for_the_vip(bare: World) -> None:
    decap = bare.lab.hosts["a"].pktlb("decap", "--vip", "10.0.3.100")
    assert "eth0 answers ARP for 10.0.3.100" in decap.stderr
    assert "arp_ignore=1" in decap.stderr


def test_pktlb_warns_of_a_strict_reverse_path_filter(bare: World) -> None:
    backend = bare.lab.hosts["a"]
    backend.sysctl("net.ipv4.conf.all.rp_filter", "1")
    decap = backend.pktlb("decap", "--vip", VIP)
    assert "net.ipv4.conf.all.rp_filter is 1 (strict)" in decap.stderr


def test_decap_works_with_the_loose_filter_of_a_distribution(bare: World) -> None:
    backend = bare.lab.hosts["a"]
    for key in ("all", "default", "eth0"):
        backend.sysctl(f"net.ipv4.conf.{key}.rp_filter", "2")
    backend.pktlb("decap", "--vip", VIP)
    backend.serve(80)
    bare.balance()
    assert bare.answers(6) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--vip"),
        (("--vip", "10.0.2.300"), "--vip 10.0.2.300: expected an address"),
        (("--vip", "10.0.2.100:80"), "--vip 10.0.2.100:80: expected an address"),
        (("--vip", "[2001:db8::1]:80"), "--vip [2001:db8::1]:80: expected an address"),
        (("--vip", "fe80::1"), "--vip fe80::1: expected the address of a host"),
        (("--vip", "224.0.0.1"), "--vip 224.0.0.1: expected the address of a host"),
        (("--vip", VIP, "--mode", "nat"), "--mode nat"),
    ],
    ids=str,
)
def test_a_bad_flag_ends_decap_with_status_2_and_one_line(
    bare: World, arguments: tuple[str, ...], expected: str
) -> None:
    status, complaint = run(bare.lab.hosts["a"], "decap", *arguments)
    assert status == 2
    assert expected in complaint
    assert complaint.count("\n") == 1


def run(host: Host, *arguments: str) -> tuple[int, str]:
    """Status and complaint of a pktlb that ends by itself."""
    done = host.run(*pktlb_command(*arguments), timeout=20, check=False)
    return done.returncode, done.stderr
