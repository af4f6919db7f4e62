"""IPVS's words and pktlb's: schedulers, forwarding methods, what a client is.

The right-hand sides are keys and values of pktlb's configuration file, which are those of its API.
"""

from typing import Any, Final

from pktlb.config.bounds import MAX_FLOWS
from pktlb.errors import ConfigError

Keys = dict[str, Any]
"Some of the keys of a service or backend, as in the configuration file."


class UnsupportedError(ConfigError):
    """Right in IPVS, but pktlb has nothing like it."""


DEFAULT_SCHEDULER: Final = "wlc"
DEFAULT_PERSIST_S: Final = 360
"What -p without a number is to IPVS."
MAX_THRESHOLD: Final = MAX_FLOWS
MAX_SECONDS: Final = 1_000_000

SCHEDULERS: Final[dict[str, Keys]] = {
    "rr": {"scheduler": "rr"},
    "wrr": {"scheduler": "rr"},
    "lc": {"scheduler": "lc"},
    "wlc": {"scheduler": "lc"},
    "sed": {"scheduler": "sed"},
    "nq": {"scheduler": "nq"},
    "twos": {"scheduler": "p2c"},
    "sh": {"scheduler": "source"},
    "mh": {"scheduler": "hash", "hash": "source"},
    "p2c": {"scheduler": "p2c"},
    "source": {"scheduler": "source"},
    "maglev": {"scheduler": "maglev"},
    "hash": {"scheduler": "hash"},
}
"""IPVS's schedulers, and pktlb's own names. `mh` of IPVS goes by the client's address alone, unless
its flag mh-port is set: then by address and port, as pktlb's maglev."""

REFUSED: Final = {
    "dh": "goes by the destination alone, which for one VIP is one server; use sh or mh, or "
    '`hash = "addresses"`',
    "lblc": 'is for caches that are chosen by destination; use lc, or `hash = "addresses"`',
    "lblcr": 'is for caches that are chosen by destination; use lc, or `hash = "addresses"`',
    "fo": "sends all to one server until it fails; use weights, or drain those that wait",
    "ovf": "fills one server after the other; use lc with -x (max_connections)",
}
"Schedulers of IPVS without a counterpart, and what to use instead."

FLAGS: Final = {
    ("sh", "sh-port"): {"scheduler": "hash", "hash": "5-tuple"},
    ("sh", "flag-2"): {"scheduler": "hash", "hash": "5-tuple"},
    ("mh", "mh-port"): {"scheduler": "maglev"},
    ("mh", "flag-2"): {"scheduler": "maglev"},
}
"What the flags of a scheduler make of it; the others are what pktlb does anyway, see `FALLBACK`."

FALLBACK: Final = frozenset({("sh", "sh-fallback"), ("sh", "flag-1")}) | frozenset(
    {("mh", "mh-fallback"), ("mh", "flag-1")}
)
"Another server for the clients of one that takes no new flows: pktlb always does so."

METHODS: Final = {"g": "dsr", "i": "tunnel", "m": "nat"}
"By option; -g is what ipvsadm does unasked."

FORWARD: Final = {"dsr": "Route", "tunnel": "Tunnel", "nat": "Masq"}
"By mode, as listings say it."


def scheduler_keys(name: str, flags: tuple[str, ...] = ()) -> Keys:
    """What a scheduler of IPVS with its flags is to pktlb."""
    if name in REFUSED:
        raise UnsupportedError(f"scheduler {name}: pktlb has none: it {REFUSED[name]}")
    if name not in SCHEDULERS:
        known = ", ".join(sorted({*SCHEDULERS}))
        raise ConfigError(f"scheduler {name}: expected one out of {known}")
    keys = SCHEDULERS[name]
    for flag in flags:
        if (name, flag) in FLAGS:
            keys = FLAGS[name, flag]
        elif (name, flag) not in FALLBACK:
            raise UnsupportedError(f"flag {flag}: scheduler {name} has none of this name in pktlb")
    return dict(keys)


def scheduler_name(keys: Keys, weights: list[int]) -> tuple[str, str]:
    """What a listing of IPVS calls it, and its flags.

    pktlb's rr goes by weights, as IPVS's wrr; where they are all equal the two are the same. What
    IPVS cannot hash by is called `hash`.
    """
    name = keys.get("scheduler", "rr")
    fields = keys.get("hash", "5-tuple")
    if name == "rr":
        return ("wrr" if len({*weights} - {0}) > 1 else "rr"), ""
    if name == "hash" and fields in ("source", "5-tuple"):
        return {"source": ("mh", ""), "5-tuple": ("sh", "sh-port")}[fields]
    return {
        "lc": ("wlc", ""),
        "p2c": ("twos", ""),
        "source": ("sh", ""),
        "maglev": ("mh", "mh-port"),
    }.get(name, (name, ""))


def prefix_of(mask: str, bits: int) -> int:
    """The length of a netmask as IPVS takes it: dotted for IPv4, a number for IPv6."""
    if bits == 128 or mask.isdigit():
        if not (mask.isascii() and mask.isdigit() and len(mask) < 4 and 1 <= int(mask) <= bits):
            raise ConfigError(f"netmask {mask}: expected a prefix length in 1..{bits}")
        return int(mask)
    octets = mask.split(".")
    if len(octets) != 4 or not all(o.isascii() and o.isdigit() and len(o) < 4 for o in octets):
        raise ConfigError(f"netmask {mask}: expected one such as 255.255.255.0")
    number = int.from_bytes(bytes(min(int(octet), 255) for octet in octets), "big")
    ones = number.bit_count()
    if number != ((1 << ones) - 1) << (32 - ones) or not ones or max(map(int, octets)) > 255:
        raise ConfigError(f"netmask {mask}: expected one such as 255.255.255.0")
    return ones


def dotted(prefix: int) -> str:
    """The netmask of an IPv4 prefix length: 255.255.255.0 of 24."""
    mask = ((1 << prefix) - 1) << (32 - prefix)
    return ".".join(str(octet) for octet in mask.to_bytes(4, "big"))


def persist_keys(seconds: int, mask: str | None, is_ipv6: bool) -> Keys:
    """Persistence as a service of pktlb has it."""
    keys: Keys = {"persist": seconds}
    if mask is not None:
        bits, key = (128, "persist_prefix6") if is_ipv6 else (32, "persist_prefix4")
        if (prefix := prefix_of(mask, bits)) != bits:
            keys[key] = prefix
    return keys
