"""Where both ends of a TCP connection are, and which segments can belong to it.

A machine between the ends sees which numbers they use. A sender that sees none of their packets has
to guess them, so a segment may change what is remembered of a flow only where its numbers fit (RFC
5961 asks the same of the ends). With NAT both directions are seen, and each proves the other. With
DSR and tunnel the client's segments are compared with its earlier ones. Numbers are compared modulo
2**32 (RFC 9293, section 3.4).
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.dump import (
    BACKEND_ACKED,
    BACKEND_KNOWN,
    BEFORE,
    CLIENT_ACKED,
    CLIENT_KNOWN,
    PROVEN,
)
from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, Frame
from pktlb.engine.datapath.packet import ACK, ADDRESSES, FIN, IP, SYN, View
from pktlb.engine.datapath.tcp import ONE_WAY, TWO_WAY, Event, State, event_of
from pktlb.model import Proto

_ROUND: Final = 1 << 32
LEAST_REACH: Final = 16
UNSEEN_REACH: Final = 23
"Where a window is not known: 8 MiB, more than systems offer unless they are tuned."
MOST_REACH: Final = 30
_MOST_SCALE: Final = 14
"RFC 7323, section 2.3."
_WINDOW_SCALE: Final = 3
"The number of the option."
CHECKED: Final = 2
"Flag of an offload (VIRTIO_NET_HDR_F_DATA_VALID): the device has checked the checksum."
UNKNOWN: Final = (0, 0, 0, 0, 0, 0, UNSEEN_REACH, UNSEEN_REACH, 0, 0)
"The `Track.numbers` of a connection of which no segment was seen, and of other protocols."


class Segment(NamedTuple):
    """What a TCP header says."""

    start: int
    "Its sequence number."
    end: int
    "The number behind its last byte; SYN and FIN count one each."
    acknowledged: int
    flags: int
    window: int
    "As it is written, unscaled."
    scale: int | None
    "A SYN's window scale (RFC 7323), if it has one."


class Fit(IntEnum):
    """How the numbers of a segment go with those that are known."""

    NOT = 0
    UNKNOWN = 1
    "No number contradicts, but too little is known to tell."
    FITS = 2


class Effect(NamedTuple):
    """What a segment does to its flow."""

    state: State | None = None
    "The state that it leads to; None: no other."
    refreshes: bool = False
    "The idle time of the flow begins anew."
    proves: bool = False
    "Its sender is an end of the connection."


class _Side:
    """What was seen of one end."""

    __slots__ = ("acked", "known", "next", "reach", "scale", "shift", "tells")

    def __init__(self) -> None:
        self.known = False
        self.next = 0
        "Where `known`: the number behind the last byte that it has sent."
        self.tells = False
        self.acked = 0
        "Where it `tells`: the highest number that it has acknowledged."
        self.reach = UNSEEN_REACH
        "Two to the power of it is no less than any window that it has offered."
        self.scale: int | None = None
        "The scale of its windows, where its SYN was seen."
        self.shift = 0
        "What will be added to its sequence numbers on their way."

    @property
    def window(self) -> int:
        return 1 << self.reach

    def set(self, segment: Segment) -> None:
        """Believe the numbers of a segment, whatever was known before."""
        self.known, self.next = True, segment.end
        if segment.flags & ACK:
            self.tells, self.acked = True, segment.acknowledged

    def advance(self, segment: Segment) -> bool:
        """Note a segment that fits; whether it is further than all before it."""
        further = _is_later(segment.end, self.next)
        if further:
            self.next = segment.end
        if not self.tells or _is_later(segment.acknowledged, self.acked):
            self.tells, self.acked, further = True, segment.acknowledged, True
        return further

    def offer(self, segment: Segment) -> None:
        """Note the window of a segment."""
        if segment.flags & SYN:
            self.scale, self.reach = segment.scale or 0, LEAST_REACH
        elif self.scale is not None:
            reach = (segment.window << self.scale).bit_length()
            self.reach = max(self.reach, reach)


class Track:
    """The numbers of both ends."""

    __slots__ = ("backend", "before", "client", "proven")

    def __init__(self) -> None:
        self.client: Final = _Side()
        self.backend: Final = _Side()
        self.proven = False
        """The numbers were confirmed: those of each side by the other, or where only the client is
        seen, by its next segment. Until then each segment is believed anew."""
        self.before: State | None = None
        "The state of the flow before an RST closed it."

    @property
    def numbers(self) -> tuple[int, ...]:
        """All of it, in the order and the form of a dump's record."""
        c, b = self.client, self.backend
        known = (
            (0 if self.before is None else self.before + 1)
            | CLIENT_KNOWN * c.known
            | BACKEND_KNOWN * b.known
            | CLIENT_ACKED * c.tells
            | BACKEND_ACKED * b.tells
            | PROVEN * self.proven
        )
        scales = (0 if c.scale is None else c.scale + 1) | (
            0 if b.scale is None else b.scale + 1
        ) << 4
        return (
            c.next, c.acked, c.shift, b.next, b.acked, b.shift, c.reach, b.reach, scales, known
        )  # fmt: skip

    def restore(self, numbers: tuple[int, ...], state: State, two_way: bool) -> None:
        """Take over what `numbers` of an earlier process say, as far as it can be true."""
        c, b = self.client, self.backend
        c.next, c.acked, _, b.next, b.acked, _, c.reach, b.reach, scales, known = numbers
        for side, scale in ((c, scales & 15), (b, scales >> 4)):
            side.scale = scale - 1 if scale else None
            if not LEAST_REACH <= side.reach <= MOST_REACH:
                side.reach = UNSEEN_REACH
        c.known, b.known = bool(known & CLIENT_KNOWN), bool(known & BACKEND_KNOWN)
        c.tells, b.tells = bool(known & CLIENT_ACKED), bool(known & BACKEND_ACKED)
        whole = c.known and (not two_way or (b.known and c.tells and b.tells))
        self.proven = bool(known & PROVEN) and whole
        if state is State.CLOSED and 1 <= known & BEFORE <= State.CLOSED:
            self.before = State((known & BEFORE) - 1)

    def open(self, segment: Segment) -> None:
        """Begin with the first segment of the client, or with another opening one."""
        self.client.set(segment)
        self.client.offer(segment)
        if segment.flags & SYN:
            self.backend.reach = LEAST_REACH

    def fit(self, segment: Segment, from_client: bool, two_way: bool) -> Fit:
        """How the numbers of a segment go with those that are known."""
        here, there = (self.client, self.backend)[:: 1 if from_client else -1]
        if not segment.flags & ACK:
            return Fit.NOT
        if not two_way:
            return self._fit_alone(segment)
        if there.known:
            least = here.acked if self.proven else there.next
            if not _is_within(segment.acknowledged, least - here.window, there.next):
                return Fit.NOT
        if not there.tells and not here.known:
            return Fit.UNKNOWN
        low = there.acked if there.tells else here.next
        high = here.next if self.proven else low
        fits = _is_within(segment.start, low - there.window, high + there.window)
        return Fit.FITS if fits else Fit.NOT

    def _fit_alone(self, segment: Segment) -> Fit:
        client, room = self.client, self.backend.window
        if not client.known:
            return Fit.UNKNOWN
        fits = _is_within(segment.start, client.next - room, client.next + room) and (
            not client.tells
            or _is_within(
                segment.acknowledged, client.acked - client.window, client.acked + client.window
            )
        )
        return Fit.FITS if fits else Fit.NOT

    def take(
        self, segment: Segment, from_client: bool, two_way: bool
    ) -> tuple[Fit, bool]:  # fmt: skip
        """Note a segment that has an acknowledgement as far as it fits. Returns how it does, and
        whether it is further than all before it."""
        here, there = (self.client, self.backend)[:: 1 if from_client else -1]
        fit = self.fit(segment, from_client, two_way)
        if self.proven or (fit is Fit.FITS and not there.tells):
            further = fit is Fit.FITS and here.advance(segment)
        else:
            further = True
            if segment.flags & ACK:
                here.set(segment)
        if fit is not Fit.NOT:
            here.offer(segment)
            if segment.flags & SYN and segment.scale is None:
                there.scale = 0
        confirmed = not two_way or (there.known and there.tells)
        if fit is Fit.FITS and confirmed and not self.proven and not segment.flags & SYN:
            self._prove(two_way)
        return fit, further

    def _prove(self, two_way: bool) -> None:
        self.proven = True
        for side, other in ((self.client, self.backend), (self.backend, self.client)):
            if side.scale is None:
                side.reach = UNSEEN_REACH
            if two_way and _is_later(other.acked, side.next):
                side.next = other.acked

    def is_reset_by(
        self, segment: Segment, state: State, from_client: bool, two_way: bool
    ) -> bool:  # fmt: skip
        """Whether an RST would be believed (RFC 5961, section 3.2): it has the number that its
        receiver expects next, as far as that can be told from here."""
        here, there = (self.client, self.backend)[:: 1 if from_client else -1]
        if not from_client and state is State.SYN_SENT:
            answers = segment.flags & ACK and segment.acknowledged == there.next
            return there.known and bool(answers)
        if not from_client and not two_way:
            return there.tells and segment.start == there.acked
        if not here.known:
            return False
        if not two_way:
            return (here.next - segment.start) % _ROUND <= 1
        if self.proven:
            return _is_within(segment.start, there.acked, here.next)
        return segment.start == here.next or (there.tells and segment.start == there.acked)


_IGNORED: Final = Effect()
_OPENING: Final = (State.SYN_SENT, State.SYN_RECEIVED)


def follow(
    track: Track, state: State, two_way: bool, frame: Frame, view: View, from_client: bool
) -> Effect:
    """What a TCP segment does to a flow of this `state`; `track` takes its numbers over.
    `two_way`: both directions pass us."""
    segment = read(frame, view)
    event = event_of(segment.flags, from_client)
    transitions = TWO_WAY if two_way else ONE_WAY
    if event is Event.RESET:
        closed = transitions.get((state, event))
        if closed is None or not track.is_reset_by(segment, state, from_client, two_way):
            return _IGNORED
        if not is_intact(frame, view):
            return _IGNORED
        track.before = state
        return Effect(closed, refreshes=True)
    if not from_client and not two_way:
        return Effect(refreshes=True)
    if segment.flags & (SYN | ACK) == SYN:
        return _follow_syn(track, state, segment, from_client)
    fit, further = track.take(segment, from_client, two_way)
    if fit is Fit.NOT:
        return Effect(refreshes=True)
    old = state
    if fit is Fit.FITS and further and track.before is not None and not segment.flags & SYN:
        state = track.before
        track.before = None
    following = transitions.get((state, event))
    if following is not None and segment.flags & (SYN | FIN) and not is_intact(frame, view):
        following = None
    if following is None and state in _OPENING and track.proven:
        following = State.ESTABLISHED
    new = state if following is None else following
    return Effect(None if new is old else new, True, fit is Fit.FITS)


def _follow_syn(track: Track, state: State, segment: Segment, from_client: bool) -> Effect:
    """A SYN without ACK on a flow that is there moves nothing: the ends tell whether the connection
    begins anew (RFC 5961, section 4). It does not refresh the flow either."""
    if segment.flags & FIN or state not in _OPENING:
        return _IGNORED
    if from_client and track.client.known and segment.end == track.client.next:
        return Effect(proves=True)
    if from_client and state is State.SYN_SENT:
        track.open(segment)
    elif not from_client and state is State.SYN_SENT:  # simultaneous open
        track.backend.set(segment)
        track.backend.offer(segment)
    return _IGNORED


def read(frame: Frame, view: View) -> Segment:
    """The numbers of a TCP segment. Of a first fragment the end is not known, so it is taken to be
    as long as a packet can be."""
    data, at = frame.data, view.transport
    start, acknowledged, _, flags, window = struct.unpack_from(">IIBBH", data, at + 4)
    length = view.end - view.payload + bool(flags & SYN) + bool(flags & FIN)
    if view.fragment:
        length = 0xFFFF
    scale = _scale(data[at + 20 : view.payload]) if flags & SYN else None
    return Segment(start, (start + length) % _ROUND, acknowledged, flags, window, scale)


def _scale(options: bytearray) -> int | None:
    """The window scale among the options of a TCP header; None where there is none."""
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            return None
        if options[at] == _WINDOW_SCALE and length == 3:
            return min(options[at + 2], _MOST_SCALE)
        at += length
    return None


def is_intact(frame: Frame, view: View) -> bool:
    """Whether the checksum of a TCP segment is right, or is the sender's or the device's to
    vouch for. That of a fragment cannot be told."""
    if view.fragment:
        return False
    if frame.offload.gso_type or frame.offload.flags & (NEEDS_CHECKSUM | CHECKED):
        return True
    at = IP + ADDRESSES[view.size]
    length = view.end - view.transport
    pseudo = bytes(frame.data[at : at + 2 * view.size]) + struct.pack(">IBB", length, 0, Proto.TCP)
    segment = bytes(frame.data[view.transport : view.end])
    return checksum.checksum(segment, checksum.word_sum(pseudo)) == 0


def _is_later(number: int, than: int) -> bool:
    return 0 < (number - than) % _ROUND < _ROUND // 2


def _is_within(number: int, low: int, high: int) -> bool:
    return (number - low) % _ROUND <= (high - low) % _ROUND
