"""The MACs of next hops: asked for, kept fresh, and remembered while they are asked for again.

The kernel does the asking (ARP, neighbour discovery). pktlb's own frames do not tell it that an
entry is in use, so pktlb tells it every few seconds. An entry that vanishes keeps its last MAC
until the kernel has a new one or gives up: a flushed neighbour table loses no frame.

The kernel first sends its questions to the last MAC. A next hop that does not answer them is not
given up yet: a question or an answer may be lost in an overload, or it has another MAC by now. The
kernel then asks by broadcast, and the last MAC is given up when that has no answer either.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from pktlb.host.machine import Machine

REFRESH_S: Final = 5.0
"How often the kernel is told that the entries are in use: the time it allows for an answer."

Way = tuple[int, bytes]
"Link and address of a next hop."


class NextHopMacs:
    """The MACs of the next hops, as far as they are known."""

    def __init__(self) -> None:
        self._macs: dict[Way, bytes] = {}
        self._doubted: set[Way] = set()
        self._failed: set[Way] = set()

    @property
    def macs(self) -> Mapping[Way, bytes]:
        return dict(self._macs)

    def update(self, machine: Machine, ways: Iterable[Way]) -> bool:
        """Take over what the kernel knows now about `ways`, and forget all others. Returns whether
        the kernel has to be asked for some of them."""
        known, doubted = self._macs, self._doubted
        self._macs, self._doubted, self._failed = {}, set(), set()
        ask = False
        for way in ways:
            neighbour = machine.neighbours.get(way)
            failed = neighbour is not None and neighbour.failed
            if neighbour is not None and neighbour.mac and not failed:
                self._macs[way] = neighbour.mac
                continue
            ask |= neighbour is None or (failed and way in known)
            if failed and (way in doubted or way not in known):
                self._failed.add(way)
            elif way in known:
                self._macs[way] = known[way]
                if failed or way in doubted:
                    self._doubted.add(way)
        return ask

    def settled(self, ways: Iterable[Way]) -> bool:
        """Whether each way is known, or known not to answer."""
        return all(way in self._macs or way in self._failed for way in ways)
