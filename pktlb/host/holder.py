"""Holds addresses on links: announces them to the neighbours, and watches for others that use them.

An announcement is repeated, for a frame may be lost and a switch may not be ready yet. Nothing
waits for it. See RFC 5227, sections 2.3 and 2.4, and RFC 4861, section 7.2.6.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from pktlb.errors import KernelError
from pktlb.host import arp, nd, sysctl
from pktlb.host.acd import in_parts
from pktlb.host.claim import Claim
from pktlb.host.conflicts import Answer, Conflicts
from pktlb.host.machine import Link
from pktlb.host.onlink import OnLink

log: Final = logging.getLogger(__name__)

_PAUSES_S: Final = (0.0, 1.0, 1.0, 3.0)
"Before each announcement: at 0, 1, 2 and 5 s."
_BREATH_S: Final = 0.01

Tell = Callable[[Claim, Link, Answer], None]


class Holder:
    """The addresses that are held, each with its link."""

    def __init__(self, tell: Tell) -> None:
        """`tell` is called for a conflict that is to be told."""
        self._tell: Final = tell
        self.trouble: Final[Counter[str]] = Counter()
        "Frames that are not as they should be, by a sentence."
        self._held: dict[bytes, Link] = {}
        self._own: Collection[bytes] = ()
        self._sockets: Final[dict[int, OnLink]] = {}
        "By the index of the link."
        self._conflicts: Final = Conflicts()
        self._latest: Final[dict[bytes, object]] = {}
        "The latest announcement of each address: an earlier one that is under way leaves it out."
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def hold(self, wanted: Mapping[bytes, Link], own: Collection[bytes]) -> None:
        """Hold these addresses and no others from now on.

        Those are announced that are new, on another link, or on a link that has another MAC or has
        come up. `own` are the MACs of this machine.
        """
        self._own = own
        for index in [i for i, link in self._sockets.items() if not link.is_bound()]:
            self._sockets.pop(index).close()
            self._held = {a: link for a, link in self._held.items() if link.index != index}
        if wanted == self._held:
            return
        for address in self._held.keys() - wanted.keys():
            del self._held[address]
            self._latest.pop(address, None)
            self._conflicts.forget(address)
        before, self._held = self._held, {}
        for index in {link.index for link in wanted.values()} | self._sockets.keys():
            here = {a: link for a, link in wanted.items() if link.index == index}
            there = {a for a, link in before.items() if link.index == index}
            if self._is_heeded(index, here, there):
                self._held.update(here)
        self.announce(
            a for a, link in self._held.items() if link.up and not _is_same(before.get(a), link)
        )

    def _is_heeded(self, index: int, here: Collection[bytes], before: Collection[bytes]) -> bool:
        """Listen on a link for what is claimed of the addresses that are held here now."""
        if not here:
            self._sockets.pop(index).close()
            return False
        if index in self._sockets and set(here) == before:
            return True
        link = self._sockets.get(index) or OnLink(index, self._heard, self.trouble)
        try:
            link.heed(here)
        except KernelError as error:  # the link may have gone a moment ago
            log.error("addresses are neither announced nor watched: %s", error)
            link.close()
            self._sockets.pop(index, None)
            return False
        self._sockets[index] = link
        return True

    def announce(self, addresses: Iterable[bytes]) -> None:
        """Begin to announce those of the addresses that are held."""
        wanted = [address for address in addresses if address in self._held]
        if not wanted:
            return
        token = object()
        self._latest.update(dict.fromkeys(wanted, token))
        task = asyncio.ensure_future(self._announce(wanted, token))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Hold nothing any more."""
        for task in self._tasks:
            task.cancel()
        for link in self._sockets.values():
            link.close()
        self._sockets.clear()
        self._held.clear()

    async def _announce(self, addresses: Iterable[bytes], token: object) -> None:
        for pause_s in _PAUSES_S:
            await asyncio.sleep(pause_s)
            current = [a for a in addresses if self._latest.get(a) is token]
            for some in in_parts(current):
                self._send(some)
                await asyncio.sleep(_BREATH_S)

    def _send(self, addresses: Iterable[bytes]) -> None:
        """Announce these addresses once, those of them that are held."""
        routers: dict[str, bool] = {}
        for address in addresses:
            link = self._held.get(address)
            if link is None:
                continue
            if link.name not in routers:
                routers[link.name] = _is_router(link.name)
            for frame in _frames(address, link.mac, routers[link.name]):
                self._sockets[link.index].send(len(address), frame)

    def _heard(self, claim: Claim) -> None:
        """A machine on a link claims a held address; a probe is the kernel's to answer."""
        link = self._held.get(claim.address)
        if link is None or claim.is_probe or claim.mac in self._own:
            return
        self.trouble["ARP and ND: another machine claims an address that is held"] += 1
        answer = self._conflicts.note(claim, asyncio.get_running_loop().time())
        if answer.defended:
            self._send([claim.address])
        if answer.told:
            self._tell(claim, link, answer)


def _frames(address: bytes, mac: bytes, is_router: bool) -> Collection[bytes]:
    if len(address) == 4:
        return arp.announcements(address, mac)
    return (nd.announcement(address, mac, is_router),)


def _is_router(name: str) -> bool:
    return sysctl.read(f"net/ipv6/conf/{name}/forwarding") == "1"


def _is_same(before: Link | None, now: Link) -> bool:
    """Whether neighbours need not hear of it again."""
    return before is not None and (before.index, before.mac, before.up) == (
        now.index, now.mac, now.up,
    )  # fmt: skip
