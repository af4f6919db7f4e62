"""The MACs of next hops: asked for, kept fresh, and remembered while they are asked for again.

The kernel does the asking (ARP); pktlb's own frames do not tell it that an entry is in use, so it
is told every few seconds. An entry that vanishes keeps its last MAC until the kernel has a new
one or gives up, so a flushed neighbour table loses no frame.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from pktlb.host.machine import Machine

REFRESH_S: Final = 5.0
"How often the kernel is told that the entries are in use: the time it allows for an answer."

Way = tuple[int, bytes]
"Link and address of a next hop."


class NextHopMacs:
    """What is known of the next hops."""

    def __init__(self) -> None:
        self._macs: dict[Way, bytes] = {}
        self._failed: set[Way] = set()

    @property
    def macs(self) -> Mapping[Way, bytes]:
        return dict(self._macs)

    def update(self, machine: Machine, ways: Iterable[Way]) -> None:
        """Take over what the kernel knows now about `ways`."""
        known = dict(self._macs)
        self._macs, self._failed = {}, set()
        for way in ways:
            neighbour = machine.neighbours.get(way)
            if neighbour is not None and neighbour.failed:
                self._failed.add(way)
            elif neighbour is not None and neighbour.mac:
                self._macs[way] = neighbour.mac
            elif way in known:
                self._macs[way] = known[way]

    def settled(self, ways: Iterable[Way]) -> bool:
        """Whether each way is known, or known not to answer."""
        return all(way in self._macs or way in self._failed for way in ways)
