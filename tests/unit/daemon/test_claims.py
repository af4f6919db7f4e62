"""Which addresses are probed for, and what is withheld meanwhile; what is on a link is tried in
tests/net/test_conflicts.py."""

import asyncio
from collections.abc import Sequence

import pytest

from pktlb.control.events import Events
from pktlb.daemon import claims as module
from pktlb.daemon.claims import Claims, Home
from pktlb.host.acd import Target
from pktlb.host.claim import Claim
from pktlb.host.machine import Link, Machine

VIP, OTHER = bytes([10, 0, 1, 100]), bytes([10, 0, 1, 101])
MAC = bytes([2, 0, 0, 0, 0, 7])
WAN, TUN = 2, 3
MACHINE = Machine(
    links={
        WAN: Link(WAN, "wan", bytes([2, 0, 0, 0, 0, 1]), 1500, True),
        TUN: Link(TUN, "tun", b"", 1500, True),
    },
    addresses=[],
    routes={},
    neighbours={},
)
HOMES: Sequence[Home] = [(VIP, WAN), (OTHER, WAN)]
USED = "is used by 02:00:00:00:00:07 on wan (--force to insist)"


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """The addresses that another machine uses."""
    used = {VIP}

    async def probe(targets: Sequence[Target], own: frozenset[bytes]) -> dict[bytes, Claim]:
        assert own == {MACHINE.links[WAN].mac, b""}
        await asyncio.sleep(0)
        return {t.address: Claim(t.address, MAC) for t in targets if t.address in used}

    monkeypatch.setattr(module, "probe", probe)
    return used


def make(insists: bool = False) -> tuple[Claims, asyncio.Event]:
    changed = asyncio.Event()
    return Claims(Events(), changed, insists), changed


def test_what_was_added_or_has_no_ethernet_is_not_probed_for() -> None:
    async def body() -> None:
        claims, _ = make()
        assert claims.unjudged(HOMES, {}, MACHINE) == HOMES
        assert claims.unjudged(HOMES, {VIP: WAN}, MACHINE) == [(OTHER, WAN)]
        assert claims.unjudged([(VIP, TUN), (OTHER, 99)], {}, MACHINE) == []

    asyncio.run(body())


def test_one_that_insists_probes_for_nothing() -> None:
    async def body() -> None:
        claims, _ = make(insists=True)
        assert claims.unjudged(HOMES, {}, MACHINE) == []

    asyncio.run(body())


def test_an_address_is_withheld_while_it_is_probed_for_and_when_it_is_in_use(
    users: set[bytes],
) -> None:
    async def body() -> None:
        claims, changed = make()
        claims.begin(HOMES, MACHINE)
        assert claims.withheld() == {VIP: "", OTHER: ""}
        await claims.settled()
        assert changed.is_set()
        assert claims.withheld() == {VIP: USED}
        assert claims.unjudged([(OTHER, WAN)], {}, MACHINE) == [], "it was found free just now"

    asyncio.run(body())


def test_an_address_that_has_become_free_is_withheld_no_more(users: set[bytes]) -> None:
    async def body() -> None:
        claims, changed = make()
        await claims.judge(HOMES, MACHINE)
        await claims.ask_again(MACHINE)
        assert not changed.is_set()
        users.clear()
        await claims.ask_again(MACHINE)
        assert changed.is_set()
        assert claims.withheld() == {}

    asyncio.run(body())


def test_an_address_that_is_insisted_on_or_not_wanted_is_forgotten(users: set[bytes]) -> None:
    async def body() -> None:
        claims, _ = make()
        await claims.judge(HOMES, MACHINE)
        claims.forget([VIP])
        assert claims.withheld() == {VIP: USED}
        claims.insist_on_taken()
        assert claims.withheld() == {}
        await claims.judge(HOMES, MACHINE)
        claims.forget([OTHER])
        assert claims.withheld() == {}

    asyncio.run(body())
