"""Fragments on their way: the first one of a packet tells which flow the others belong to.

Nothing is reassembled: a fragment is sent on as soon as its way is known, and one that comes before
the first is held until then. Packets, bytes and time are bounded, and for each source apart: forged
fragments take places of the source that they pretend to come from, not of others. A packet whose
fragments overlap is refused as a whole (RFC 5722): it could look different to a filter and to its
receiver. A fragment that repeats what has come is dropped alone. Where a flow goes is not known
here.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.packet import Fragment, View
from pktlb.engine.datapath.siphash import siphash
from pktlb.model import Reason

LIFETIME_S: Final = 15.0
"""Seconds from the arrival of a packet's earliest fragment on: the first timer of RFC 791,
section 3.2."""
MAX_TRAILS: Final = 4096
"Packets at a time."
MAX_HELD_BYTES: Final = 4 << 20
"Bytes of held fragments, each with `HELD_COST`."
HELD_COST: Final = 512
"Bytes that holding a fragment takes beside the frame itself."
SHARES: Final = 1024
"""Sources are told apart by a hash; none holds more than its share. Those whose hashes are equal
have one share. The key of the hash is secret: a sender cannot aim at another source."""
SHARE_OF_TRAILS: Final = 64
"Packets of one source at a time."
SHARE_OF_BYTES: Final = MAX_HELD_BYTES // 8
"As `MAX_HELD_BYTES`, of one source."
MAX_PARTS: Final = 16
"Parts of a packet that may have come with gaps between them."


class Held(NamedTuple):
    """A fragment that waits for the first one of its packet."""

    frame: Frame
    view: View


class Trail:
    """What is known of one packet by its fragments."""

    __slots__ = ("born", "end", "first", "held", "parts", "refused", "share")

    def __init__(self, now: float, share: "Share") -> None:
        self.born = now
        self.share = share
        self.first: FlowKey | Reason | None = None
        """The key of the first fragment where it was sent on, else the reason that the others end
        in; None: it has not come."""
        self.held: list[Held] = []
        self.parts: list[tuple[int, int]] = []
        """Ranges of bytes that have come, in order and with gaps between them: first, and one
        behind the last."""
        self.end: int | None = None
        "Length of the whole packet, once its last fragment has been seen."
        self.refused = False

    def note(self, fragment: Fragment) -> bool:
        """Whether a fragment is new and fits the others. One that overlaps makes the packet
        refused: from then on no fragment fits."""
        start, stop = fragment.start, fragment.stop
        if self.refused or any(low <= start and stop <= high for low, high in self.parts):
            return False  # a fragment of a refused packet, or one that repeats
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
        """Whether a fragment overlaps another, lies behind the end, or ends the packet
        elsewhere."""
        start, stop = fragment.start, fragment.stop
        if any(low < stop and start < high for low, high in self.parts):
            return True
        if self.end is not None:
            return stop > self.end or not fragment.more
        return not fragment.more and any(high > stop for _, high in self.parts)

    @property
    def complete(self) -> bool:
        """Whether all fragments of the packet have come."""
        return self.end is not None and self.parts == [(0, self.end)]


class Share:
    """What the packets of one source take."""

    __slots__ = ("held_bytes", "names")

    def __init__(self) -> None:
        self.names: dict[bytes, None] = {}
        "Of its packets, the oldest first."
        self.held_bytes = 0


class Trails:
    """The trails of all packets of which fragments have come, the oldest first."""

    def __init__(self, on_lost: Callable[[Reason, int], None], secret: bytes) -> None:
        """`on_lost` is called with the reason that so many held fragments ended in. `secret` has 16
        bytes."""
        self._on_lost = on_lost
        self._secret = secret
        self._shares: dict[int, Share] = {}
        self._trails: OrderedDict[bytes, Trail] = OrderedDict()
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._trails)

    def of(self, name: bytes, now: float) -> Trail:
        """The trail of a packet (`Fragment.of`), new where there is none. Where its source has too
        many, the oldest one of that source ends; where there are too many at all, the oldest."""
        trail = self._trails.get(name)
        if trail is not None:
            if trail.born + LIFETIME_S > now:
                return trail
            self.end(name, Reason.FRAGMENT_LOST)
        share = self._share(name)
        if len(share.names) >= SHARE_OF_TRAILS:
            self.end(next(iter(share.names)), Reason.FRAGMENT_LOST)
        if len(self._trails) >= MAX_TRAILS:
            self.end(next(iter(self._trails)), Reason.FRAGMENT_LOST)
        trail = self._trails[name] = Trail(now, share)
        share.names[name] = None
        return trail

    def _share(self, name: bytes) -> Share:
        """The share of the source in the name of a packet."""
        number = siphash(self._secret, name[: 4 if len(name) < 32 else 16]) % SHARES
        return self._shares.setdefault(number, Share())

    def hold(self, trail: Trail, frame: Frame, view: View) -> bool:
        """Keep a fragment until the first one comes; False where there is no room."""
        cost = len(frame.data) + HELD_COST
        if self._held_bytes + cost > MAX_HELD_BYTES:
            return False
        if trail.share.held_bytes + cost > SHARE_OF_BYTES:
            return False
        self._held_bytes += cost
        trail.share.held_bytes += cost
        trail.held.append(Held(frame, view))
        return True

    def release(self, trail: Trail) -> list[Held]:
        """Hold the fragments of a trail no longer; returns them in the order in which they came."""
        held, trail.held = trail.held, []
        cost = sum(len(each.frame.data) + HELD_COST for each in held)
        self._held_bytes -= cost
        trail.share.held_bytes -= cost
        return held

    def refuse(self, trail: Trail) -> None:
        """Drop what is held of a refused packet."""
        if held := self.release(trail):
            self._on_lost(Reason.BAD_FRAGMENT, len(held))

    def end(self, name: bytes, reason: Reason) -> None:
        """Forget a packet; its held fragments end in `reason`."""
        trail = self._trails.pop(name)
        del trail.share.names[name]
        if held := self.release(trail):
            self._on_lost(reason, len(held))

    def expire(self, now: float, most: int) -> None:
        """Forget up to `most` packets whose time is over."""
        while self._trails and most:
            name, trail = next(iter(self._trails.items()))
            if trail.born + LIFETIME_S > now:
                return
            self.end(name, Reason.FRAGMENT_LOST)
            most -= 1
