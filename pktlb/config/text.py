"""Texts and the values of the model that they stand for.

Each parser takes the text of one value, as a flag or a file has it. It returns a value of the
model, or raises a `ConfigError` that says what was expected and what was there.
"""

import socket
from collections.abc import Sequence
from typing import Any, Final

from pktlb.config.bounds import (
    MAX_INTERFACE_NAME,
    MAX_NAME,
    MAX_SNAT_ADDRESSES,
    MAX_SOCKET_PATH,
)
from pktlb.config.problem import show
from pktlb.errors import ConfigError
from pktlb.model import (
    HASHES,
    WHOLE_FLOW,
    HashFields,
    HashOn,
    Proto,
    Scheduler,
    Vip,
    format_address,
)

_MAPPED: Final = bytes(10) + b"\xff\xff"
_ITSELF: Final = (bytes(16), bytes(15) + b"\1")
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
        raise ConfigError(f"{_WITH_PORT}, got {show(text)}")
    low, high = _port_range(ports)
    return Vip(parse_address(address), low, high, _PORTED[name or "tcp"])


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = parse_number(first, 1, 65535, "a port")
    high = parse_number(last, 1, 65535, "a port") if dash else low
    if low > high:
        raise ConfigError(f"expected the lower port first, got {show(text)}")
    return low, high


def _protos(name: str) -> tuple[int, ...]:
    """What may follow an address alone: more than what has ports."""
    if name in _PORTED:
        return _PORTED[name]
    if name in _NAMED:
        return (_NAMED[name],)
    if name in ("icmp", "icmpv6") or not name.isascii() or not name.isdigit():
        names = ", ".join(["any", *sorted(_NAMED)])
        raise ConfigError(f"expected a protocol out of {names}, or a number, got {show(name)}")
    number = parse_number(name, 0, 255, "a protocol")
    if number in _KERNELS:
        raise ConfigError(
            f"expected a protocol other than ICMP, which the kernel answers, got {name}"
        )
    return (number,)


def parse_hash(text: str, vip: Vip) -> HashOn:
    """`mac`, `source[/N[/M]]`, `addresses[,symmetric]` or `5-tuple[,symmetric]`."""
    fields, *options = text.split(",")
    name, *lengths = fields.split("/")
    known = name in {each.value for each in HashFields}
    kind = HashFields(name) if known else HashFields.MAC
    both_ways = kind in (HashFields.ADDRESSES, HashFields.FIVE_TUPLE)
    if (
        not known
        or (options and (options != ["symmetric"] or not both_ways))
        or (lengths and kind is not HashFields.SOURCE)
        or len(lengths) > 2
    ):
        raise ConfigError(f"{_HASH}, got {show(text)}")
    bounds = [("prefix4", 32), ("prefix6", 128)]
    if len(lengths) == 1 and len(vip.address) == 16:
        bounds = bounds[1:]
    widths: dict[str, Any] = {
        prefix: parse_number(length, 1, most, "bits of an address")
        for (prefix, most), length in zip(bounds, lengths, strict=False)
    }
    return HashOn(kind, symmetric=bool(options))._replace(**widths)


def check_hash(text: str) -> str:
    """The same text, checked but for the number of bits, whose bounds depend on the VIP."""
    parse_hash(text, Vip(bytes(16)))
    return text


def hash_text(hash_on: HashOn) -> str:
    """The text that `parse_hash` makes `hash_on` of."""
    text = hash_on.fields.value
    if hash_on.fields is HashFields.SOURCE and hash_on[1:3] != WHOLE_FLOW[1:3]:
        text += f"/{hash_on.prefix4}/{hash_on.prefix6}"
    return text + (",symmetric" if hash_on.symmetric else "")


def parse_end(text: str) -> tuple[bytes, int | None]:
    """`ADDR[:PORT]` of a backend; None: without a port."""
    address, port = split_port(text)
    return parse_address(address), None if port is None else parse_number(port, 1, 65535, "a port")


def has_ports(vip: Vip) -> bool:
    """Whether all that it takes has ports, so that a backend may serve on another one."""
    return bool(vip.protos) and set(vip.protos) <= set(_PORTED["any"])


def served_port(vip: Vip, port: int | None) -> int:
    """The port of a backend that says this one, or none: the VIP's, where it has but one; else 0,
    the one that was dialled."""
    if port is not None:
        return port
    return vip.low if vip.low == vip.high else 0


def picks_up(scheduler: Scheduler, vip: Vip) -> bool:
    """Whether connections that are under way are taken up unasked: where it is known where they
    went before."""
    return scheduler in HASHES or vip.any


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
    if not can_be_configured(packed) or (len(packed) == 4 and bare != text):
        raise ConfigError(f"expected the address of a host, got {text}")
    return packed


def can_be_configured(packed: bytes) -> bool:
    """Whether an address, packed in 4 or 16 bytes, names one host wherever it is written: it is no
    multicast, no loopback, nothing reserved (IPv4), not of one link only (IPv6), and no IPv4
    address mapped into IPv6 (RFC 4291, 2.5.5.2)."""
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


def ranges(addresses: Sequence[bytes]) -> list[str]:
    """Texts for `parse_snat`: addresses that follow upon each other are one `ADDR-ADDR`."""
    runs: list[list[bytes]] = []
    for address in addresses:
        last = runs[-1][-1] if runs else b""
        follows = len(last) == len(address) and (
            int.from_bytes(last, "big") + 1 == int.from_bytes(address, "big")
        )
        if follows:
            runs[-1].append(address)
        else:
            runs.append([address])
    return ["-".join(dict.fromkeys(map(format_address, (run[0], run[-1])))) for run in runs]


def parse_interface(text: str) -> str:
    """A name that an interface can have; whether there is one is seen later."""
    is_short = 0 < len(text.encode(errors="replace")) <= MAX_INTERFACE_NAME
    if not is_short or not text.isprintable() or set(text) & set('/" \\') or text in (".", ".."):
        raise ConfigError(f"expected the name of an interface, got {show(text)}")
    return text


def parse_name(text: str) -> str:
    """What a service or a backend is called."""
    if not 0 < len(text) <= MAX_NAME or not text.isprintable() or " " in text or text[0] == "-":
        raise ConfigError(
            f"expected a name of 1..{MAX_NAME} letters without spaces, not starting with -, got "
            + show(text)
        )
    return text


def parse_balancer_name(text: str) -> str:
    """What a balancer is called: the name of a file, too."""
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    if len(text) > MAX_NAME or not plain.isascii() or not plain.isalnum() or text[0] in "-.":
        raise ConfigError(
            f"expected a name of 1..{MAX_NAME} letters, digits, or any of - _ . within, got "
            + show(text)
        )
    return text


def parse_path(text: str) -> str:
    """The path of a Unix socket, checked."""
    size = len(text.encode(errors="replace"))
    if text[:1] != "/" or size > MAX_SOCKET_PATH or not text.isprintable():
        raise ConfigError(
            f"expected a path that starts with / and has {MAX_SOCKET_PATH} bytes at most, got "
            + show(text)
        )
    return text


def parse_group(text: str) -> str:
    """A group of users; whether there is one is seen later."""
    if not 0 < len(text) <= MAX_NAME or not text.isprintable() or set(text) & set(" :,/"):
        raise ConfigError(f"expected the name of a group, got {show(text)}")
    return text
