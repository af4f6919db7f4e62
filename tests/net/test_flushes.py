"""Other programs flush the ruleset while connections open, run and end: none of them notices."""

import json
import signal

import pytest

from netns.process import Process
from netns.server import sha256_of_bytes
from netns.waiting import wait_until
from pktlb.host.guard import KEPT, ORDINARY
from tests.net.world import CURL, World

SIZE = 20_000_000
FIREWALL = "flush ruleset\nadd table inet filter\nadd chain inet filter input\n"
FLUSH = "nft flush ruleset"
HARMS = {
    "delete": f"nft delete table {ORDINARY.name} 2>/dev/null || true",
    "reload": f"printf '{FIREWALL}' | nft -f -",
}
REQUESTS = 20
"In one curl, each over a connection of its own."


def test_three_flushes_in_a_row_break_no_connection(world: World) -> None:
    balancer = world.balance()
    download, requests = traffic(world, seconds=3)
    world.balancer.run("sh", "-c", "nft flush ruleset; nft flush ruleset; nft flush ruleset")
    balancer.wait_for(f"the nftables table {ORDINARY.name} was changed; putting it back")
    assert_nothing_broke(download, requests)
    wait_until(lambda: names(world) == [ORDINARY.name, KEPT.name], 5, "both tables")
    assert KEPT.name not in balancer.stderr


def test_twenty_flushes_a_second_break_no_connection(world: World) -> None:
    assert_harmless(world, FLUSH)


@pytest.mark.parametrize("harm", HARMS)
def test_a_table_that_is_deleted_again_and_again_breaks_no_connection(
    dsr_world: World, harm: str
) -> None:
    assert_harmless(dsr_world, HARMS[harm])


def assert_harmless(world: World, command: str) -> None:
    """A command that runs a hundred times within some five seconds breaks no connection."""
    balancer = world.balance()
    download, requests = traffic(world, seconds=6)
    world.balancer.run("sh", "-c", f"for i in $(seq 100); do {command}; sleep 0.05; done")
    assert_nothing_broke(download, requests)
    wait_until(lambda: ORDINARY.name in names(world), 5, "the ordinary table")
    assert KEPT.name not in balancer.stderr
    assert balancer.stop() == 0
    assert ORDINARY.name not in names(world)


def test_the_kept_table_goes_with_the_process_and_the_ordinary_one_only_at_a_stop(
    world: World,
) -> None:
    before = world.balancer.state()
    balancer = world.balance()
    assert names(world) == [ORDINARY.name, KEPT.name]
    balancer.kill()
    wait_until(lambda: names(world) == [ORDINARY.name], 5, "the kept table is gone")
    balancer = world.balance()
    assert names(world) == [ORDINARY.name, KEPT.name]
    assert sum(world.answers(6).values()) == 6
    assert balancer.stop(signal.SIGTERM) == 0
    assert world.balancer.state() == before


def test_a_restart_makes_a_kept_table_of_its_own(world: World) -> None:
    balancer = world.balance()
    world.balancer.ask("restart")
    balancer.wait_for("flows taken over")
    wait_until(lambda: names(world) == [ORDINARY.name, KEPT.name], 5, "both tables")
    download, requests = traffic(world, seconds=2)
    world.balancer.run("sh", "-c", "nft flush ruleset; nft flush ruleset; nft flush ruleset")
    assert_nothing_broke(download, requests)
    assert balancer.stop() == 0
    assert names(world) == []


def traffic(world: World, seconds: int) -> tuple[Process, Process]:
    """A download and short requests that run for some seconds; both have begun."""
    rate = SIZE // seconds
    curl = f"{' '.join(CURL)} --limit-rate {rate} {world.url}/bytes/{SIZE}"
    download = world.client.start("sh", "-c", f"echo begun; {curl} | sha256sum", ready="begun")
    urls = " ".join([world.url] * REQUESTS)
    loop = (
        f"end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do "
        f"{' '.join(CURL)} --fail-early -H 'Connection: close' {urls} || exit 1; done"
    )
    return download, world.client.start("sh", "-c", loop, ready="->")


def assert_nothing_broke(download: Process, requests: Process) -> None:
    assert requests.wait(30) == 0, requests.stderr
    assert download.wait(30) == 0, download.stderr
    assert sha256_of_bytes(SIZE) in download.stdout, download.stderr


def names(world: World) -> list[str]:
    """The tables of the family netdev, sorted."""
    listed = world.balancer.run("nft", "--json", "list", "tables", "netdev").stdout
    tables = [item["table"]["name"] for item in json.loads(listed)["nftables"] if "table" in item]
    return sorted(f"netdev {name}" for name in tables)
