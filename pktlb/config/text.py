"""What of a service is written as text: what clients dial, who serves it, what is hashed.

Each parser takes the text of one value, as in `pktlb.config.config`.
"""

from typing import Any, Final

from pktlb.config.config import parse_address, parse_number
from pktlb.config.problem import show
from pktlb.errors import ConfigError
from pktlb.model import HASHES, WHOLE_FLOW, HashFields, HashOn, Proto, Scheduler, Vip

KEYS: Final = {
    "persist_s": "persist", "persist4": "persist_prefix4", "persist6": "persist_prefix6",
    "slow_start_s": "slow_start", "hash_on": "hash",
}  # fmt: skip
"What is called otherwise in the file and the API than in the model."

MAX_WEIGHT: Final = 65535
MAX_BACKENDS: Final = 4096
MAX_VIPS: Final = 4096
"Of one table of a file."

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


def hash_text(hash_on: HashOn) -> str:
    """As `parse_hash` takes it."""
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
