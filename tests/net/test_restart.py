"""Restarts that are refused, and what a restart says it will do; removals that are given up."""

import json
import os
import signal
from pathlib import Path

import pytest

from netns.host import pktlb_command
from netns.waiting import wait_until
from tests.net.test_operating import service, start
from tests.net.test_removal import begun, talking
from tests.net.world import World, ask

EVEN = {"a": 2, "b": 2, "c": 2}
ALL = {"a": 1, "b": 1, "c": 1}

MISFITS = {
    "interface": ('interfaces = ["nope"]', ALL, "interface nope: expected an interface of"),
    "VIP's interface": ('vip_interface = "nope"', ALL, "vip_interface nope: expected an interface"),
}


def backend(world: World, name: str) -> str:
    """The JSON of the API."""
    web, *_ = ask(world.balancer, "status")["services"]
    of = world.topology.backends[name].partition(":")[0]
    (found,) = (b["address"] for b in web["backends"] if b["address"].startswith(f"{of}:"))
    return str(found)


@pytest.mark.parametrize(("setting", "weights", "complaint"), MISFITS.values(), ids=MISFITS.keys())
def test_a_file_that_does_not_fit_the_machine_is_refused_by_each_command(
    nat_world: World, file: Path, setting: str, weights: dict[str, int], complaint: str
) -> None:
    world = nat_world
    balancer = start(world, file, service(world, weights))
    good = file.read_text()
    file.write_text(good.replace("[balancer]\n", f"[balancer]\n{setting}\n"))
    for command in (
        ("plan", str(file)), ("reload", "--dry-run"), ("reload",), ("restart", "--dry-run"),
        ("restart",),
    ):  # fmt: skip
        done = world.balancer.ask(*command, check=False)
        assert done.returncode == 2, command
        assert complaint in done.stderr
    assert balancer.stdout.count("pktlb: ready") == 1
    assert world.answers(6) == EVEN


def test_a_backend_without_a_route_holds_up_no_restart(nat_world: World, file: Path) -> None:
    balancer = start(nat_world, file, service(nat_world, ALL))
    with file.open("a") as more:
        more.write('[[service.backend]]\naddress = "203.0.113.9:80"\n')
    assert "restarted" in nat_world.balancer.ask("restart").stdout
    wait_until(lambda: balancer.stdout.count("pktlb: ready") == 2, 15, "it has restarted")
    complaint = "backend 203.0.113.9:80: expected an address that this machine has a route to"
    assert complaint in balancer.stderr
    assert nat_world.answers(6) == EVEN


def test_a_next_process_that_cannot_read_the_file_goes_on_as_before(
    nat_world: World, file: Path
) -> None:
    """The file is right when the restart is tried, and wrong when the next process reads it."""
    balancer = start(nat_world, file, service(nat_world, ALL))
    bad = file.with_name("sitecustomize.py")
    bad.write_text(
        "import os\nif 'PKTLB_HANDOVER' in os.environ:\n"
        f"    with open({str(file)!r}, 'a') as file:\n        file.write('[[service')\n"
    )
    good = file.read_text()
    balancer.stop()
    balancer = nat_world.balancer.start(
        "env", f"PYTHONPATH={file.parent}:{Path(__file__).parents[2]}",
        *pktlb_command("run", "-c", str(file)), ready="pktlb: ready",
    )  # fmt: skip
    assert nat_world.balancer.ask("restart").stdout == "restarted\n"
    assert file.read_text() != good
    assert f"{file}:" in balancer.stderr
    assert "going on with the configuration of before" in balancer.stderr
    assert nat_world.answers(6) == EVEN
    assert balancer.stop() == 0


def test_a_restart_says_what_it_changes(nat_world: World, file: Path) -> None:
    """The next process reads the file: changes by commands are undone, and the restart says so."""
    world = nat_world
    balancer = start(world, file, service(world, ALL))
    address = backend(world, "a")
    world.balancer.ask("backend", "drain", "web", address)
    line = f"service web, backend {address}: drain true -> false"
    assert line in world.balancer.ask("restart", "--dry-run").stdout
    assert balancer.stdout.count("pktlb: ready") == 1
    assert world.balancer.ask("restart").stdout == f"{line}\nrestarted\n"
    assert balancer.stderr.count(line) == 1
    assert world.answers(6) == EVEN


def test_other_addresses_for_clients_end_their_connections_and_the_plan_says_so(
    nat_world: World, file: Path
) -> None:
    with talking(nat_world, file):
        file.write_text(
            file.read_text().replace("[balancer]\n", '[balancer]\nsnat = ["10.0.2.1"]\n')
        )
        plan = ask(nat_world.balancer, "plan", str(file))
        assert plan["lines"] == ["balancer: snat none -> 10.0.2.1"]
        assert (plan["flows_broken"], plan["restart"]) == (1, ["snat"])


def test_fewer_flows_than_there_are_and_the_plan_says_so(nat_world: World, file: Path) -> None:
    balancer = start(nat_world, file, service(nat_world, ALL))
    nat_world.answers(5)
    file.write_text(file.read_text().replace("[balancer]\n", "[balancer]\nmax_flows = 3\n"))
    assert ask(nat_world.balancer, "plan", str(file))["flows_broken"] == 2
    nat_world.balancer.ask("restart")
    assert "flows taken over: 3, as many as max_flows" in balancer.stderr


def test_a_backend_that_is_undrained_meanwhile_stays(nat_world: World, file: Path) -> None:
    world = nat_world
    curl, server, _ = begun(world, file, 4)
    address = backend(world, server)
    removal = world.balancer.start(
        *pktlb_command("backend", "remove", "web", address, "--drain", "--within", "60s")
    )
    wait_until(lambda: server not in world.answers(3), 10, "it is drained")
    world.balancer.ask("backend", "undrain", "web", address)
    assert removal.wait() == 1
    assert removal.stderr == (
        f"pktlb: backend {address} is not removed: it was undrained meanwhile\n"
    )
    wait_until(lambda: curl.status is not None, 20, "the download ends")
    assert curl.status == 0
    assert world.answers(6) == EVEN


def test_a_client_that_waits_for_a_removal_hears_of_a_restart(nat_world: World, file: Path) -> None:
    curl, server, address = begun(nat_world, file, 6)
    removal = nat_world.balancer.start(
        *pktlb_command("backend", "remove", "web", address, "--drain")
    )
    wait_until(lambda: server not in nat_world.answers(3), 10, "it is drained")
    nat_world.balancer.ask("restart")
    assert removal.wait() == 1
    assert removal.stderr == (
        f"pktlb: backend {address} is not removed: pktlb restarts, ask again\n"
    )
    wait_until(lambda: curl.status is not None, 20, "the download ends")
    assert curl.status == 0


def test_a_killed_flow_is_listed_and_not_killed_again(nat_world: World, file: Path) -> None:
    world = nat_world
    with talking(world, file):
        kill = ("flow", "kill", "--vip", f"{world.vip[0]}:{world.vip[1]}/tcp")
        assert world.balancer.ask(*kill).stdout == "1 flow ended\n"
        assert [each["state"] for each in ask(world.balancer, "flow", "list")["flows"]] == [
            "killed"
        ]
        assert ask(world.balancer, *kill)["killed"] == 0
    world.hang_up()


def test_a_monitor_goes_on_over_a_restart(nat_world: World, file: Path) -> None:
    start(nat_world, file, service(nat_world, ALL))
    monitor = nat_world.balancer.start(*pktlb_command("monitor", "--json"))
    address = nat_world.topology.backends["a"]

    def has_seen(kind: str) -> bool:
        return kind in [json.loads(line)["kind"] for line in monitor.stdout.splitlines()]

    def drained() -> bool:
        nat_world.balancer.ask("backend", "drain", "web", address)
        nat_world.balancer.ask("backend", "undrain", "web", address)
        return has_seen("change")

    nat_world.balancer.ask("restart")
    wait_until(drained, 20, "it hears of what the next one does")
    assert has_seen("restart")
    monitor.stop(signal.SIGINT)


def test_a_lost_way_holds_up_no_other_change(nat_world: World, file: Path) -> None:
    """Other changes and a restart go on, and pktlb serves again as soon as the way is back."""
    world = nat_world
    balancer = start(world, file, service(world, ALL))
    route = ("10.0.2.0/24", "dev", "lan", "src", "10.0.2.1")
    world.balancer.run("ip", "route", "del", *route)

    def states() -> set[str]:
        services = ask(world.balancer, "status")["services"]
        return {backend["state"] for each in services for backend in each["backends"]}

    wait_until(lambda: states() == {"unreachable"}, 10, "the backends are lost")
    world.balancer.ask("service", "add", "other", "--vip", "10.0.1.101:80", "--mode", "nat")
    assert world.balancer.ask("restart").stdout == "service other: removed\nrestarted\n"
    assert states() == {"unreachable"}
    world.balancer.run("ip", "route", "add", *route)
    world.serves_again(10, "they are back")
    assert balancer.status is None


def test_services_with_one_name_are_told_apart(nat_world: World, file: Path) -> None:
    """A backend that only one of them has can be removed by their common name."""
    world = nat_world
    text = service(world, ALL).replace(
        'vip = "10.0.1.100:80"', 'vip = ["10.0.1.100:80", "10.0.1.101:80"]'
    )
    start(world, file, text)
    address = backend(world, "a")
    said = world.balancer.ask("backend", "remove", "10.0.1.101:80", address, "--drain").stdout
    assert said.startswith(f"backend {address} removed")
    lines = world.balancer.ask("service", "set", "web", "--scheduler", "lc").stdout
    assert lines == (
        "service web (10.0.1.100:80/tcp): scheduler rr -> lc\n"
        "service web (10.0.1.101:80/tcp): scheduler rr -> lc\n"
    )
    said = world.balancer.ask("backend", "remove", "web", address, "--drain").stdout
    assert said.startswith(f"backend {address} removed")


def test_a_file_that_has_become_a_fifo_is_not_read_again(nat_world: World, file: Path) -> None:
    """pktlb does not wait for a FIFO, nor take an empty one for a file without services."""
    start(nat_world, file, service(nat_world, ALL))
    file.unlink()
    os.mkfifo(file)
    for command in ("reload", "restart"):
        done = nat_world.balancer.ask(command, check=False)
        assert done.returncode == 2
        assert done.stderr == f"pktlb: {file}: expected a regular file, to read it again\n"
    assert nat_world.answers(6) == EVEN
