"""A VIP that another machine on the link uses: not taken by accident, and watched while held."""

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from netns.host import pktlb_command
from netns.process import Process
from netns.waiting import wait_until
from tests.net.links import OneLink, one_link

STRANGER = "02:00:00:00:0f:0f"
FLOOD = 10_000
MACS = 100


@pytest.fixture(params=["ipv4", "ipv6"])
def link(request: pytest.FixtureRequest) -> Iterator[OneLink]:
    with one_link(request.param) as link:
        yield link


def in_use(link: OneLink) -> str:
    mac = link.mac_of(link.other)
    return f"vip {link.vip}: is used by {mac} on eth0 (--force to insist)"


def conflict(link: OneLink, mac: str) -> str:
    return f"{link.vip} is used by {mac} on eth0 as well"


def service(link: OneLink, *more: str) -> list[str]:
    backend = next(iter(link.topology.backends.values()))
    return ["service", "add", "web", "--mode", "nat", "--vip", link.topology.vip,
            "--backend", backend, *more]  # fmt: skip


def idle(link: OneLink) -> Process:
    """A balancer without services."""
    return link.gw.pktlb("run")


def test_a_start_leaves_the_vip_to_the_machine_that_uses_it(link: OneLink) -> None:
    """And takes the VIP as soon as it is free."""
    link.use_vip()
    before = link.gw.state()
    process = link.balance()
    process.wait_for(in_use(link))
    assert link.vip not in link.gw.state()
    assert link.other.run("ping", "-c1", "-W2", link.gw_address).stdout
    link.use_vip(False)
    process.wait_for(f"vip {link.vip}: pending no more", 40)
    wait_until(link.has_vip, 10, "the VIP is added")
    assert process.stop() == 0
    assert link.gw.state() == before


def test_a_start_with_force_takes_the_vip(link: OneLink) -> None:
    link.use_vip()
    process = link.balance("--force")
    assert link.has_vip()
    assert process.stop() == 0


def test_a_service_with_a_vip_in_use_is_refused(link: OneLink) -> None:
    link.use_vip()
    process = idle(link)
    for more in ([], ["--dry-run"]):
        refused = link.gw.ask(*service(link, *more), check=False)
        assert refused.returncode == 2
        assert refused.stderr == f"pktlb: {in_use(link)}\n"
    assert link.vip not in link.gw.state()
    assert "web" not in link.gw.ask("service", "list").stdout
    assert link.gw.ask(*service(link, "--force", "--dry-run")).stdout
    assert not link.has_vip()
    link.gw.ask(*service(link, "--force"))
    assert link.has_vip()
    assert process.stop() == 0


def test_a_service_with_a_free_vip_is_added(link: OneLink) -> None:
    process = idle(link)
    link.gw.ask(*service(link))
    assert link.has_vip()
    assert process.stop() == 0
    assert "is used by" not in process.stderr


def test_a_reload_that_brings_a_vip_in_use_is_refused(link: OneLink, tmp_path: Path) -> None:
    file = tmp_path / "pktlb.toml"
    file.write_text("")
    link.use_vip()
    process = link.gw.pktlb("run", "-c", str(file))
    file.write_text(
        f'[[service]]\nvip = "{link.topology.vip}"\nmode = "nat"\n'
        f'[[service.backend]]\naddress = "{next(iter(link.topology.backends.values()))}"\n'
    )
    for command in (["reload"], ["reload", "--dry-run"], ["restart"]):
        refused = link.gw.ask(*command, check=False)
        assert (refused.returncode, refused.stderr) == (2, f"pktlb: {in_use(link)}\n")
    assert not link.has_vip()
    link.gw.ask("reload", "--force")
    assert link.has_vip()
    link.gw.ask("restart")
    wait_until(lambda: process.stdout.count("pktlb: ready") == 2, 15, "it has restarted")
    assert link.has_vip(), "an address that is held is not given up"
    assert process.stop() == 0


def test_a_vip_that_was_left_at_the_start_is_taken_by_a_reload_with_force(
    link: OneLink, tmp_path: Path
) -> None:
    file = tmp_path / "pktlb.toml"
    file.write_text(
        f'[[service]]\nvip = "{link.topology.vip}"\nmode = "nat"\n'
        f'[[service.backend]]\naddress = "{next(iter(link.topology.backends.values()))}"\n'
    )
    link.use_vip()
    process = link.gw.pktlb("run", "-c", str(file))
    link.gw.ask("reload")
    assert not link.has_vip()
    link.gw.ask("reload", "--force")
    wait_until(link.has_vip, 10, "the VIP is added")
    assert process.stop() == 0


def test_a_conflict_is_told_once_and_published(link: OneLink) -> None:
    process = link.balance()
    monitor = link.gw.start(*pktlb_command("monitor", "--json"))
    weights = cycle("23")
    wait_until(lambda: noticed(link, monitor, next(weights)), 10, "the monitor listens")
    for _ in range(5):
        link.send(link.claims(STRANGER))
    process.wait_for(conflict(link, STRANGER))
    wait_until(lambda: '"conflict"' in monitor.stdout, 10, "the event is there")
    event = json.loads(monitor.stdout.splitlines()[-1])
    assert event["text"] == conflict(link, STRANGER)
    assert event["fields"] == {"address": link.vip, "mac": STRANGER, "interface": "eth0"}
    assert process.stderr.count(conflict(link, STRANGER)) == 1


def noticed(link: OneLink, monitor: Process, weight: str) -> bool:
    """Whether the monitor shows a change that is made now."""
    backend = next(iter(link.topology.backends.values()))
    link.gw.ask("backend", "set", link.topology.vip, backend, "--weight", weight)
    return bool(monitor.stdout)


def test_a_held_vip_is_defended(link: OneLink) -> None:
    link.balance()
    link.mislead(link.mac_of(link.gw))
    link.send(link.claims(STRANGER)[:1])
    wait_until(lambda: link.neighbour() == link.mac_of(link.gw), 5, "the witness is right again")


def test_a_flood_of_claims_changes_nothing(link: OneLink) -> None:
    process = link.balance()
    assert link.has_vip()
    frames = [
        frame for number in range(MACS) for frame in link.claims(f"02:00:00:00:ee:{number:02x}")
    ]
    link.send(frames * (FLOOD // len(frames)))
    process.wait_for(conflict(link, "02:00:00:00:ee:00"))
    assert "another machine claims an address that is held" in link.gw.ask("stats").stdout
    assert process.stderr.count("as well") <= 6, "three MACs an address in 10 s"
    assert link.has_vip()
    assert process.stop() == 0


def test_a_source_address_in_use_is_left_too() -> None:
    with one_link("ipv4") as link:
        link.use_vip()
        arguments = [a.replace(link.vip, "10.0.2.99") for a in link.topology.run_arguments("rr")]
        process = link.gw.pktlb(*arguments, "--snat", link.vip)
        mac = link.mac_of(link.other)
        process.wait_for(f"snat {link.vip}: is used by {mac} on eth0 (--force to insist)")
        assert not link.has_vip()


def test_an_address_that_the_machine_has_is_not_probed_for() -> None:
    with one_link("ipv4") as link:
        link.use_vip()
        link.gw.run("ip", "address", "add", f"{link.vip}/32", "dev", "eth0")
        process = link.balance()
        assert process.stop() == 0
        assert "is used by" not in process.stderr
        assert link.has_vip()


def test_a_neighbour_that_only_asks_for_the_vip_is_no_conflict(link: OneLink) -> None:
    """Also where it does not know who it is, as in a probe."""
    process = link.balance()
    assert link.other.run("ping", "-c1", "-W2", link.gw_address).stdout
    link.send([link.probe(STRANGER)])
    link.send(link.claims(STRANGER))
    process.wait_for(conflict(link, STRANGER))
    assert process.stderr.count("as well") == 1
