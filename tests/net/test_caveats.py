"""What is possible and may be a slip is told: in the log, by an event, in a change's answer."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import nat
from netns.lab import Lab
from netns.process import Process
from netns.waiting import wait_until

REACH = "clients of the VIP no longer reach it"
ONLY = "vip 10.0.1.1: is the only address of wan: this machine has no other one there for itself"
NO_ROUTE = "backend 10.9.0.5:8080: expected an address that this machine has a route to"
BACKEND = "10.0.2.11:8080"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("caveats") as lab:
        nat.build(lab)
        yield lab


def heard(process: Process) -> str:
    return f"vip 10.0.1.1:80/tcp: this machine listens there itself ({name(process)}): {REACH}"


def name(process: Process) -> str:
    return f"{Path(f'/proc/{process.pid}/comm').read_text().strip()}, pid {process.pid}"


def run(lab: Lab, *arguments: str) -> Process:
    return lab.hosts["gw"].pktlb("run", *arguments)


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("warning: ")]


def add(lab: Lab, vip: str, *more: str) -> list[str]:
    flags = ("--vip", vip, "--mode", "nat", "--backend", BACKEND, *more)
    return warnings(lab.hosts["gw"].ask("service", "add", *flags).stdout)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.1.1"])
def test_a_vip_in_place_of_a_listener_is_named_at_the_start(lab: Lab, address: str) -> None:
    server = lab.hosts["gw"].serve(80, address)
    process = run(lab, "--mode", "nat", "--vip", "10.0.1.1:80", "--backend", BACKEND)
    process.wait_for(heard(server))
    process.wait_for(ONLY)
    assert process.stop() == 0


def test_other_services_have_no_such_warning(lab: Lab) -> None:
    """A VIP that pktlb adds was dialled by nobody before."""
    lab.hosts["gw"].serve(80)
    process = run(lab, *nat.TOPOLOGY.run_arguments("rr")[1:])
    assert add(lab, "10.0.1.1:8080") == [f"warning: {ONLY}"]
    assert add(lab, "10.0.1.1:80/udp") == [
        f"warning: {heard(server).replace('/tcp', '/udp')}"
        for server in lab.processes
        if "server.py" in " ".join(server.argv)
    ]
    assert process.stop() == 0
    assert "10.0.1.100" not in process.stderr


def test_a_change_names_the_listener_and_an_event_tells_it(lab: Lab, tmp_path: Path) -> None:
    gw = lab.hosts["gw"]
    server = gw.serve(80)
    process = run(lab)
    monitor = gw.start(*monitored())
    dry = gw.ask("service", "add", "--vip", "10.0.1.1:80", "--mode", "nat", "--dry-run", "--json")
    assert json.loads(dry.stdout)["warnings"] == [ONLY, heard(server)]
    assert ONLY not in process.stderr
    assert add(lab, "10.0.1.1:80") == [f"warning: {ONLY}", f"warning: {heard(server)}"]
    assert process.stderr.count(heard(server)) == 1
    wait_until(lambda: heard(server) in monitor.stdout, 10, "the event comes")
    late = gw.serve(81)
    assert name(late)
    assert add(lab, "10.0.1.1:81") == [
        f"warning: vip 10.0.1.1:81/tcp: this machine listens there itself (uid 0): {REACH}"
    ]
    assert process.stop() == 0


def monitored() -> list[str]:
    from netns.host import pktlb_command  # noqa: PLC0415

    return pktlb_command("monitor")


def test_a_backend_without_a_route_is_named_in_each_answer(lab: Lab, tmp_path: Path) -> None:
    gw, said = lab.hosts["gw"], [f"warning: {NO_ROUTE}"]
    file = tmp_path / "pktlb.toml"
    text = '[[service]]\nname = "web"\nvip = "10.0.1.100:80"\nmode = "nat"\n'
    file.write_text(text)
    process = run(lab, "-c", str(file))
    with_backend = text + '[[service.backend]]\naddress = "10.9.0.5:8080"\n'
    file.write_text(with_backend)
    for command in ("plan", str(file)), ("reload", "--dry-run"), ("restart", "--dry-run"):
        assert warnings(gw.ask(*command).stdout) == said, command
    assert warnings(gw.ask("reload").stdout) == said
    assert warnings(gw.ask("reload").stdout) == []
    file.write_text(with_backend.replace("10.9.0.5", "10.9.0.6"))
    other = [said[0].replace("10.9.0.5", "10.9.0.6")]
    assert warnings(gw.ask("restart").stdout) == other
    wait_until(lambda: process.stdout.count("pktlb: ready") == 2, 15, "it has restarted")
    assert warnings(gw.ask("backend", "add", "web", "10.9.0.8:8080").stdout) == [
        said[0].replace("10.9.0.5", "10.9.0.8")
    ]
    assert add(lab, "10.0.1.101:80", "--backend", "10.9.0.7:8080") == [
        said[0].replace("10.9.0.5", "10.9.0.7")
    ]
    assert process.stop() == 0
