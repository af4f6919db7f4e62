"""Disturbances by administrators and terminals: pktlb goes on, or ends cleanly."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Final

import pytest

from netns.host import pktlb_command
from netns.waiting import wait_until
from tests.net.world import World

TABLE: Final = ("nft", "--json", "list", "tables", "netdev")
NFT_LIST: Final = ("nft", "--stateless", "list", "table", "netdev", "pktlb")
FIREWALL: Final = """
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        iifname { "lan", "lo" } accept
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        iifname "wan" oifname "lan" accept
        iifname { "lan", "pktlb" } oifname "wan" accept
    }
}
"""


@pytest.mark.parametrize("harm", ["flush ruleset", "delete table netdev pktlb",
                                  "flush chain netdev pktlb held"])  # fmt: skip
def test_a_ruleset_that_is_flushed_gets_its_guard_back(world: World, harm: str) -> None:
    balancer = world.balance()
    world.answers(3)
    rules = listed(world)
    world.balancer.run("nft", *harm.split())
    balancer.wait_for("the nftables table netdev pktlb was changed; putting it back")
    wait_until(lambda: listed(world) == rules, 5, "the guard is back")
    assert sum(world.answers(9).values()) == 9
    world.balancer.run("nft", "add table inet others")
    assert balancer.stop() == 0
    assert balancer.stderr.count("putting it back") == 1
    tables = json.loads(world.balancer.run(*TABLE).stdout)["nftables"]
    assert not [item for item in tables if "table" in item]


@pytest.mark.parametrize("harm", ["flush ruleset", "flush chain netdev pktlb held"])
def test_a_change_of_the_guard_right_after_it_was_put_in_place_is_noticed(
    dsr_world: World, tmp_path: Path, harm: str
) -> None:
    """A wrapper of nft does the harm once, between two calls of pktlb."""
    done, nft = tmp_path / "done", tmp_path / "nft"
    real = shutil.which("nft")
    nft.write_text(
        f'#!/bin/sh\n{real} "$@" || exit $?\n'
        f'test "$1" != -f || test -e {done} || {{ touch {done}; {real} {harm}; }}\n'
    )
    nft.chmod(0o755)
    path = f"PATH={tmp_path}:{os.environ['PATH']}"
    command = ("env", path, *pktlb_command(*dsr_world.arguments()))
    dsr_world.balancer.start(*command, ready="pktlb: ready")

    def whole() -> bool:
        listing = listed(dsr_world)
        return "drop" in listing and "jump held4" in listing

    wait_until(whole, 5, "the guard is back")
    assert done.exists()
    assert sum(dsr_world.answers(6).values()) == 6


def test_pktlb_serves_while_a_firewall_is_reloaded_again_and_again(world: World) -> None:
    balancer = world.balance()
    for _ in range(20):
        world.balancer.run("nft", "flush", "ruleset")
        balancer.wait_for("putting it back")
    wait_until(lambda: "drop" in listed(world), 5, "the guard is back")
    assert sum(world.answers(6).values()) == 6


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGQUIT])
def test_a_terminal_that_goes_away_leaves_nothing_behind(
    nat_world: World, ending: signal.Signals
) -> None:
    before = nat_world.balancer.state()
    assert nat_world.balance().stop(ending) == 0
    assert nat_world.balancer.state() == before


@pytest.mark.parametrize("output", ["| true", ">/dev/full", ">&-"])
def test_pktlb_serves_though_its_standard_output_is_closed(nat_world: World, output: str) -> None:
    command = " ".join(pktlb_command(*nat_world.arguments()))
    nat_world.balancer.start("sh", "-c", f"{command} {output}")
    nat_world.serves_again(10, "it serves all the same")


def test_too_low_a_limit_of_files_is_one_line(nat_world: World) -> None:
    command = " ".join(pktlb_command(*nat_world.arguments()))
    done = nat_world.balancer.run("sh", "-c", f"ulimit -n 9; {command}", check=False)
    assert done.returncode == 3
    assert done.stderr == "pktlb: cannot run nft: Too many open files\n"


def test_the_gateway_s_own_connections_need_no_rule_in_its_firewall(nat_world: World) -> None:
    world = nat_world
    world.balancer.run("sh", "-c", f"nft -f - <<'EOF'\n{FIREWALL}\nEOF")
    world.balance()
    assert sum(world.answers(6).values()) == 6
    direct = ("curl", "-sf", "--max-time", "3", "http://10.0.2.11:8080/")
    assert world.balancer.run(*direct).stdout.startswith("a 10.0.2.1:")
    assert world.client.run(*direct).stdout.startswith("a 10.0.1.2:")


def test_sigusr1_logs_what_became_of_all_frames(nat_world: World) -> None:
    world = nat_world
    balancer = world.balance()
    world.answers(3)
    probe = ("curl", "-s", "--max-time", "2", "http://10.0.2.11:8080/")
    assert world.client.run(*probe).stdout.startswith("a ")
    world.hang_up()
    balancer.send_signal(signal.SIGUSR1)
    balancer.wait_for("opened=3")
    counted = dict(word.split("=") for word in balancer.stderr.split() if "=" in word)
    assert int(counted["forwarded"]) > 3
    assert int(counted["returned"]) > 3
    assert int(counted["no_flow"]) > 1
    total = sum(int(counted[name]) for name in ("opened", "forwarded", "returned", "no_flow"))
    assert int(counted["frames"]) == total


@pytest.mark.load
def test_trouble_is_logged_with_a_sentence_soon(nat_world: World) -> None:
    world = nat_world
    for name in world.topology.backends:
        world.lab.hosts[name].run("ip", "link", "set", "eth0", "down")
    balancer = world.balance()
    asked = world.client.run("curl", "-s", "--max-time", "2", world.url, check=False)
    assert asked.returncode == 7  # refused at once, by the ICMP message
    balancer.wait_for("NO_BACKEND: no backend takes new flows", timeout=15)


def test_a_start_without_ports_for_snat_says_so(nat_world: World) -> None:
    nat_world.balancer.run("sysctl", "-w", "net.ipv4.ip_local_port_range=1024 65535")
    done = nat_world.try_pktlb(*nat_world.arguments("--snat", "10.0.2.1"))
    assert done.returncode == 2
    assert "net.ipv4.ip_local_port_range is 1024 65535" in done.stderr


def test_snat_avoids_the_ports_of_old_connections_after_a_restart(nat_world: World) -> None:
    """The server closes first, so it remembers the ports of its connections (TIME_WAIT)."""
    for _ in range(3):
        balancer = nat_world.balance("--snat", "10.0.2.1")
        assert len(nat_world.ask(20, "", "--max-time", "1")) == 20
        assert balancer.stop() == 0


def listed(world: World) -> str:
    """The ordinary table of the guard; empty where there is none."""
    return world.balancer.run(*NFT_LIST, check=False).stdout
