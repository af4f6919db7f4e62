"""The nftables table `netdev pktlb`: it keeps the kernel away from the frames that pktlb handles.

Raw sockets see a frame before the ingress hook, so what is dropped there has been read already.
The table also remembers which addresses pktlb has added: it lives exactly as long as they do, even
when the process is killed, and in the same network namespace.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from pktlb.model import Proto, Vip, format_address

TABLE: Final = "netdev pktlb"
OWNED_SETS: Final = ("owned4", "owned6")
"The sets of the addresses that pktlb has added, for IPv4 and IPv6."


@dataclass(frozen=True, slots=True)
class Guard:
    """What the table holds."""

    devices: Sequence[str]
    services: frozenset[Vip]
    replies: frozenset[Vip]
    "NAT: the backends, whose packets may be replies that have to be translated."
    returns: frozenset[Vip]
    "The others: what backends send from the VIPs, to be sent on to the clients."
    snat: Sequence[bytes]
    "Where replies go to when clients are translated: others are not held back then."
    own_ports: range
    "Ports that the kernel chooses for its own connections: not those of translated clients."
    owned: Sequence[tuple[bytes, int]]
    "Addresses that pktlb adds, each with the index of its interface."
    forwarded: bool = False
    "Whether everything that is not for this machine is held."


class _Family(NamedTuple):
    """What nft calls things in one family."""

    name: str
    ip: str
    later: str
    "A fragment that is not the first."
    unforwardable: str
    "What no router sends on."


_FAMILIES: Final = {
    4: _Family(
        "4",
        "ip",
        "ip frag-off & 0x1fff != 0",
        "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3",
    ),
    16: _Family("6", "ip6", "frag frag-off != 0", "::/120, fe80::/10, ff00::/8"),
}
"By the length of an address."
_PORTED: Final = {int(Proto.TCP): "tcp", int(Proto.UDP): "udp"}
_ICMP: Final = f"{{ {int(Proto.ICMP)}, {int(Proto.ICMPV6)} }}"
_WHOLE: Final = (0, 65535)


class _Set(NamedTuple):
    """A set of nft's, with something in it."""

    name: str
    kind: str
    elements: tuple[str, ...]

    def __str__(self) -> str:
        listed = ", ".join(self.elements)
        return f"set {self.name} {{ type {self.kind}; elements = {{ {listed} }}; }}"


def render(guard: Guard) -> str:
    """The nft script that replaces the table by this one, in one transaction."""
    begin = [f"add table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"]
    return "\n".join([*begin, *map(str, _lines(guard)), "}", ""])


def render_change(before: Guard, after: Guard) -> str:
    """The same, for a table that is as `before`: only what is in other sets now, where that is all
    that differs. A few elements are in place in no time, however many there are besides.

    Where an element is depends on one address, so only the addresses are looked at that differ in
    something, and one of each kind of what is at others: that says which sets there are.
    """
    touched = _touched(before, after)
    old, new = _sets(_at(before, touched)), _sets(_at(after, touched))
    if _frame(before) != _frame(after):
        return render(after)
    if old.keys() != new.keys():
        staying = _sets(_kinds(_at(before, touched, outside=True))).keys()
        if old.keys() | staying != new.keys() | staying:
            return render(after)
    lines = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name, ()), new.get(name, ())
        lines += _elements("delete", name, was, now)
        lines += _elements("add", name, now, was)
    return "\n".join([*lines, ""])


def _elements(verb: str, name: str, of: Sequence[str], but: Sequence[str]) -> list[str]:
    known = set(but)
    listed = [element for element in of if element not in known]
    return [f"{verb} element {TABLE} {name} {{ {', '.join(listed)} }}"] if listed else []


def _touched(before: Guard, after: Guard) -> frozenset[bytes]:
    """The addresses of whatever is not in both."""
    ends = (
        *(before.services ^ after.services),
        *(before.replies ^ after.replies),
        *(before.returns ^ after.returns),
    )
    owned = set(before.owned) ^ set(after.owned)
    return frozenset([vip.address for vip in ends] + [address for address, _ in owned])


def _at(guard: Guard, addresses: frozenset[bytes], outside: bool = False) -> Guard:
    """What it holds of these addresses, or of all others."""

    def chosen(vips: frozenset[Vip]) -> frozenset[Vip]:
        return frozenset([vip for vip in vips if (vip.address in addresses) is not outside])

    return replace(
        guard,
        services=chosen(guard.services),
        replies=chosen(guard.replies),
        returns=chosen(guard.returns),
        snat=(),
        owned=[each for each in guard.owned if (each[0] in addresses) is not outside],
    )


def _kinds(guard: Guard) -> Guard:
    """One of each kind of end: as many sets, with little in them."""

    def some(vips: frozenset[Vip]) -> frozenset[Vip]:
        kinds = {
            (len(address), low == high, high - low, protos): (address, low, high, protos)
            for address, low, high, protos in vips
        }
        return frozenset(Vip(*each) for each in kinds.values())

    return replace(
        guard,
        services=some(guard.services),
        replies=some(guard.replies),
        returns=some(guard.returns),
        owned=list({len(each[0]): each for each in guard.owned}.values()),
    )


def _sets(guard: Guard) -> dict[str, tuple[str, ...]]:
    """The elements of each set."""
    return {line.name: line.elements for line in _lines(guard) if isinstance(line, _Set)}


def _frame(guard: Guard) -> tuple[object, ...]:
    """What the table has besides sets."""
    return tuple(guard.devices), tuple(guard.snat), guard.own_ports, guard.forwarded


def _lines(guard: Guard) -> list[str | _Set]:
    """What is in the table."""
    lines: list[str | _Set] = []
    for size, family in _FAMILIES.items():
        rules = [
            *_held(guard.services, "services", "daddr", size, lines),
            *_held(guard.returns, "returns", "saddr", size, lines),
        ]
        if replies := _held(guard.replies, "replies", "saddr", size, lines):
            rules += [*_not_replies(guard, size, lines), *replies]
        if guard.forwarded:
            rules += _forwarded(family)
        owned = [f"{format_address(a)} . {link}" for a, link in guard.owned if len(a) == size]
        kind = f"ipv{family.name}_addr . mark"
        lines += [
            *_set(f"owned{family.name}", kind, owned),
            f"chain held{family.name} {{",
            *rules,
            "}",
        ]
    lines += ["chain held {", "meta protocol ip jump held4", "meta protocol ip6 jump held6", "}"]
    for number, device in enumerate(guard.devices):
        hook = f'type filter hook ingress device "{device}" priority -300; policy accept;'
        # "ether type" sees the tag of a frame that is for a VLAN device; "ip" alone does not.
        lines += [
            f"chain ingress{number} {{",
            hook,
            "ether type { ip, ip6 } meta pkttype host jump held",
            "}",
        ]
    return lines


def _held(
    vips: Iterable[Vip], name: str, side: str, size: int, lines: list[str | _Set]
) -> list[str]:
    """The rules that hold these ends, of one family; the sets that they need go to `lines`.

    Of a fragment only the first has ports; the others are held by address, and given back where
    they are not ours.
    """
    family = _FAMILIES[size]
    ends = sorted(vip for vip in vips if len(vip.address) == size)
    if not ends:
        return []
    name, address = f"{name}{family.name}", f"{family.ip} {side}"
    port = "th dport" if side == "daddr" else "th sport"
    everything = [vip.address for vip in ends if not vip.protos]
    protos = [(vip.address, proto) for vip in ends for proto in vip.protos if _is_whole(vip, proto)]
    single = [
        f"{_end(vip.address, proto)} . {vip.low}"
        for vip in ends
        for proto in vip.protos
        if vip.low == vip.high and not _is_whole(vip, proto)
    ]
    ranges = [f"{_end(*key)} . {low}-{high}" for key, low, high in _joined(ends)]
    kind = f"ipv{family.name}_addr"
    rules = []
    for suffix, of_kind, elements, rule in (
        ("", kind, [format_address(vip.address) for vip in ends],
         f"{family.later} {address} @{name} drop"),
        ("_all", kind, map(format_address, everything),
         f"{address} @{name}_all meta l4proto != {_ICMP} drop"),
        ("_protos", f"{kind} . inet_proto", [_end(*each) for each in protos],
         f"{address} . meta l4proto @{name}_protos drop"),
        ("_ports", f"{kind} . inet_proto . inet_service", single,
         f"{address} . meta l4proto . {port} @{name}_ports drop"),
        ("_ranges", f"{kind} . inet_proto . inet_service; flags interval", ranges,
         f"{address} . meta l4proto . {port} @{name}_ranges drop"),
    ):  # fmt: skip
        listed = list(dict.fromkeys(elements))
        if listed:
            lines += _set(name + suffix, of_kind, listed)
            rules.append(rule.replace(f"@{name} ", f"@{name + suffix} "))
    return rules


def _is_whole(vip: Vip, proto: int) -> bool:
    """Whether ports do not matter."""
    return proto not in _PORTED or (vip.low, vip.high) == _WHOLE


def _joined(vips: Iterable[Vip]) -> list[tuple[tuple[bytes, int], int, int]]:
    """Ranges of ports by address and protocol, apart from each other, as nft wants them; single
    ports are in a set of their own, whether they are in a range or not."""
    joined: list[tuple[tuple[bytes, int], int, int]] = []
    given = {
        ((vip.address, proto), vip.low, vip.high)
        for vip in vips
        for proto in vip.protos
        if vip.low < vip.high and not _is_whole(vip, proto)
    }
    for key, low, high in sorted(given):
        if joined and joined[-1][0] == key and low <= joined[-1][2] + 1:
            joined[-1] = key, joined[-1][1], max(high, joined[-1][2])
        else:
            joined.append((key, low, high))
    return joined


def _not_replies(guard: Guard, size: int, lines: list[str | _Set]) -> list[str]:
    """What cannot be a reply to a client, though it comes from a backend: it is left alone."""
    if not guard.snat:
        return ["fib daddr type local accept"]
    family = _FAMILIES[size]
    clients = [format_address(address) for address in guard.snat if len(address) == size]
    lines += _set(f"clients{family.name}", f"ipv{family.name}_addr", clients)
    rules = [f"{family.ip} daddr != @clients{family.name} accept"]
    if own := guard.own_ports:
        rules.append(f"th dport {own.start}-{own.stop - 1} accept")
    return rules


def _forwarded(family: _Family) -> list[str]:
    """Whatever this machine would send on; what it has for itself or for many stays with it."""
    return [
        f"{family.ip} daddr {{ {family.unforwardable} }} accept",
        "fib daddr type != { local, broadcast, multicast, anycast } drop",
    ]


def is_whole(guard: Guard, listing: Sequence[str]) -> bool:
    """Whether a listing has everything that keeps the kernel away, on each device."""
    wanted = render(_kinds(guard)).split()
    return all(listing.count(verb) == wanted.count(verb) for verb in ("drop", "jump")) and all(
        any(f'"{device}"' in word for word in listing) for device in guard.devices
    )


def _set(name: str, kind: str, elements: Sequence[str]) -> list[_Set]:
    return [_Set(name, kind, tuple(elements))] if elements else []


def _end(address: bytes, proto: int) -> str:
    return f"{format_address(address)} . {proto}"
