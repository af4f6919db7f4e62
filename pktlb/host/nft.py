"""Runs the command nft: it puts the guard in place, takes it away, and reads what is there."""

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final

from pktlb.errors import KernelError
from pktlb.host.guard import OWNED_SETS, TABLE, Guard, render, render_change

_NFT_TIMEOUT_S: Final = 30
_OURS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1}
"Signals that are meant for pktlb; a terminal sends some of them to its children, too."


def apply(guard: Guard, before: Guard | None = None) -> None:
    """Put the table in place. With `before`, the table that is there, only the difference is sent;
    `KernelError` where nft refuses, as it does when the table is not as `before`."""
    text = render_change(before, guard) if before else render(guard)
    if text.strip():
        _nft("-f", "-", text=text)


def remove() -> None:
    """Take the table away, where it is there. Raises `KernelError`."""
    _nft("-f", "-", text=f"add table {TABLE}\ndelete table {TABLE}\n")


def listing() -> Sequence[str]:
    """The words of the table as nft lists it, sorted, to be compared with another listing and for
    `guard.is_whole`; empty where there is no table. Raises `KernelError`."""
    if not _is_there():
        return ()
    return sorted(_nft("--stateless", "list", "table", *TABLE.split()).split())


def owned() -> list[tuple[bytes, int]]:
    """The addresses that a pktlb added and did not take away, as it was killed: each packed, with
    the index of its interface. Empty where there is no table. Raises `KernelError`."""
    if not _is_there():
        return []
    listed = json.loads(_nft("--json", "--numeric", "list", "table", *TABLE.split()))
    elements: list[Any] = []
    for item in listed.get("nftables", ()):
        if item.get("set", {}).get("name") in OWNED_SETS:
            elements += item["set"].get("elem", [])
    return [_parse_owned(element["concat"]) for element in elements]


def _is_there() -> bool:
    return TABLE in _nft("list", "tables", "netdev")


def _parse_owned(pair: Sequence[Any]) -> tuple[bytes, int]:
    address, link = pair
    return ip_address(address).packed, int(str(link), 0)


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
    if done.returncode:
        why = done.stderr.strip().splitlines() or ["no message"]
        denied = " (needs CAP_NET_ADMIN)" if "not permitted" in done.stderr else ""
        raise KernelError(f"nft refused: {why[0]}{denied}")
    return done.stdout


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Children that are started in the `with` block do not get `_OURS`, which they inherit as
    blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
