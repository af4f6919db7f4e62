"""Fragments on their way: which flow they belong to, told by the first one of their packet.

Nothing is put together here: a fragment is sent on as soon as it is known where to. One that comes
before the first is held. All of it is bounded, in time as well; a packet whose fragments overlap is
refused as a whole (RFC 5722), as it could look different to a filter and to its receiver. One that
brings nothing new is dropped alone.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.packet import Fragment, View
from pktlb.model import Reason

LIFETIME_S: Final = 15.0
"Seconds from a packet's first fragment to arrive: RFC 791 (section 3.2) begins with as many."
MAX_TRAILS: Final = 4096
MAX_HELD_BYTES: Final = 4 << 20
HELD_COST: Final = 512
"What a fragment takes beside its bytes: the smallest ones fill the room, too."
MAX_PARTS: Final = 16
"Parts of a packet that may have come with something missing between them."


class Held(NamedTuple):
    """A fragment that waits for the first one."""

    frame: Frame
    view: View


class Trail:
    """What is known of one packet."""

    __slots__ = ("born", "end", "first", "held", "parts", "refused")

    def __init__(self, now: float) -> None:
        self.born = now
        self.first: FlowKey | Reason | None = None
        "Of the first fragment: its key where it was sent on, else what became of it."
        self.held: list[Held] = []
        self.parts: list[tuple[int, int]] = []
        "What has been seen, in order and apart from each other: first byte, and the one behind."
        self.end: int | None = None
        "Length of the whole packet, once its last fragment has been seen."
        self.refused = False

    def note(self, fragment: Fragment) -> bool:
        """Whether a fragment is new and fits those before it; where it overlaps, none will ever."""
        start, stop = fragment.start, fragment.stop
        if self.refused or any(low <= start and stop <= high for low, high in self.parts):
            return False  # of a refused packet, or the same again
        self.refused = self._contradicts(fragment)
        if self.refused:
            return False
        if not fragment.more:
            self.end = stop
        self.parts = sorted([*self.parts, (start, stop)])
        joined = [self.parts[0]]
        for low, high in self.parts[1:]:
            if low == joined[-1][1]:
                joined[-1] = (joined[-1][0], high)
            else:
                joined.append((low, high))
        self.parts = joined
        self.refused = len(joined) > MAX_PARTS
        return not self.refused

    def _contradicts(self, fragment: Fragment) -> bool:
        """It overlaps another, or lies behind the end, or ends the packet in another place."""
        start, stop = fragment.start, fragment.stop
        if any(low < stop and start < high for low, high in self.parts):
            return True
        if self.end is not None:
            return stop > self.end or not fragment.more
        return not fragment.more and any(high > stop for _, high in self.parts)

    @property
    def complete(self) -> bool:
        """Whether all of the packet has come by."""
        return self.end is not None and self.parts == [(0, self.end)]


class Trails:
    """All packets of which fragments are under way, the oldest first."""

    def __init__(self, on_lost: Callable[[Reason, int], None]) -> None:
        """`on_lost` is told what has become of so many fragments that were held."""
        self._on_lost = on_lost
        self._trails: OrderedDict[bytes, Trail] = OrderedDict()
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._trails)

    def of(self, name: bytes, now: float) -> Trail:
        """The trail of a packet; the oldest one makes way where there are too many."""
        trail = self._trails.get(name)
        if trail is not None:
            if trail.born + LIFETIME_S > now:
                return trail
            self.end(name, Reason.FRAGMENT_LOST)
        if len(self._trails) >= MAX_TRAILS:
            self.end(next(iter(self._trails)), Reason.FRAGMENT_LOST)
        trail = self._trails[name] = Trail(now)
        return trail

    def hold(self, trail: Trail, frame: Frame, view: View) -> bool:
        """Keep a fragment until the first one comes; False where there is no room."""
        cost = len(frame.data) + HELD_COST
        if self._held_bytes + cost > MAX_HELD_BYTES:
            return False
        self._held_bytes += cost
        trail.held.append(Held(frame, view))
        return True

    def release(self, trail: Trail) -> list[Held]:
        """What was held, in the order in which it came; it is no longer."""
        held, trail.held = trail.held, []
        self._held_bytes -= sum(len(each.frame.data) + HELD_COST for each in held)
        return held

    def refuse(self, trail: Trail) -> None:
        """Nothing of this packet is sent on from now on."""
        if held := self.release(trail):
            self._on_lost(Reason.BAD_FRAGMENT, len(held))

    def end(self, name: bytes, reason: Reason) -> None:
        """Forget a packet; what was held of it ends in `reason`."""
        if held := self.release(self._trails.pop(name)):
            self._on_lost(reason, len(held))

    def expire(self, now: float, most: int) -> None:
        """Forget up to `most` packets whose time is over."""
        while self._trails and most:
            name, trail = next(iter(self._trails.items()))
            if trail.born + LIFETIME_S > now:
                return
            self.end(name, Reason.FRAGMENT_LOST)
            most -= 1
