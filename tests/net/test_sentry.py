"""The guard's tables, and what looks after them, in this process and a network namespace."""

import asyncio
import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from netns.host import Host
from netns.lab import Lab
from pktlb.errors import KernelError
from pktlb.host import libnftables, nft, ruleset
from pktlb.host.guard import KEPT, ORDINARY, TABLES, size
from pktlb.host.sentry import Sentry
from pktlb.plan import fence
from pktlb.plan import placement as plan
from tests.support.changes import MACHINE, chain

GUARD = [fence.guard(config, plan.place(config, MACHINE)) for config in chain(Random(3), 30)][-1]
FLUSH = ("nft", "flush", "ruleset")
NAMES = [table.name for table in TABLES]
REAL = subprocess.run


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with the interfaces of the guard; this thread, and each that it starts, is in it."""
    with Lab("sentry") as lab:
        gw, other = lab.host("gw"), lab.host("other")
        for name in GUARD.devices:
            lab.link(gw, name, other, name)
        with gw.enter():
            yield gw


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libnftables, "LIBRARY", "libnothing.so.1")


def there() -> list[str]:
    return list(ruleset.sizes(*NAMES))


def test_another_program_can_neither_flush_delete_nor_change_the_kept_table(
    host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    tables = nft.Tables()
    for table in TABLES:
        tables.put(GUARD, table)
    kept = listed(host, KEPT.name)
    assert "drop" in kept
    host.run(*FLUSH)
    assert there() == [KEPT.name]
    other = libnftables.Session()
    for harm in ("delete table", "flush table"):
        assert host.run("nft", *harm.split(), *KEPT.name.split(), check=False).returncode
        with pytest.raises(libnftables.RejectedError, match="not permitted"):
            other.run(f"{harm} {KEPT.name}")
    other.run("flush ruleset")
    assert listed(host, KEPT.name) == kept
    with pytest.raises(libnftables.RejectedError, match="needs CAP_NET_ADMIN"):
        nft.Tables().put(GUARD, KEPT)
    tables.close()
    other.close()
    assert there() == []
    assert capfd.readouterr() == ("", "")


def test_no_program_that_is_started_inherits_the_socket_that_owns_the_table(host: Host) -> None:
    closed = [number for number in range(256) if not is_open(number)]
    session = libnftables.Session()
    opened = [number for number in closed if is_open(number)]
    assert opened
    assert not any(map(os.get_inheritable, opened))
    session.close()
    assert not any(map(is_open, opened))


def test_both_tables_follow_each_change(host: Host) -> None:
    """They have the same rules, as many as `size` says, and the same elements."""
    tables, before = nft.Tables(), None
    for config in chain(Random(5), 40):
        guard = fence.guard(config, plan.place(config, MACHINE))
        if before:
            tables.change(before, guard)
        else:
            for table in TABLES:
                tables.put(guard, table)
        before = guard
        assert ruleset.sizes(*NAMES) == dict.fromkeys(NAMES, size(guard))
        ordinary, kept = (words(host, table.name) for table in TABLES)
        assert ordinary == kept
    tables.close()


def test_a_change_after_a_flush_puts_both_tables_in_place(host: Host) -> None:
    tables = nft.Tables()
    for table in TABLES:
        tables.put(GUARD, table)
    host.run(*FLUSH)
    guard = replace(GUARD, devices=GUARD.devices[:1])
    tables.change(GUARD, guard)
    assert ruleset.sizes(*NAMES) == dict.fromkeys(NAMES, size(guard))
    tables.close()


def test_a_change_that_the_kernel_refuses_leaves_both_tables_as_they_were(host: Host) -> None:
    tables = nft.Tables()
    for table in TABLES:
        tables.put(GUARD, table)
    before = [listed(host, table.name) for table in TABLES]
    with pytest.raises(KernelError, match="nft refused"):
        tables.change(GUARD, replace(GUARD, devices=["a name that is too long"]))
    assert [listed(host, table.name) for table in TABLES] == before
    tables.close()


@pytest.mark.usefixtures("without_library")
def test_without_the_library_there_is_one_table_and_one_line_says_so(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    sentry = Sentry(GUARD)
    sentry.put()
    assert there() == [ORDINARY.name]
    (line,) = caplog.messages
    assert line.startswith("a flush of the nftables ruleset can reset connections: libnothing.so.1")
    sentry.want(replace(GUARD, devices=GUARD.devices[:1]))

    async def flush() -> None:
        host.run(*FLUSH)
        await until(lambda: there() == [ORDINARY.name])

    watched(sentry, flush)
    assert [line for line in caplog.messages if "libnothing" in line] == [line]


def test_a_kernel_without_owners_of_tables_is_as_no_library(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: libnftables.Session, text: str) -> None:
        raise libnftables.rejected("Error: Could not process rule: Operation not supported\n")

    monkeypatch.setattr(libnftables.Session, "run", refuse)
    sentry = Sentry(GUARD)
    sentry.put()
    assert there() == [ORDINARY.name]
    assert len(caplog.messages) == 1

    async def nothing() -> None:
        await until(lambda: bool(sentry._listing))

    watched(sentry, nothing)


@pytest.mark.parametrize("error", [
    BlockingIOError(errno.EAGAIN, "no process"), OSError(errno.ENOMEM, "no memory"), MemoryError(),
])  # fmt: skip
@pytest.mark.usefixtures("without_library")
def test_a_restore_that_fails_is_tried_again_soon(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """The machine has no process for nft, five times."""
    sentry = Sentry(GUARD)
    failed: list[Any] = []

    def run(*arguments: Any, **more: Any) -> Any:
        if len(failed) < 5:
            failed.append(arguments)
            raise error
        return REAL(*arguments, **more)

    sentry.put()

    async def flush() -> None:
        await until(lambda: bool(sentry._listing))
        REAL([*FLUSH], check=True)
        monkeypatch.setattr(subprocess, "run", run)
        await until(lambda: there() == [ORDINARY.name])
        await until(lambda: "the guard is looked after again" in caplog.messages)

    watched(sentry, flush)
    assert len(failed) == 5
    assert [line for line in caplog.messages if "may not be in place" in line]


def test_a_restore_without_a_thread_for_it_is_tried_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sentry = Sentry(GUARD)
    failed: list[Any] = []
    real = asyncio.to_thread

    async def to_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        if len(failed) < 3:
            failed.append(function)
            raise RuntimeError("can't start new thread")
        return await real(function, *arguments)

    sentry.put()

    async def flush() -> None:
        monkeypatch.setattr(asyncio, "to_thread", to_thread)
        host.run(*FLUSH)
        await until(lambda: there() == NAMES)

    watched(sentry, flush)
    assert "can't start new thread" in " ".join(caplog.messages)


def test_a_kept_table_that_cannot_be_made_at_first_is_made_later(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """The process before has not ended yet."""
    past = nft.Tables()
    past.put(GUARD, KEPT)
    sentry = Sentry(GUARD)
    sentry.put()
    assert f"{KEPT.name} is not in place yet" in caplog.text

    async def end() -> None:
        await until(lambda: "may not be in place" in caplog.text)
        past.close()
        await until(lambda: there() == NAMES)

    watched(sentry, end)


def test_a_sentry_that_is_closed_puts_nothing_in_place(host: Host) -> None:
    sentry = Sentry(GUARD)
    sentry.put()
    sentry.close()
    assert there() == [ORDINARY.name]
    nft.remove()
    sentry.put()
    assert there() == []


def test_an_element_that_another_program_deletes_comes_back(host: Host) -> None:
    """No chain and no rule is lost: only a listing shows it."""
    sentry = Sentry(GUARD)
    sentry.put()
    before = words(host, ORDINARY.name)

    async def harm() -> None:
        await until(lambda: bool(sentry._listing))
        host.run("nft", "flush", "set", *ORDINARY.name.split(), a_set(host))
        assert words(host, ORDINARY.name) != before
        await until(lambda: words(host, ORDINARY.name) == before)

    watched(sentry, harm)


def watched(sentry: Sentry, harm: Callable[[], Any]) -> None:
    """Do harm while the sentry watches, which goes on to the end."""

    async def run() -> None:
        with sentry.listening():
            watch = asyncio.ensure_future(sentry.watch())
            await harm()
            assert not watch.done()
            watch.cancel()
            await asyncio.wait([watch])
        sentry.close()

    asyncio.run(run())


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.01)


def listed(host: Host, table: str) -> str:
    return host.run("nft", "--stateless", "list", "table", *table.split()).stdout


def words(host: Host, table: str) -> list[str]:
    """The words of a table, without what is different between the two."""
    text = listed(host, table).replace(",", "").replace("flags owner", "")
    for each in TABLES:
        text = text.replace(f"table {each.name} {{", "table {")
        text = text.replace(f"priority {each.priority};", "")
    lines = [line for line in text.splitlines() if not line.startswith("table {")]
    return sorted(" ".join(lines).split())


def a_set(host: Host) -> str:
    """A set of the ordinary table."""
    told = host.run("nft", "--json", "list", "table", *ORDINARY.name.split()).stdout
    sets = [str(item["set"]["name"]) for item in json.loads(told)["nftables"] if "set" in item]
    return next(name for name in sets if not name.startswith("owned"))


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
