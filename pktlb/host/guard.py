"""The nftables tables of pktlb, as text: they keep the kernel away from pktlb's frames.

Raw sockets see a frame before the ingress hook, so pktlb has read what is dropped there. There are
two tables with the same rules:

- The ordinary one remembers which addresses pktlb has added: like them it stays in the network
  namespace when the process is killed. Any program can flush it.
- The kept one belongs to a socket of this process: no other program can flush it, and it goes with
  the process. It holds what it can while the ordinary one is away.

`pktlb.host.nft` puts the text in place.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from pktlb.model import Proto, Vip, format_address


class Table(NamedTuple):
    """One of the tables."""

    name: str
    "With its family."
    priority: int
    "Of its hooks."
    flags: str = ""


ORDINARY: Final = Table("netdev pktlb", -300)
KEPT: Final = Table("netdev pktlb_kept", -299, "owner")
"Its hooks come second: a packet that the ordinary table drops costs nothing more."
TABLES: Final = (ORDINARY, KEPT)
OWNED_SETS: Final = ("owned4", "owned6")
"The sets of the addresses that pktlb has added, for IPv4 and IPv6."


@dataclass(frozen=True, slots=True)
class Guard:
    """What the table holds back from the kernel; addresses are packed."""

    devices: Sequence[str]
    "Names of the interfaces whose frames are held back."
    services: frozenset[Vip]
    "What clients dial."
    replies: frozenset[Vip]
    "NAT: the backends. Their packets may be replies that have to be translated."
    returns: frozenset[Vip]
    "Other modes: the VIPs. Backends send replies from them, to be sent on to the clients."
    snat: Sequence[bytes]
    "Addresses that stand in for clients. If there are some, only replies to them are held back."
    own_ports: range
    "Ports that the kernel chooses for its own connections; no translated client has one."
    owned: Sequence[tuple[bytes, int]]
    "Addresses that pktlb adds, each with the index of its interface."
    forwarded: bool = False
    "Whether everything is held back that is not for this machine."


class _Family(NamedTuple):
    """The words of nft for one family."""

    name: str
    ip: str
    later: str
    "The condition of a fragment that is not the first one."
    unforwardable: str
    "Addresses to which no router sends anything on."


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
_TAGS: Final = ("8021q", "8021ad")
_IN_VLAN: Final = "vlan type { ip, ip6 }"


class _Set(NamedTuple):
    """A set of nft, with at least one element."""

    name: str
    kind: str
    elements: tuple[str, ...]

    def __str__(self) -> str:
        listed = ", ".join(self.elements)
        return f"set {self.name} {{ type {self.kind}; elements = {{ {listed} }}; }}"


def render(guard: Guard, table: Table = ORDINARY) -> str:
    """The script for nft that replaces the table by this one, in one transaction."""
    name = table.name
    flags = [f"flags {table.flags};"] if table.flags else []
    made = " ".join([f"add table {name} {{", *flags, "}"])
    lines = map(str, _lines(guard, table.priority))
    body = [*flags, *lines]
    return "\n".join([made, f"delete table {name}", f"table {name} {{", *body, "}", ""])


def render_change(before: Guard, after: Guard, tables: Sequence[Table] = (ORDINARY,)) -> str:
    """The script for nft that makes `after` of tables that are as `before`, in one transaction:
    only the elements that differ, if rules and sets are the same; otherwise all.

    The set of an element depends on its address and kind alone. So only addresses are looked at
    where something differs. Which sets there are is seen from one element of each kind.
    """
    touched = _touched(before, after)
    old, new = _sets(_at(before, touched)), _sets(_at(after, touched))
    if _frame(before) != _frame(after):
        return "".join(render(after, table) for table in tables)
    if old.keys() != new.keys():
        staying = _sets(_kinds(_at(before, touched, outside=True))).keys()
        if old.keys() | staying != new.keys() | staying:
            return "".join(render(after, table) for table in tables)
    lines = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name, ()), new.get(name, ())
        gone, added = _elements(was, now), _elements(now, was)
        for table in tables:
            lines += [f"delete element {table.name} {name} {gone}"] if gone else []
            lines += [f"add element {table.name} {name} {added}"] if added else []
    return "\n".join([*lines, ""])


def _elements(of: Sequence[str], but: Sequence[str]) -> str:
    known = set(but)
    listed = [element for element in of if element not in known]
    return f"{{ {', '.join(listed)} }}" if listed else ""


def _touched(before: Guard, after: Guard) -> frozenset[bytes]:
    """The addresses of the ends and own addresses that are in one of the two only."""
    ends = (
        *(before.services ^ after.services),
        *(before.replies ^ after.replies),
        *(before.returns ^ after.returns),
    )
    owned = set(before.owned) ^ set(after.owned)
    return frozenset([vip.address for vip in ends] + [address for address, _ in owned])


def _at(guard: Guard, addresses: frozenset[bytes], outside: bool = False) -> Guard:
    """The guard with these addresses alone, or with all others; without `snat`."""

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
    """The guard with one end of each kind: it has the same sets, each with few elements."""

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
    """The elements of each set, by its name."""
    return {line.name: line.elements for line in _lines(guard) if isinstance(line, _Set)}


def _frame(guard: Guard) -> tuple[object, ...]:
    """What the rules depend on besides the sets that there are."""
    return tuple(guard.devices), tuple(guard.snat), guard.own_ports, guard.forwarded


def _lines(guard: Guard, priority: int = ORDINARY.priority) -> list[str | _Set]:
    """The lines of the table: sets, and rules in their chains."""
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
        hook = f'type filter hook ingress device "{device}" priority {priority}; policy accept;'
        # "ether type" does not match a frame with a VLAN tag; "ip" alone would. A tag of VLAN 0 is
        # there for its priority alone: the frame is for this interface.
        lines += [
            f"chain ingress{number} {{",
            hook,
            "ether type { ip, ip6 } meta pkttype host jump held",
            *(
                f"ether type {tag} vlan id 0 {_IN_VLAN} meta pkttype host jump held"
                for tag in _TAGS
            ),
            "}",
        ]
    return lines


def _held(
    vips: Iterable[Vip], name: str, side: str, size: int, lines: list[str | _Set]
) -> list[str]:
    """The rules that hold these ends, of the family whose addresses have `size` bytes; the sets
    that they need are added to `lines`. `side` is "daddr" or "saddr".

    Only the first fragment of a packet has ports: all others of an address are held back, and
    pktlb gives the kernel back what it does not handle.
    """
    family = _FAMILIES[size]
    name, address = f"{name}{family.name}", f"{family.ip} {side}"
    port = "th dport" if side == "daddr" else "th sport"
    drops = (
        f"{family.later} {address} @{name} drop",
        f"{address} @{name}_all meta l4proto != {_ICMP} drop",
        f"{address} . meta l4proto @{name}_protos drop",
        f"{address} . meta l4proto . {port} @{name}_ports drop",
        f"{address} . meta l4proto . {port} @{name}_ranges drop",
    )
    rules = []
    ends = sorted(vip for vip in vips if len(vip.address) == size)
    kinds = _sets_of(ends, f"ipv{family.name}_addr")
    for (suffix, kind, elements), drop in zip(kinds, drops, strict=True):
        if elements:
            lines += _set(name + suffix, kind, elements)
            rules.append(drop)
    return rules


def _sets_of(ends: Sequence[Vip], address: str) -> Iterator[tuple[str, str, list[str]]]:
    """The sets that hold these ends: how each one's name ends, its kind and its elements, in the
    order of the rules. `address` is the kind of an address."""
    parts = [(vip, proto, _is_whole(vip, proto)) for vip in ends for proto in vip.protos]
    everything = [format_address(vip.address) for vip in ends if not vip.protos]
    protos = [_end(vip.address, proto) for vip, proto, is_whole in parts if is_whole]
    single = [
        f"{_end(vip.address, proto)} . {vip.low}"
        for vip, proto, is_whole in parts
        if vip.low == vip.high and not is_whole
    ]
    ranges = [f"{_end(*key)} . {low}-{high}" for key, low, high in _joined(ends)]
    for suffix, kind, elements in (
        ("", address, [format_address(vip.address) for vip in ends]),
        ("_all", address, everything),
        ("_protos", f"{address} . inet_proto", protos),
        ("_ports", f"{address} . inet_proto . inet_service", single),
        ("_ranges", f"{address} . inet_proto . inet_service; flags interval", ranges),
    ):
        yield suffix, kind, list(dict.fromkeys(elements))


def _is_whole(vip: Vip, proto: int) -> bool:
    """Whether a VIP has all ports of the protocol."""
    return proto not in _PORTED or (vip.low, vip.high) == _WHOLE


def _joined(vips: Iterable[Vip]) -> list[tuple[tuple[bytes, int], int, int]]:
    """The ranges of ports, by address and protocol. Ranges that touch are joined, because a set of
    nft takes none that overlap. Single ports are not in it: they have a set of their own."""
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
    """The rules for packets of backends that cannot be replies to clients: the kernel gets them."""
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
    """The rules that hold what this machine would send on; the kernel gets what is for itself, for
    a broadcast or for a multicast address."""
    return [
        f"{family.ip} daddr {{ {family.unforwardable} }} accept",
        "fib daddr type != { local, broadcast, multicast, anycast } drop",
    ]


def size(guard: Guard) -> tuple[int, int]:
    """How many chains and rules each of the tables has."""
    lines = [line for line in _lines(_kinds(guard)) if isinstance(line, str)]
    chains = sum(line.startswith("chain ") for line in lines)
    return chains, sum(not line.startswith(("chain ", "type ", "}")) for line in lines)


def is_whole(guard: Guard, listing: Sequence[str]) -> bool:
    """Whether a listing of nft, in words, has all rules of the guard, and all its devices."""
    wanted = render(_kinds(guard)).split()
    return all(listing.count(verb) == wanted.count(verb) for verb in ("drop", "jump")) and all(
        any(f'"{device}"' in word for word in listing) for device in guard.devices
    )


def _set(name: str, kind: str, elements: Sequence[str]) -> list[_Set]:
    return [_Set(name, kind, tuple(elements))] if elements else []


def _end(address: bytes, proto: int) -> str:
    return f"{format_address(address)} . {proto}"
