"""How often conflicts about held addresses are told and answered. Pure: the time is an argument.

A forger can send as many claims as it likes, of any address and from any MAC. So there are three
bounds: on what is told of an address and a MAC, of an address, and altogether.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from pktlb.host.claim import Claim

EVERY_S: Final = 10.0
"DEFEND_INTERVAL (RFC 5227, section 1.1); a conflict that goes on is told as often."
_MACS: Final = 3
"MACs that are told for one address within that time."
_LINES: Final = 20
"Conflicts that are told within that time."
_REMEMBERED: Final = 1024
"Pairs of address and MAC."


class Answer(NamedTuple):
    """What a claim calls for."""

    told: bool = False
    "It is to be told."
    repeated: int = 0
    "Claims of this MAC to this address that were not told since the last one that was."
    unheard: int = 0
    "Claims that were not told because of the other two bounds."
    defended: bool = False
    "The address is to be announced (RFC 5227, section 2.4)."


class Conflicts:
    """What was told and answered of late."""

    def __init__(self) -> None:
        self._told: Final[OrderedDict[tuple[bytes, bytes], tuple[float, int]]] = OrderedDict()
        "When it was told, and how many claims came since, by address and MAC."
        self._recent: Final[list[tuple[float, bytes]]] = []
        "Time and address of what was told within `EVERY_S`; `_LINES` at most."
        self._defended: Final[dict[bytes, float]] = {}
        self._unheard = 0

    def note(self, claim: Claim, now: float) -> Answer:
        """Take note of a claim to a held address from another machine."""
        defended = now - self._defended.get(claim.address, -EVERY_S) >= EVERY_S
        if defended:
            self._defended[claim.address] = now
        pair = claim.address, claim.mac
        at, since = self._told.get(pair, (-EVERY_S, 0))
        if now - at < EVERY_S:
            self._told[pair] = at, since + 1
            return Answer(defended=defended)
        if not self._has_room(claim.address, now):
            self._unheard += 1
            return Answer(defended=defended)
        unheard, self._unheard = self._unheard, 0
        self._told[pair] = now, 0
        self._told.move_to_end(pair)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        self._recent.append((now, claim.address))
        return Answer(True, since, unheard, defended)

    def forget(self, address: bytes) -> None:
        """The address is held no more."""
        self._defended.pop(address, None)
        for pair in [pair for pair in self._told if pair[0] == address]:
            del self._told[pair]

    def _has_room(self, address: bytes, now: float) -> bool:
        self._recent[:] = [each for each in self._recent if now - each[0] < EVERY_S]
        of_address = sum(each[1] == address for each in self._recent)
        return len(self._recent) < _LINES and of_address < _MACS
