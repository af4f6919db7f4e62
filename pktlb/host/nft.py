"""Runs nft: it puts the guard's tables in place, takes them away, and reads what is there.

Changes go through the library libnftables, where there is one. Its socket owns the kept table. All
else is done by the command nft.
"""

import contextlib
import json
import logging
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final

from pktlb.errors import KernelError, refused
from pktlb.host.guard import (
    KEPT,
    ORDINARY,
    OWNED_SETS,
    TABLES,
    Guard,
    Table,
    render,
    render_change,
)
from pktlb.host.libnftables import MissingError, RejectedError, Session, rejected

log: Final = logging.getLogger(__name__)

_NFT_TIMEOUT_S: Final = 30
_OURS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1}
"Signals that are meant for pktlb; a terminal sends some of them to its children, too."
_TRIES: Final = 3
"A program that changes the ruleset while it is read makes nft fail."
_UNKNOWN: Final = ("not supported", "Invalid argument", "syntax error")
"In the complaint of a kernel or a library that does not know tables with an owner."


class Tables:
    """The guard's tables, as one process puts them in place. Not for several threads at a time."""

    def __init__(self) -> None:
        self._session: Session | None = None
        "It owns the kept table, which is in place as long as there is a session."
        self._can_keep = True

    @property
    def wanted(self) -> Sequence[Table]:
        """The tables that this machine can have."""
        return TABLES if self._can_keep else (ORDINARY,)

    @property
    def there(self) -> Sequence[Table]:
        """The tables that this process has put in place; another one may own a kept table."""
        return TABLES if self._session else (ORDINARY,)

    def change(self, before: Guard, after: Guard) -> bool:
        """Put `after` in the place of `before`: only the difference, or all where another program
        has changed a table. Returns whether chains and rules may be others now.

        After a `KernelError` the ordinary table is as it was.
        """
        text = render_change(before, after, self.there)
        try:
            self._run(text)
            return text.startswith("add table")
        except RejectedError:
            for _ in range(_TRIES - 1):
                with contextlib.suppress(RejectedError):
                    self._make_anew(after)
                    return True
            self._make_anew(after)
            return True

    def _make_anew(self, guard: Guard) -> None:
        """Put all tables in place, in one transaction."""
        try:
            self._run("".join(render(guard, table) for table in self.there))
        except RejectedError:
            if not self._session:
                raise
            _run_nft(render(guard))
            self.close()  # the kept table is of another guard

    def put(self, guard: Guard, table: Table) -> None:
        """Put one table in place, whatever there is. Raises `KernelError`."""
        if table is KEPT:
            self._open()
        text = render(guard, table)
        try:
            self._run(text)
        except RejectedError:
            if table is KEPT:
                raise
            _run_nft(text)

    def close(self) -> None:
        """Take the kept table away."""
        session, self._session = self._session, None
        if session:
            session.close()

    def _run(self, text: str) -> None:
        """Run a script, in one transaction. Raises `RejectedError` and other `KernelError`."""
        if not text.strip():
            return
        if not self._session:
            _run_nft(text)
            return
        with _undisturbed():
            self._session.run(text)

    def _open(self) -> None:
        """Have a session that owns the kept table. Raises `KernelError`."""
        if self._session or not self._can_keep:
            return
        session = None
        try:
            session = Session()
            session.run(f"add table {KEPT.name} {{ flags {KEPT.flags}; }}")
        except KernelError as error:
            if session:
                session.close()
            if isinstance(error, MissingError) or any(word in str(error) for word in _UNKNOWN):
                self._can_keep = False
                log.warning("a flush of the nftables ruleset can reset connections: %s", error)
                return
            raise
        self._session = session


def remove() -> None:
    """Take the ordinary table away, where it is there. Raises `KernelError`."""
    _run_nft(f"add table {ORDINARY.name}\ndelete table {ORDINARY.name}\n")


def listing() -> Sequence[str]:
    """The words of the ordinary table as nft lists it, sorted, to be compared with another listing
    and for `guard.is_whole`; empty where there is no table. Raises `KernelError`."""
    if not _is_there():
        return ()
    return sorted(_nft("--stateless", "list", "table", *ORDINARY.name.split()).split())


def owned() -> list[tuple[bytes, int]]:
    """The addresses that a pktlb added and did not take away, as it was killed: each packed, with
    the index of its interface. Empty where there is no table. Raises `KernelError`."""
    if not _is_there():
        return []
    listed = json.loads(_nft("--json", "--numeric", "list", "table", *ORDINARY.name.split()))
    elements: list[Any] = []
    for item in listed.get("nftables", ()):
        if item.get("set", {}).get("name") in OWNED_SETS:
            elements += item["set"].get("elem", [])
    return [_parse_owned(element["concat"]) for element in elements]


def _is_there() -> bool:
    return f"table {ORDINARY.name}" in _nft("list", "tables", "netdev").splitlines()


def _parse_owned(pair: Sequence[Any]) -> tuple[bytes, int]:
    address, link = pair
    return ip_address(address).packed, int(str(link), 0)


def _run_nft(text: str) -> None:
    _nft("-f", "-", text=text)


def _nft(*arguments: str, text: str = "") -> str:
    """Run nft with `text` on its standard input; its standard output."""
    try:
        with _undisturbed():
            done = subprocess.run(
                ["nft", *arguments], input=text, capture_output=True, text=True, check=False,
                timeout=_NFT_TIMEOUT_S,
            )  # fmt: skip
    except FileNotFoundError as error:
        raise KernelError("the command nft is missing (Debian package nftables)") from error
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"nft did not answer within {_NFT_TIMEOUT_S} s") from error
    except OSError as error:
        raise refused("cannot run nft", error, "the right to run it") from error
    if done.returncode:
        raise rejected(done.stderr)
    return done.stdout


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Children that are started in the `with` block do not get `_OURS`, which they inherit as
    blocked; nor do they interrupt the library."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
