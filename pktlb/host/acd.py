"""Address conflict detection: whether other machines on the link use an address (RFC 5227, 4862).

The times are shorter than the RFC's (three probes within three seconds, and two more to listen),
for an operator waits. An answer that comes later is heard by `pktlb.host.holder`, and told as a
conflict. No answer is to be trusted: any machine on the link can claim any address.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple, TypeVar

from pktlb.host import arp, nd
from pktlb.host.claim import Claim
from pktlb.host.onlink import OnLink

_T = TypeVar("_T")

_PROBES: Final = 3
_PAUSE_S: Final = 0.1
_LISTEN_S: Final = 0.15
"After the last probe."
_AT_ONCE: Final = 256
_BREATH_S: Final = 0.005
"Pause after so many frames: 50,000 a second at most."


class Target(NamedTuple):
    """An address that is to be probed for."""

    address: bytes
    link: int
    mac: bytes
    "Of the link."


async def probe(targets: Iterable[Target], own: Collection[bytes]) -> dict[bytes, Claim]:
    """The addresses that are in use, each with the first claim that was heard.

    All are probed for at the same time, in 0.35 s. `own` are the MACs of this machine: what they
    claim does not count. On a link that is down, no machine answers. `KernelError`: a link is gone,
    or the kernel gives no raw sockets.
    """
    wanted = list(targets)
    found: dict[bytes, Claim] = {}

    def note(claim: Claim) -> None:
        if claim.mac not in own:
            found.setdefault(claim.address, claim)

    with ExitStack() as stack:
        links: dict[int, OnLink] = {}
        for index in {target.link for target in wanted}:
            links[index] = OnLink(index, note, Counter())
            stack.callback(links[index].close)
            _listen(links[index], [t.address for t in wanted if t.link == index])
        for left in reversed(range(_PROBES)):
            for some in in_parts([t for t in wanted if t.address not in found]):
                for target in some:
                    links[target.link].send(len(target.address), _question(target))
                await asyncio.sleep(_BREATH_S)
            await asyncio.sleep(_PAUSE_S if left else _LISTEN_S)
    return found


def in_parts(things: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """As many at a time as may be sent at once."""
    for at in range(0, len(things), _AT_ONCE):
        yield things[at : at + _AT_ONCE]


def _question(target: Target) -> bytes:
    ask = arp.probe if len(target.address) == 4 else nd.probe
    return ask(target.address, target.mac)


def _listen(link: OnLink, addresses: Collection[bytes]) -> None:
    """Hear also of others that probe for the same IPv6 addresses: they ask a group for each."""
    link.heed(addresses)
    for group in {nd.group_mac(a) for a in addresses if len(a) == 16}:
        link.join(group)
