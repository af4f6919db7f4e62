"""What the operator asked for, checked for what can be checked without looking at the machine.

Each parser takes the text of one flag's value and returns a value of the model, or raises
`ConfigError` that says what was expected; `with_flag` puts flag and value in front. What is about
one service is in `pktlb.service`; `pktlb.plan` checks what needs a look at the machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from netaddr import INET_PTON, AddrFormatError, IPAddress

from pktlb.errors import ConfigError
from pktlb.model import Mode, Service, Timeouts, Vip, format_address

MAX_FLOWS: Final = 1 << 24
MAX_WORKERS: Final = 63
MAX_BUSY_POLL_US: Final = 1_000_000
MAX_SNAT_ADDRESSES: Final = 256
MAX_TIMEOUT_S: Final = 1_000_000
_MAX_INTERFACE_NAME: Final = 15
_EVERY: Final = -1
"Stands for the protocols of a service that names none."


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
    try:
        address = IPAddress(bare, flags=INET_PTON)
    except (AddrFormatError, ValueError) as error:
        raise ConfigError(
            f"expected an address such as 10.0.0.1 or 2001:db8::1, got {text!r}"
        ) from error
    if (
        (address.version == 4 and (bare != text or address.packed[0] in (0, *range(240, 256))))
        or (address.version == 6 and (address.is_link_local() or address.is_ipv4_mapped()))
        or address.is_multicast()
        or address.is_loopback()
        or not any(address.packed)
    ):
        raise ConfigError(f"expected the address of a host, got {text}")
    return address.packed


def parse_number(text: str, low: int, high: int, what: str) -> int:
    """A whole decimal number in `low`..`high`."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ConfigError(f"expected {what} in {low}..{high}, got {text!r}")
    return int(text)


def parse_snat(text: str) -> tuple[bytes, ...]:
    """`ADDR` or `ADDR-ADDR`, both ends included."""
    low, dash, high = text.partition("-")
    first = parse_address(low)
    last = parse_address(high) if dash else first
    start, end = int.from_bytes(first, "big"), int.from_bytes(last, "big")
    if len(first) != len(last) or not start <= end < start + MAX_SNAT_ADDRESSES:
        raise ConfigError(
            f"expected ADDR or ADDR-ADDR, the lower first, {MAX_SNAT_ADDRESSES} at most"
        )
    return tuple(number.to_bytes(len(first), "big") for number in range(start, end + 1))


def parse_timeouts(text: str) -> Timeouts:
    """`NAME=SECONDS,...` with the names of `Timeouts`; those not named keep their defaults."""
    timeouts = Timeouts()
    for item in text.split(","):
        name, equals, value = item.partition("=")
        if not equals or name not in Timeouts.__dataclass_fields__:
            names = ", ".join(Timeouts.__dataclass_fields__)
            raise ConfigError(f"expected NAME=SECONDS[,...] with the names {names}")
        seconds = parse_number(value, 1, MAX_TIMEOUT_S, f"seconds for {name}")
        timeouts = replace(timeouts, **{name: float(seconds)})
    return timeouts


def parse_interface(text: str) -> str:
    """A name that an interface can have; whether there is one is seen later."""
    if not 0 < len(text.encode()) <= _MAX_INTERFACE_NAME or set(text) & set('/" \t\n\\'):
        raise ConfigError("expected the name of an interface")
    return text


def check_together(config: Config) -> Config:
    """What only shows when all flags are seen; returns the same configuration."""
    if not config.services:
        raise ConfigError("--vip: expected at least one")
    _check_vips(config)
    vips = {service.vip.address for service in config.services}
    for service in config.services:
        for backend in service.backends:
            if backend.endpoint.address in vips:
                raise ConfigError(
                    f"--backend {backend.endpoint}: expected an address that is no VIP"
                )
            if backend.endpoint.address in config.snat:
                raise ConfigError(
                    f"--snat {format_address(backend.endpoint.address)}: expected addresses of "
                    "this machine, this one is a backend's"
                )
    _check_engine(config)
    _check_snat(config)
    return config


def _check_vips(config: Config) -> None:
    """No end is two services', where neither is the more specific one."""
    seen: dict[tuple[bytes, int, int, int], Vip] = {}
    for service in config.services:
        vip = service.vip
        for proto in vip.protos or (_EVERY,):
            other = seen.setdefault((*vip[:3], proto), vip)
            if other is not vip:
                same = other == vip
                why = "given twice" if same else f"takes the same packets as --vip {other}"
                raise ConfigError(f"--vip {service}: {why}")
        if vip.any and service.mode is not Mode.DSR:
            raise ConfigError("--vip any: expected --mode dsr: frames are sent on as they are")
        if vip.any and not config.interfaces:
            raise ConfigError(
                "--vip any: expected --interface IF for each interface whose frames are spread"
            )


def _check_snat(config: Config) -> None:
    """Replies to a client that keeps its address would not be looked for where clients do not."""
    families = {len(address) for address in config.snat}
    for service in config.services:
        if families and service.mode is not Mode.NAT:
            raise ConfigError("--snat: expected --mode nat: other modes keep the client's address")
        if families and len(service.vip.address) not in families:
            raise ConfigError(
                f"--snat: expected an address of the family of --vip {service} as well"
            )
    if len(config.snat) > MAX_SNAT_ADDRESSES:
        raise ConfigError(f"--snat: expected {MAX_SNAT_ADDRESSES} addresses at most")


def _check_engine(config: Config) -> None:
    """The reference engine has no workers, and whoever runs before all others must not wait."""
    if config.engine == "python":
        for flag, is_given in (
            (f"--workers {config.workers}", (config.workers or 1) > 1),
            (f"--busy-poll {config.busy_poll_us}", config.busy_poll_us > 0),
            ("--realtime", bool(config.realtime)),
        ):
            if is_given:
                raise ConfigError(f"{flag}: expected --engine native, python knows no workers")
    if config.realtime and config.busy_poll_us:
        raise ConfigError(
            "--realtime: expected no --busy-poll, for whoever brings the packets would never run"
        )
