"""How the kernel's own ends of tunnels are kept out of the way of `pktlb decap`.

A raw socket gets a copy of a tunnel's packet; the kernel's module for such packets (ipip, sit,
ip6_tunnel), where it is loaded, gets it next, and no rule comes between the two. With a device of
it up, the kernel delivers the packet inside a second time. With none up, it answers "port
unreachable". So both are dropped one step later: the packet as it comes out of such a device, the
answer as it leaves this machine. Both rules hold for devices that come up later as well.
"""

from collections.abc import Collection
from typing import Final

from pktlb.model import Proto, format_address

TABLE: Final = "inet pktlb_decap"
DEVICES: Final = frozenset({768, 769, 776})
"Types of the kernel's devices for tunnels of IP in IP: ARPHRD_TUNNEL, _TUNNEL6 and _SIT."

_INSIDE: Final = {4: Proto.IPIP, 16: Proto.IPV6}
"Protocol of what has an IP packet inside, by the length of that one's addresses."
_ERRORS: Final = {
    4: f"meta l4proto {int(Proto.ICMP)} @th,0,16 {{ 0x0302, 0x0303 }}",
    16: f"meta l4proto {int(Proto.ICMPV6)} @th,0,16 {{ 0x0104, 0x0401 }}",
}
"""Type and code as one number, by the length of the addresses: protocol and port unreachable (RFC
792), port unreachable and unrecognized next header (RFC 4443)."""
_ICMP_HEADER: Final = 8
_HEADER: Final = {4: 20, 16: 40}
_PROTO_AT: Final = {4: 9, 16: 6}
_DESTINATION_AT: Final = {4: 16, 16: 24}


def rules(vips: Collection[bytes]) -> str:
    """The chains of the table: for packets of a tunnel whose inner ones are for `vips`."""
    answers, copies = [], []
    for inner, family in ((4, "ip"), (16, "ip6")):
        here = [vip for vip in vips if len(vip) == inner]
        if not here:
            continue
        answers += [_answers(outer, inner, here) for outer in _HEADER]
        devices = ", ".join(map(str, sorted(DEVICES)))
        listed = ", ".join(map(format_address, here))
        copies.append(
            f"{family} daddr {{ {listed} }} meta iiftype {{ {devices} }} counter drop"
        )  # fmt: skip
    return "\n".join([
        *("chain answers {", "type filter hook output priority -300; policy accept;"),
        *answers,
        *("}", "chain copies {", "type filter hook prerouting priority -300; policy accept;"),
        *copies,
        "}",
    ])  # fmt: skip


def _answers(outer: int, inner: int, vips: Collection[bytes]) -> str:
    """A rule for the answers to packets of one family that have such of another inside. The quoted
    outer header has no options: pktlb writes none."""
    proto = 8 * (_ICMP_HEADER + _PROTO_AT[outer])
    destination = 8 * (_ICMP_HEADER + _HEADER[outer] + _DESTINATION_AT[inner])
    listed = ", ".join(f"0x{vip.hex()}" for vip in vips)
    return (
        f"{_ERRORS[outer]} @th,{proto},8 {int(_INSIDE[inner])} "
        f"@th,{destination},{8 * inner} {{ {listed} }} counter drop"
    )
