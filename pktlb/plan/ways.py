"""The next machine on a way, and the address that this machine speaks from. Pure functions."""

from collections.abc import Container

from pktlb.host.machine import Machine, is_global
from pktlb.host.neighbours import Way


def speaker(
    machine: Machine, link: int, size: int,
    added: Container[bytes] = (), vips: Container[bytes] = (),
) -> bytes | None:  # fmt: skip
    """An address from which the machine itself speaks on a link: one of the link, or of any."""
    usable = [
        a
        for a in machine.addresses
        if len(a.address) == size and is_global(a.address) and a.address not in added
        if a.link == link or a.address not in vips
    ]
    first = min(usable, key=lambda a: a.link != link, default=None)
    return first.address if first else None


def way_to(machine: Machine, address: bytes) -> Way | None:
    """Link and address of the next machine on the way to `address`."""
    route = machine.routes.get(address)
    if route is None or route.local or not route.source or route.link not in machine.links:
        return None
    return route.link, route.gateway or address
