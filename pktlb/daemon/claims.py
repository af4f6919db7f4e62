"""Which addresses may be added: the ones that no other machine on the link uses.

An address is judged once, before it is added; the ones that were found in use are probed for again
now and then. What is held is announced and watched by `pktlb.host.holder`.
"""

import asyncio
import logging
import random
from collections.abc import Container, Iterable, Mapping
from typing import Final, NamedTuple

from pktlb.control.events import Events
from pktlb.errors import KernelError
from pktlb.host.acd import Target, probe
from pktlb.host.claim import Claim, format_mac
from pktlb.host.conflicts import Answer
from pktlb.host.holder import Holder
from pktlb.host.machine import Link, Machine
from pktlb.model import format_address

log: Final = logging.getLogger(__name__)

AGAIN_S: Final = 10.0
"""On average, from one probe for an address in use to the next. By chance more or less: two
balancers that start together see each other's probes, and one of them must come first."""
_FRESH_S: Final = 5.0
"How long an address that was found free may take to be added."

Home = tuple[bytes, int]
"An address, and the index of its link."


class _Taken(NamedTuple):
    """An address that another machine uses."""

    home: Home
    why: str


class Claims:
    """What is known of the addresses that the machine lacks, and the ones that pktlb holds."""

    def __init__(self, events: Events, changed: asyncio.Event, insists: bool = False) -> None:
        """`changed` is set when an address may be added that could not be before. One that
        `insists` never probes."""
        self._events: Final = events
        self._changed: Final = changed
        self._insists: Final = insists
        self._taken: Final[dict[bytes, _Taken]] = {}
        self._free: Final[dict[Home, float]] = {}
        "When each was found free."
        self._asked: Final[set[bytes]] = set()
        "Addresses that are being probed for."
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._holder: Final = Holder(self._tell)

    @property
    def trouble(self) -> Mapping[str, int]:
        """Frames that are not as they should be, by a sentence."""
        return self._holder.trouble

    def withheld(self) -> dict[bytes, str]:
        """The addresses that are not to be added as yet, each with the reason as in
        `pktlb.plan.placement.Before`."""
        return {**dict.fromkeys(self._asked, ""), **{a: t.why for a, t in self._taken.items()}}

    def unjudged(
        self, homes: Iterable[Home], added: Container[bytes], machine: Machine
    ) -> list[Home]:
        """The `homes` that have to be probed for before they are used: none that was `added`."""
        if self._insists:
            return []
        now = asyncio.get_running_loop().time()
        found = []
        for address, index in homes:
            is_fresh = now - self._free.get((address, index), -_FRESH_S) < _FRESH_S
            link = machine.links.get(index)
            if address not in added and not is_fresh and link is not None and link.mac:
                found.append((address, index))
        return found

    async def judge(self, homes: Iterable[Home], machine: Machine) -> None:
        """Find out which of the `homes` are free; the others are withheld from now on."""
        wanted = list(homes)
        links = machine.links
        targets = [Target(a, i, links[i].mac) for a, i in wanted if i in links]
        claims = await probe(targets, _macs(machine)) if targets else {}
        now = asyncio.get_running_loop().time()
        for address, index in wanted:
            if claim := claims.get(address):
                self._taken[address] = _Taken((address, index), _said(claim, links[index].name))
            else:
                self._taken.pop(address, None)
                self._free[address, index] = now

    def begin(self, homes: Iterable[Home], machine: Machine) -> None:
        """`judge` without waiting for it: until it is known, these are withheld."""
        wanted = [home for home in homes if home[0] not in self._asked]
        if not wanted:
            return
        self._asked.update(address for address, _ in wanted)
        task = asyncio.ensure_future(self._judge(wanted, machine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judge(self, homes: list[Home], machine: Machine) -> None:
        try:
            await self.judge(homes, machine)
        except KernelError as error:
            log.error("addresses are added without a probe: %s", error)
            self.insist(homes)
        finally:
            self._asked.difference_update(address for address, _ in homes)
            self._changed.set()

    async def settled(self) -> None:
        """Wait until nothing is being found out."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def insist(self, homes: Iterable[Home]) -> None:
        """Take these as free, whatever is known of them."""
        now = asyncio.get_running_loop().time()
        for home in homes:
            self._taken.pop(home[0], None)
            self._free[home] = now

    def insist_on_taken(self) -> None:
        """Take everything as free that was found in use."""
        self.insist([taken.home for taken in self._taken.values()])

    def forget(self, wanted: Iterable[bytes]) -> None:
        """Forget what is known of addresses that are not `wanted`."""
        for address in self._taken.keys() - set(wanted):
            del self._taken[address]

    def hold(self, added: Mapping[bytes, int], machine: Machine) -> None:
        """Announce and watch the addresses that were added, and no others."""
        links = machine.links
        for home in [home for home in self._free if added.get(home[0]) == home[1]]:
            del self._free[home]
        self._holder.hold(
            {a: links[i] for a, i in added.items() if i in links and links[i].mac}, _macs(machine)
        )

    def announce(self, addresses: Iterable[bytes]) -> None:
        """Announce addresses again that were put back."""
        self._holder.announce(addresses)

    async def ask_again(self, machine: Machine) -> None:
        """Probe once more for what was found in use."""
        before = dict(self._taken)
        await self.judge([taken.home for taken in before.values()], machine)
        if self._taken != before:
            self._changed.set()

    async def close(self) -> None:
        """Hold nothing any more, and find nothing out."""
        self._holder.close()
        for task in self._tasks:
            task.cancel()
        await self.settled()

    def _tell(self, claim: Claim, link: Link, answer: Answer) -> None:
        address, mac = format_address(claim.address), format_mac(claim.mac)
        text = f"{address} is used by {mac} on {link.name} as well"
        more = f", {answer.repeated} more claims since" if answer.repeated else ""
        more += f"; claims of others: {answer.unheard}" if answer.unheard else ""
        log.error("%s%s", text, more)
        self._events.publish("conflict", text, address=address, mac=mac, interface=link.name)


def wait_s() -> float:
    """Seconds to the next `ask_again`."""
    return AGAIN_S * random.uniform(0.5, 1.5)


def _macs(machine: Machine) -> frozenset[bytes]:
    """Of this machine: on a link where it has two interfaces, each hears the other."""
    return frozenset(link.mac for link in machine.links.values())


def _said(claim: Claim, link: str) -> str:
    verb = "is wanted by" if claim.is_probe else "is used by"
    return f"{verb} {format_mac(claim.mac)} on {link} (--force to insist)"
