"""Which interface has taken the place of which: flows remember where their clients are by index."""

from collections.abc import Iterable, Mapping
from typing import Final

from pktlb.host.machine import Link

MOST: Final = 64
"Interfaces that are gone and remembered; of more, the earliest are forgotten."


class Successors:
    """Interfaces that are gone, by index, each with the one that has its name now."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self._of: dict[int, int] = {}

    @property
    def of(self) -> Mapping[int, int]:
        """The successor's index by that of the interface which is gone."""
        return dict(self._of)

    def note(self, ports: Iterable[Link]) -> None:
        """Note which interfaces are there now."""
        each = list(ports)
        there = {port.index for port in each}
        for port in each:
            before = self._latest.get(port.name)
            self._latest[port.name] = port.index
            if before is None or before in there:
                continue
            for gone, successor in self._of.items():
                if successor == before:
                    self._of[gone] = port.index
            self._of[before] = port.index
        self._of = {gone: now for gone, now in self._of.items() if gone not in there}
        while len(self._of) > MOST:
            del self._of[next(iter(self._of))]
