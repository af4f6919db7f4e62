"""The words of IPVS and of pktlb: schedulers, forwarding methods, persistence.

The right-hand sides are keys and values of pktlb's configuration file, which the API has, too.
"""

from typing import Any, Final

from pktlb.config.bounds import MAX_FLOWS
from pktlb.errors import ConfigError

Keys = dict[str, Any]
"Some of the keys of a service or backend, as in the configuration file."


class UnsupportedError(ConfigError):
    """IPVS has it, but pktlb has nothing like it."""


DEFAULT_SCHEDULER: Final = "wlc"
DEFAULT_PERSIST_S: Final = 360
"Seconds of -p without a number."
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
"""The schedulers of IPVS, and pktlb's own names. `mh` of IPVS hashes the client's address alone;
with its flag mh-port, address and port, as pktlb's maglev."""

REFUSED: Final = {
    "dh": "goes by the destination alone, which for one VIP is one server; use sh or mh, or "
    '`hash = "addresses"`',
    "lblc": 'is for caches that are chosen by destination; use lc, or `hash = "addresses"`',
    "lblcr": 'is for caches that are chosen by destination; use lc, or `hash = "addresses"`',
    "fo": "sends all to one server until it fails; use weights, or drain those that wait",
    "ovf": "fills one server after the other; use lc with -x (max_connections)",
}
"Schedulers of IPVS that pktlb does not have, and what to use instead."

FLAGS: Final = {
    ("sh", "sh-port"): {"scheduler": "hash", "hash": "5-tuple"},
    ("sh", "flag-2"): {"scheduler": "hash", "hash": "5-tuple"},
    ("mh", "mh-port"): {"scheduler": "maglev"},
    ("mh", "flag-2"): {"scheduler": "maglev"},
}
"Schedulers with a flag that makes another one of them. Other known flags are in `FALLBACK`."

FALLBACK: Final = frozenset({("sh", "sh-fallback"), ("sh", "flag-1")}) | frozenset(
    {("mh", "mh-fallback"), ("mh", "flag-1")}
)
"""Flags that give a client another server if its own takes no new flows. pktlb always does so, so
they change nothing."""

METHODS: Final = {"g": "dsr", "i": "tunnel", "m": "nat"}
"Modes by option; -g is the default."

FORWARD: Final = {"dsr": "Route", "tunnel": "Tunnel", "nat": "Masq"}
"The words of listings, by mode."


def scheduler_keys(name: str, flags: tuple[str, ...] = ()) -> Keys:
    """The keys of a scheduler of IPVS with its flags. Raises `ConfigError` for unknown ones;
    `UnsupportedError` for what pktlb does not have."""
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
    """The scheduler and its flags as a listing of IPVS names them.

    pktlb's rr uses weights, as wrr of IPVS; with equal weights that is rr. A hash of fields that
    IPVS cannot hash is called `hash`.
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
    """The prefix length of a netmask: dotted for IPv4, or a number. Raises `ConfigError`."""
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
    """The netmask of an IPv4 prefix length: "255.255.255.0" of 24."""
    mask = ((1 << prefix) - 1) << (32 - prefix)
    return ".".join(str(octet) for octet in mask.to_bytes(4, "big"))


def persist_keys(seconds: int, mask: str | None, is_ipv6: bool) -> Keys:
    """Persistence in the keys of a service. Raises `ConfigError`."""
    keys: Keys = {"persist": seconds}
    if mask is not None:
        bits, key = (128, "persist_prefix6") if is_ipv6 else (32, "persist_prefix4")
        if (prefix := prefix_of(mask, bits)) != bits:
            keys[key] = prefix
    return keys
