"""What the operator asked for, checked for what can be checked without looking at the machine.

Each parser takes the text of one value and returns a value of the model, or raises `ConfigError`
that says what was expected and what was there. What is about one service is in
`pktlb.config.text`; `pktlb.config.conflicts` checks what only shows when all is seen,
`pktlb.plan.placement` what needs a look at the machine.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from pktlb.config.bounds import MAX_SOCKET_PATH
from pktlb.config.problem import show
from pktlb.config.service import Service
from pktlb.errors import ConfigError
from pktlb.model import Timeouts

MAX_FLOWS: Final = 1 << 24
ENGINES: Final = ("auto", "native", "python")
MAX_WORKERS: Final = 63
MAX_BUSY_POLL_US: Final = 1_000_000
MAX_SNAT_ADDRESSES: Final = 256
MAX_SECONDS: Final = 1_000_000
MAX_SERVICES: Final = 65_536
_MAX_INTERFACE_NAME: Final = 15
_MAX_NAME: Final = 64
_MAPPED: Final = bytes(10) + b"\xff\xff"
_ITSELF: Final = (bytes(16), bytes(15) + b"\1")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `pktlb run` is told."""

    services: tuple[Service, ...]
    snat: tuple[bytes, ...] = ()
    "NAT: addresses that stand in for the clients'; none: clients keep their own."
    interfaces: tuple[str, ...] = ()
    "Interfaces to read; none: found out from the VIPs and the routes to the backends."
    vip_interface: str | None = None
    "Interface that gets the VIPs; None: found out from its addresses."
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_flows: int = 262144
    engine: str = "auto"
    "native, python, or auto: native where it is built."
    workers: int | None = None
    "Threads that move packets; None: as many as there are cores and receive queues for."
    busy_poll_us: int = 0
    "Microseconds that a worker goes on looking for frames before it sleeps."
    realtime: bool | None = None
    "Whether workers run before all ordinary threads; None: where that is allowed."
    name: str = "default"
    "Of this balancer, among several on one machine."
    control: str | None = None
    "Path of the control socket; None: /run/pktlb/NAME.sock."
    control_group: str | None = None
    "A group whose members may change things as root may; None: root alone."


@contextmanager
def with_flag(name: str, value: str | None) -> Iterator[None]:
    """Puts the flag and its value in front of what is wrong with it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name} {value}: {error}") from error


def parse_address(text: str) -> bytes:
    """An address of one host, IPv6 in brackets or without: none that stands for many, for this
    host, or for one link only."""
    bare = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        packed = socket.inet_pton(family, bare)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected an address such as 10.0.0.1 or 2001:db8::1, got {show(text)}"
        ) from error
    if not is_host(packed) or (len(packed) == 4 and bare != text):
        raise ConfigError(f"expected the address of a host, got {text}")
    return packed


def is_host(packed: bytes) -> bool:
    """Whether an address can be one host's: no multicast, no loopback, nothing reserved (IPv4),
    not of one link only, and no IPv4 address in IPv6's clothes."""
    if len(packed) == 4:
        return 0 < packed[0] < 224 and packed[0] != 127
    link_local = packed[0] == 0xFE and packed[1] & 0xC0 == 0x80
    mapped = packed[:12] == _MAPPED
    return packed[0] != 0xFF and not link_local and not mapped and packed not in _ITSELF


def parse_number(text: str, low: int, high: int, what: str) -> int:
    """A whole decimal number in `low`..`high`."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ConfigError(f"expected {what} in {low}..{high}, got {show(text)}")
    return int(text)


def parse_snat(text: str) -> tuple[bytes, ...]:
    """`ADDR` or `ADDR-ADDR`, both ends included."""
    low, dash, high = text.partition("-")
    first = parse_address(low)
    last = parse_address(high) if dash else first
    start, end = int.from_bytes(first, "big"), int.from_bytes(last, "big")
    if len(first) != len(last) or not start <= end < start + MAX_SNAT_ADDRESSES:
        raise ConfigError(
            f"expected ADDR or ADDR-ADDR, the lower first, {MAX_SNAT_ADDRESSES} at most, got "
            + show(text)
        )
    return tuple(number.to_bytes(len(first), "big") for number in range(start, end + 1))


def parse_interface(text: str) -> str:
    """A name that an interface can have; whether there is one is seen later."""
    is_short = 0 < len(text.encode(errors="replace")) <= _MAX_INTERFACE_NAME
    if not is_short or not text.isprintable() or set(text) & set('/" \\') or text in (".", ".."):
        raise ConfigError(f"expected the name of an interface, got {show(text)}")
    return text


def parse_name(text: str) -> str:
    """What a service or a backend is called."""
    if not 0 < len(text) <= _MAX_NAME or not text.isprintable() or " " in text or text[0] == "-":
        raise ConfigError(
            f"expected a name of 1..{_MAX_NAME} letters without spaces, not starting with -, got "
            + show(text)
        )
    return text


def parse_balancer_name(text: str) -> str:
    """What a balancer is called: the name of a file, too."""
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    if len(text) > _MAX_NAME or not plain.isascii() or not plain.isalnum() or text[0] in "-.":
        raise ConfigError(
            f"expected a name of 1..{_MAX_NAME} letters, digits, or any of - _ . within, got "
            + show(text)
        )
    return text


def parse_path(text: str) -> str:
    """Of a Unix socket."""
    size = len(text.encode(errors="replace"))
    if text[:1] != "/" or size > MAX_SOCKET_PATH or not text.isprintable():
        raise ConfigError(
            f"expected a path that starts with / and has {MAX_SOCKET_PATH} bytes at most, got "
            + show(text)
        )
    return text


def parse_group(text: str) -> str:
    """A group of users; whether there is one is seen later."""
    if not 0 < len(text) <= _MAX_NAME or not text.isprintable() or set(text) & set(" :,/"):
        raise ConfigError(f"expected the name of a group, got {show(text)}")
    return text
