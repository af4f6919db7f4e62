"""The nftables table `netdev pktlb`: it keeps the kernel away from the frames that pktlb handles.

Raw sockets see a frame before the ingress hook, so what is dropped there has been read already.
The table also remembers which addresses pktlb has added: it lives exactly as long as they do, even
when the process is killed, and in the same network namespace.
"""

import json
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pktlb.errors import KernelError
from pktlb.model import Endpoint, Proto, format_address

_TABLE: Final = "netdev pktlb"
_NFT_TIMEOUT_S: Final = 30
_OURS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1}


@dataclass(frozen=True, slots=True)
class Guard:
    """What the table holds."""

    devices: Sequence[str]
    services: Sequence[tuple[Proto, Endpoint]]
    replies: Sequence[tuple[Proto, Endpoint]]
    "NAT: the backends, whose packets may be replies that have to be translated."
    snat: Sequence[bytes]
    "Where replies go to when clients are translated: others are not held back then."
    own_ports: range
    "Ports that the kernel chooses for its own connections: not those of translated clients."
    owned: Sequence[tuple[bytes, int]]
    "Addresses that pktlb adds, each with the index of its interface."


def render(guard: Guard) -> str:
    """The nft script that replaces the table by this one, in one transaction."""
    ends = "type ipv4_addr . inet_proto . inet_service;"
    lines = [
        f"add table {_TABLE}",
        f"delete table {_TABLE}",
        f"table {_TABLE} {{",
        _set("services", ends, (_end(*end) for end in guard.services)),
        _set("replies", ends, (_end(*end) for end in guard.replies)),
        _set("clients", "type ipv4_addr;", map(format_address, guard.snat)),
        _set("owned", "type ipv4_addr . mark;",
             (f"{format_address(address)} . {link}" for address, link in guard.owned)),
        "chain held {",
        "ip daddr . ip protocol . th dport @services drop",
        *_not_replies(guard),
        "ip saddr . ip protocol . th sport @replies drop",
        "}",
    ]  # fmt: skip
    for number, device in enumerate(guard.devices):
        hook = f'type filter hook ingress device "{device}" priority -300; policy accept;'
        # "ether type" sees the tag of a frame that is for a VLAN device; "ip" alone does not.
        lines += [
            f"chain ingress{number} {{",
            hook,
            "ether type ip meta pkttype host jump held",
            "}",
        ]
    return "\n".join([*lines, "}", ""])


def _not_replies(guard: Guard) -> list[str]:
    """What cannot be a reply to a client, though it comes from a backend: it is left alone."""
    if not guard.snat:
        return ["fib daddr type local accept"]
    lines = ["ip daddr != @clients accept"]
    if own := guard.own_ports:
        lines.append(f"th dport {own.start}-{own.stop - 1} accept")
    return lines


def apply(guard: Guard) -> None:
    """Put the table in place, instead of one that may be there."""
    _nft("-f", "-", text=render(guard))


def remove() -> None:
    """Take the table away, where it is there."""
    _nft("-f", "-", text=f"add table {_TABLE}\ndelete table {_TABLE}\n")


def listing() -> Sequence[str]:
    """What is in the table, in a form to compare; empty where there is no table."""
    if "netdev pktlb" not in _nft("list", "tables", "netdev"):
        return ()
    return sorted(_nft("--stateless", "list", "table", *_TABLE.split()).split())


def is_whole(guard: Guard, listing: Sequence[str]) -> bool:
    """Whether a listing has everything that keeps the kernel away, on each device."""
    drops = [word for word in listing if word == "drop"]
    return len(drops) == 2 and all(
        any(f'"{device}"' in word for word in listing) for device in guard.devices
    )


def owned() -> list[tuple[bytes, int]]:
    """Addresses, each with its interface's index, that a pktlb that did not stop cleanly left."""
    if "netdev pktlb" not in _nft("list", "tables", "netdev"):
        return []
    listing = json.loads(_nft("--json", "--numeric", "list", "table", *_TABLE.split()))
    elements: list[Any] = []
    for item in listing.get("nftables", ()):
        if item.get("set", {}).get("name") == "owned":
            elements = item["set"].get("elem", [])
    return [_parse_owned(element["concat"]) for element in elements]


def _parse_owned(pair: Sequence[Any]) -> tuple[bytes, int]:
    address, link = pair
    return bytes(map(int, address.split("."))), int(str(link), 0)


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    return f"set {name} {{ {kind} {f'elements = {{ {listed} }};' if listed else ''} }}"


def _end(proto: Proto, endpoint: Endpoint) -> str:
    return f"{format_address(endpoint.address)} . {proto.name.lower()} . {endpoint.port}"


def _nft(*arguments: str, text: str = "") -> str:
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
    """Children started in here are deaf to what is meant for us, though sent to the whole group."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
