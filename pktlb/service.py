"""A service from the values of its flags: what clients dial, who serves it, and by which rule.

Each parser takes the text of one flag's value, as in `pktlb.config`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pktlb.config import parse_address, parse_number, with_flag
from pktlb.errors import ConfigError
from pktlb.model import (
    HASHES,
    Backend,
    Endpoint,
    HashFields,
    HashOn,
    Mode,
    Proto,
    Scheduler,
    Service,
    Vip,
)

MAX_WEIGHT: Final = 65535
MAX_BACKENDS: Final = 4096
_MAX_NAME: Final = 64

_PORTED: Final = {
    "tcp": (Proto.TCP,),
    "udp": (Proto.UDP,),
    "any": (Proto.TCP, Proto.UDP),
}
"Protocols that are balanced by ports, as a VIP names them."
_KERNELS: Final = frozenset({Proto.ICMP, Proto.ICMPV6})
_NAMED: Final = {proto.name.lower(): int(proto) for proto in Proto if proto not in _KERNELS}
_WITH_PORT: Final = (
    "expected ADDR:PORT or ADDR:LOW-HIGH, with /tcp, /udp, /any or nothing behind it"
)
_HASH: Final = (
    "expected mac, source[/BITS[/BITS]], addresses or 5-tuple, the last two with ,symmetric or "
    "without"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """How backends are chosen: what is said behind a --vip, or for all of them."""

    scheduler: Scheduler = Scheduler.RR
    hash_on: str | None = None
    "The value of --hash."
    one_packet: bool = False
    pick_up: bool = False


def split_port(text: str) -> tuple[str, str | None]:
    """Address and what is behind its colon, of which IPv6 has many of its own; None: no colon."""
    if text[:1] == "[":
        address, bracket, rest = text.partition("]")
        if rest[:1] == ":":
            return address + bracket, rest[1:]
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, None


def parse_vip(text: str) -> Vip:
    """`ADDR:PORT`, `ADDR:LOW-HIGH` or `ADDR`, each with `/PROTO` or without; or `any`."""
    if text == "any":
        return Vip(b"")
    ends, slash, name = text.partition("/")
    address, ports = split_port(ends)
    if ports is None:
        return Vip(parse_address(address), protos=_protos(name) if slash else ())
    if slash and name not in _PORTED:
        raise ConfigError(_WITH_PORT)
    low, high = _port_range(ports)
    return Vip(parse_address(address), low, high, _PORTED[name or "tcp"])


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = parse_number(first, 1, 65535, "a port")
    high = parse_number(last, 1, 65535, "a port") if dash else low
    if low > high:
        raise ConfigError(f"expected the lower port first, got {text!r}")
    return low, high


def _protos(name: str) -> tuple[int, ...]:
    """What may follow an address alone: more than what has ports."""
    if name in _PORTED:
        return _PORTED[name]
    if name in _NAMED:
        return (_NAMED[name],)
    if name in ("icmp", "icmpv6") or not name.isascii() or not name.isdigit():
        names = ", ".join(["any", *sorted(_NAMED)])
        raise ConfigError(f"expected a protocol out of {names}, or a number, got {name!r}")
    number = parse_number(name, 0, 255, "a protocol")
    if number in _KERNELS:
        raise ConfigError("expected a protocol other than ICMP, which the kernel answers")
    return (number,)


def parse_hash(text: str, vip: Vip) -> HashOn:
    """`mac`, `source[/N[/M]]`, `addresses[,symmetric]` or `5-tuple[,symmetric]`."""
    fields, *options = text.split(",")
    name, *lengths = fields.split("/")
    if name not in {each.value for each in HashFields}:
        raise ConfigError(_HASH)
    kind = HashFields(name)
    both_ways = kind in (HashFields.ADDRESSES, HashFields.FIVE_TUPLE)
    if (options and (options != ["symmetric"] or not both_ways)) or len(lengths) > 2:
        raise ConfigError(_HASH)
    if lengths and kind is not HashFields.SOURCE:
        raise ConfigError(_HASH)
    bounds = [("prefix4", 32), ("prefix6", 128)]
    if len(lengths) == 1 and len(vip.address) == 16:
        bounds = bounds[1:]
    widths: dict[str, Any] = {
        prefix: parse_number(length, 1, most, "bits of an address")
        for (prefix, most), length in zip(bounds, lengths, strict=False)
    }
    return HashOn(kind, symmetric=bool(options))._replace(**widths)


def parse_backend(text: str, vip: Vip) -> Backend:
    """`ADDR[:PORT][,weight=N][,name=NAME]`; without a port, the VIP's, where it has but one."""
    ends, *options = text.split(",")
    address, port = split_port(ends)
    number = vip.low if vip.low == vip.high else 0
    if port is not None:
        if not vip.protos or not set(vip.protos) <= set(_PORTED["any"]):
            raise ConfigError(f"expected no port, --vip {vip} is not only TCP and UDP")
        number = parse_number(port, 1, 65535, "a port")
    backend = Backend(Endpoint(parse_address(address), number))
    for option in options:
        name, equals, value = option.partition("=")
        if name == "weight":
            backend = replace(backend, weight=parse_number(value, 0, MAX_WEIGHT, "a weight"))
        elif name == "name" and equals:
            backend = replace(backend, name=_name(value))
        else:
            raise ConfigError(
                f"expected ADDR[:PORT][,weight=N][,name=NAME], got the option {option!r}"
            )
    return backend


def _name(text: str) -> str:
    if not 0 < len(text) <= _MAX_NAME or not text.isprintable() or " " in text:
        raise ConfigError(f"expected a name of 1..{_MAX_NAME} letters, got {text!r}")
    return text


def make_service(
    text: str, mode: Mode, choice: Choice, backends: Sequence[str], moves_ports: bool = False
) -> Service:
    """A service from the values of its flags; errors name the flag as well as the value.

    Where a restart would give a client another port (`moves_ports`), its connections cannot be
    picked up.
    """
    with with_flag("--vip", text):
        vip = parse_vip(text)
    hash_on = _hash_on(choice, vip)
    if choice.one_packet and vip.protos != _PORTED["udp"]:
        raise ConfigError(f"--one-packet: expected a --vip of UDP alone, {vip} is not")
    if choice.pick_up and moves_ports:
        raise ConfigError("--pick-up: expected no --snat, which may have given other ports before")
    deterministic = choice.scheduler in HASHES or vip.any
    return Service(
        vip=vip,
        mode=mode,
        scheduler=choice.scheduler,
        backends=_backends(text, vip, mode, backends),
        hash_on=hash_on,
        one_packet=choice.one_packet,
        pick_up=(deterministic or choice.pick_up) and not moves_ports,
    )


def _hash_on(choice: Choice, vip: Vip) -> HashOn:
    if choice.hash_on is None:
        return HASHES.get(choice.scheduler, HashOn())
    if choice.scheduler is not Scheduler.HASH:
        raise ConfigError(f"--hash {choice.hash_on}: expected --scheduler hash for --vip {vip}")
    with with_flag("--hash", choice.hash_on):
        return parse_hash(choice.hash_on, vip)


def _backends(vip_text: str, vip: Vip, mode: Mode, texts: Sequence[str]) -> tuple[Backend, ...]:
    if not texts:
        raise ConfigError(f"--vip {vip_text}: expected at least one --backend behind it")
    if len(texts) > MAX_BACKENDS:
        raise ConfigError(f"--vip {vip_text}: expected at most {MAX_BACKENDS} backends")
    parsed: dict[Endpoint, Backend] = {}
    names: set[str] = set()
    for text in texts:
        with with_flag("--backend", text):
            backend = parse_backend(text, vip)
            _check_backend(backend, vip, mode)
            if backend.endpoint in parsed:
                raise ConfigError(
                    f"expected each backend once, the service {vip_text} has this one already"
                )
            if backend.name in names:
                raise ConfigError(
                    f"expected each name once, the service {vip_text} has this one already"
                )
        parsed[backend.endpoint] = backend
        names |= {backend.name} - {""}
    return tuple(parsed.values())


def _check_backend(backend: Backend, vip: Vip, mode: Mode) -> None:
    """What the mode can do."""
    address, port = backend.endpoint
    if mode is not Mode.TUNNEL and not vip.any and len(address) != len(vip.address):
        family = "IPv4" if len(vip.address) == 4 else "IPv6"
        raise ConfigError(
            f"expected an {family} address, as the VIP's: mode {mode.value} does not change the "
            "family (mode tunnel wraps any in any)"
        )
    if mode is not Mode.NAT and port and not vip.low == port == vip.high:
        known = f"the port of the VIP, {vip.low}" if vip.low == vip.high else "no port"
        raise ConfigError(f"expected {known}: mode {mode.value} does not rewrite ports")
