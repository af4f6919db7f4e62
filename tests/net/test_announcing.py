"""Neighbours with a stale entry for the VIP are told the right MAC at once.

The entry is one that the neighbour trusts for 15 s at least, and that it does not use: so only an
announcement can change it so soon.
"""

from collections.abc import Iterator

import pytest

from netns.process import Process
from netns.waiting import wait_until
from tests.net.links import OneLink, one_link

STALE = "02:00:00:00:0f:0f"
SOON_S = 5.0
ROUNDS = 4


@pytest.fixture(params=["ipv4", "ipv6"])
def link(request: pytest.FixtureRequest) -> Iterator[OneLink]:
    with one_link(request.param) as link:
        yield link


def expect_right(link: OneLink) -> None:
    mac = link.gw.interfaces()["eth0"]
    wait_until(lambda: link.neighbour() == mac, SOON_S, "the neighbour is right")


def at_rest(link: OneLink) -> Process:
    """A balancer whose announcements of the start are over."""
    with link.announcements() as announced:
        process = link.balance()
        each = len(link.claims(STALE))
        wait_until(lambda: len(announced()) == ROUNDS * each, 20, "all rounds are over")
    return process


def test_the_vip_is_announced_at_the_start(link: OneLink) -> None:
    link.mislead(STALE)
    link.balance()
    expect_right(link)


def test_a_vip_that_is_added_is_announced(link: OneLink) -> None:
    link.gw.pktlb("run")
    link.mislead(STALE)
    backend = next(iter(link.topology.backends.values()))
    link.gw.ask("service", "add", "web", "--mode", "nat", "--vip", link.topology.vip,
                "--backend", backend)  # fmt: skip
    expect_right(link)


def test_the_vip_is_announced_in_four_rounds_and_again_at_a_restart(link: OneLink) -> None:
    process = at_rest(link)
    link.mislead(STALE)
    link.gw.ask("restart")
    wait_until(lambda: process.stdout.count("pktlb: ready") == 2, 15, "it has restarted")
    expect_right(link)


def test_the_vip_is_announced_when_the_mac_changes(link: OneLink) -> None:
    link.balance()
    link.mislead(link.mac_of(link.gw))
    link.gw.run("ip", "link", "set", "eth0", "address", "02:00:00:00:0a:0a")
    expect_right(link)


def test_the_vip_is_announced_when_its_interface_is_replaced(link: OneLink) -> None:
    process = link.balance()
    link.mislead(link.mac_of(link.gw))
    link.gw.run("ip", "link", "del", "eth0")
    process.wait_for("interface eth0 is gone")
    link.lab.link(link.gw, "eth0", link.lab.hosts["switch"], "gw")
    link.gw.address("eth0", f"{link.gw_address}/{24 if len(link.packed) == 4 else 64}")
    wait_until(link.has_vip, 15, "the VIP is there again")
    expect_right(link)


def test_the_vip_is_announced_when_it_is_put_back(link: OneLink) -> None:
    process = at_rest(link)
    link.mislead(STALE)
    bits = 8 * len(link.packed)
    link.gw.run("ip", "address", "del", f"{link.vip}/{bits}", "dev", "eth0")
    process.wait_for(f"{link.vip} was removed; adding it again")
    expect_right(link)
    assert process.stop() == 0
    assert "is used by" not in process.stderr


def test_the_vip_is_announced_when_its_link_comes_up(link: OneLink) -> None:
    process = at_rest(link)
    link.gw.run("ip", "link", "set", "eth0", "down")
    process.wait_for("cannot be reached")
    link.mislead(STALE)
    link.gw.run("ip", "link", "set", "eth0", "up")
    expect_right(link)
