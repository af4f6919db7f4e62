"""What can be done and is worth a warning all the same. Pure functions.

A VIP may be an address that the machine has by itself. Then a service takes the place of what
listens there, such as the SSH server, and the machine may have no other address of its own.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from pktlb.config.service import Service
from pktlb.host.machine import Address, Listener, Machine, is_global
from pktlb.model import Proto, Vip, format_address
from pktlb.plan.placement import TUN, Placement

_MOST: Final = 4
"Listeners of one service that are told one by one."


def pending_anew(before: Placement, after: Placement) -> tuple[str, ...]:
    """What waits for the machine from now on; what is refused is told otherwise."""
    return tuple(
        str(each)
        for each in after.pending
        if not each.is_refused and each not in before.pending
    )  # fmt: skip


def suspects(
    before: Iterable[Service], after: Iterable[Service], placement: Placement
) -> list[Service]:
    """The services of `after` whose VIP is new and may be an address that the machine has by
    itself: pktlb need not add it."""
    there = {service.vip for service in before}
    ours = dict(placement.addresses)
    new = (each for each in after if each.vip not in there and not each.vip.any)
    return [each for each in new if each.vip.address not in ours]


def caveats(
    services: Sequence[Service], before: Iterable[Service], machine: Machine,
    added: Collection[tuple[bytes, int]], listeners: Sequence[Listener],
) -> Iterator[str]:  # fmt: skip
    """A sentence for each caveat of new `services`, beside the ones of `before`.

    `added` are the addresses that pktlb itself has added, with their links.
    """
    own = [a for a in machine.without(TUN).addresses if (a.address, a.link) not in added]
    vips = {each.vip.address for each in services} - {each.vip.address for each in before}
    for address in own:
        link = machine.links[address.link]
        if address.address in vips and link.mac and _is_only(address, own):
            yield (
                f"vip {format_address(address.address)}: is the only address of {link.name}: "
                "this machine has no other one there for itself"
            )
    addresses = {address.address for address in own}
    for service in services:
        if service.vip.address in addresses:
            yield from _listened_to(service.vip, listeners)


def _is_only(address: Address, own: Iterable[Address]) -> bool:
    """Whether its link has no other address of this family that is of use beyond the link."""
    return not any(
        other.link == address.link
        and other.address != address.address
        and len(other.address) == len(address.address)
        and is_global(other.address)
        for other in own
    )


def _listened_to(vip: Vip, listeners: Iterable[Listener]) -> Iterator[str]:
    found: dict[tuple[int, int], str] = {}
    for each in listeners:
        is_served = vip.low <= each.port <= vip.high and each.proto in (vip.protos or (each.proto,))
        if is_served and each.hears(vip.address):
            found.setdefault((each.port, each.proto), each.holder)
    for (port, proto), holder in sorted(found.items())[:_MOST]:
        where = "there" if vip.low == vip.high else f"on {port}/{Proto(proto).name.lower()}"
        yield (
            f"vip {vip}: this machine listens {where} itself ({holder}): "
            "clients of the VIP no longer reach it"
        )
    if len(found) > _MOST:
        more = len(found) - _MOST
        yield f"vip {vip}: this machine listens on {more} more of its ports"
