"""What the operator asked for, checked for what can be checked without looking at the machine.

Each parser takes the text of one flag's value and returns a value of the model, or raises
`ConfigError` that says what was expected; `with_flag` puts flag and value in front. `pktlb.plan`
checks what needs a look at the machine.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from netaddr import INET_PTON, AddrFormatError, IPAddress

from pktlb.errors import ConfigError
from pktlb.model import (
    Backend,
    Endpoint,
    Mode,
    Proto,
    Scheduler,
    Service,
    Timeouts,
    format_address,
)

MAX_WEIGHT: Final = 65535
MAX_BACKENDS: Final = 4096
MAX_FLOWS: Final = 1 << 24
MAX_WORKERS: Final = 63
MAX_BUSY_POLL_US: Final = 1_000_000
MAX_SNAT_ADDRESSES: Final = 256
MAX_TIMEOUT_S: Final = 1_000_000
_MAX_INTERFACE_NAME: Final = 15


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
    """An IPv4 address of one host: no broadcast, multicast, loopback or this-network address."""
    try:
        address = IPAddress(text, version=4, flags=INET_PTON)
    except (AddrFormatError, ValueError) as error:
        raise ConfigError(f"expected an IPv4 address such as 10.0.0.1, got {text!r}") from error
    if (
        address.is_multicast()
        or address.is_loopback()
        or address.packed[0] in (0, *range(240, 256))
    ):
        raise ConfigError(f"expected the IPv4 address of a host, got {text}")
    return address.packed


def parse_number(text: str, low: int, high: int, what: str) -> int:
    """A whole decimal number in `low`..`high`."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ConfigError(f"expected {what} in {low}..{high}, got {text!r}")
    return int(text)


def parse_vip(text: str) -> tuple[Endpoint, Proto]:
    """`ADDR:PORT`, `ADDR:PORT/tcp` or `ADDR:PORT/udp`."""
    ends, slash, name = text.partition("/")
    address, colon, port = ends.partition(":")
    if not colon or (slash and name not in ("tcp", "udp")):
        raise ConfigError("expected ADDR:PORT, ADDR:PORT/tcp or ADDR:PORT/udp")
    endpoint = Endpoint(parse_address(address), parse_number(port, 1, 65535, "a port"))
    return endpoint, Proto.UDP if name == "udp" else Proto.TCP


def parse_backend(text: str, vip_port: int) -> Backend:
    """`ADDR[:PORT][,weight=N]`; without a port, the VIP's."""
    ends, *options = text.split(",")
    address, colon, port = ends.partition(":")
    number = parse_number(port, 1, 65535, "a port") if colon else vip_port
    backend = Backend(Endpoint(parse_address(address), number))
    for option in options:
        name, _, value = option.partition("=")
        if name != "weight":
            raise ConfigError(f"expected ADDR[:PORT][,weight=N], got the option {option!r}")
        weight = parse_number(value, 0, MAX_WEIGHT, "a weight")
        backend = replace(backend, weight=weight)
    return backend


def parse_snat(text: str) -> tuple[bytes, ...]:
    """`ADDR` or `ADDR-ADDR`, both ends included."""
    low, dash, high = text.partition("-")
    first = parse_address(low)
    last = parse_address(high) if dash else first
    start, end = int.from_bytes(first, "big"), int.from_bytes(last, "big")
    if not start <= end < start + MAX_SNAT_ADDRESSES:
        raise ConfigError(
            f"expected ADDR or ADDR-ADDR, the lower first, {MAX_SNAT_ADDRESSES} at most"
        )
    return tuple(number.to_bytes(4, "big") for number in range(start, end + 1))


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


def make_service(
    vip: str, mode: Mode, scheduler: Scheduler, backends: Sequence[str]
) -> Service:  # fmt: skip
    """A service from the values of its flags; errors name the flag as well as the value."""
    with with_flag("--vip", vip):
        endpoint, proto = parse_vip(vip)
    if not backends:
        raise ConfigError(f"--vip {vip}: expected at least one --backend behind it")
    if len(backends) > MAX_BACKENDS:
        raise ConfigError(f"--vip {vip}: expected at most {MAX_BACKENDS} backends")
    parsed: dict[Endpoint, Backend] = {}
    for text in backends:
        with with_flag("--backend", text):
            backend = parse_backend(text, endpoint.port)
            if backend.endpoint in parsed:
                raise ConfigError(
                    f"expected each backend once, the service {vip} has this one already"
                )
            if mode is not Mode.NAT and backend.endpoint.port != endpoint.port:
                raise ConfigError(
                    f"expected the port of the VIP, {endpoint.port}: "
                    f"mode {mode.value} does not rewrite ports"
                )
        parsed[backend.endpoint] = backend
    return Service(endpoint, proto, mode, scheduler, tuple(parsed.values()))


def check_together(config: Config) -> Config:
    """What only shows when all flags are seen; returns the same configuration."""
    seen = set()
    vips = {service.vip.address for service in config.services}
    for service in config.services:
        if (service.vip, service.proto) in seen:
            raise ConfigError(f"--vip {service}: given twice")
        seen.add((service.vip, service.proto))
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
    if not config.services:
        raise ConfigError("--vip: expected at least one")
    _check_engine(config)
    if config.snat and any(service.mode is not Mode.NAT for service in config.services):
        raise ConfigError("--snat: expected --mode nat: other modes keep the client's address")
    return config


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
