"""Planes that believe a TCP segment too easily, or not easily enough."""

from typing import Any, Final

from pktlb.engine.datapath import track
from pktlb.engine.datapath.packet import ACK
from pktlb.engine.datapath.track import Effect, Fit, Track
from tests.differential.mutant import Mutant

_follow, _follow_syn, _is_within = track.follow, track._follow_syn, track._is_within
_read, _fit = track.read, Track.fit


def _follow_refreshing(*given: Any) -> Effect:
    return _follow(*given)._replace(refreshes=True)


def _follow_proving(*given: Any) -> Effect:
    return _follow(*given)._replace(proves=True)


def _follow_to_the_end(numbers: Any, *given: Any) -> Effect:
    numbers.before = None
    return _follow(numbers, *given)


def _read_unscaled(frame: Any, view: Any) -> Any:
    return _read(frame, view)._replace(scale=None)


def _read_short(frame: Any, view: Any) -> Any:
    segment = _read(frame, view)
    return segment._replace(end=segment.start) if view.fragment else segment


def _fit_any(self: Any, segment: Any, from_client: bool, two_way: bool) -> Fit:
    return Fit.FITS if segment.flags & ACK else Fit.NOT


def _fit_without_ack(self: Any, segment: Any, from_client: bool, two_way: bool) -> Fit:
    return _fit(self, segment._replace(flags=segment.flags | ACK), from_client, two_way)


TRACKS: Final = [
    Mutant("every RST is believed", Track, "is_reset_by", lambda *all: True),
    Mutant("no RST is believed", Track, "is_reset_by", lambda *all: False),
    Mutant("every segment fits", Track, "fit", _fit_any),
    Mutant("no segment needs an acknowledgement", Track, "fit", _fit_without_ack),
    Mutant("nothing is confirmed", Track, "_prove", lambda self, two_way: None),
    Mutant("a window is one byte shorter", track, "_is_within",
           lambda number, low, high: _is_within(number, low, high - 1)),
    Mutant("the least window is 32 KiB", track, "LEAST_REACH", 15),
    Mutant("windows have no scale", track, "read", _read_unscaled),
    Mutant("a scale may be 15", track, "_MOST_SCALE", 15),
    Mutant("a first fragment ends where it begins", track, "read", _read_short),
    Mutant("a wrong checksum is right", track, "is_intact", lambda frame, view: True),
    Mutant("a checksum that the device has checked is checked again", track, "CHECKED", 0),
    Mutant("everything refreshes a flow", track, "follow", _follow_refreshing),
    Mutant("each packet of a client shows where it is", track, "follow", _follow_proving),
    Mutant("an opening SYN never replaces another", track, "_follow_syn",
           lambda *all: Effect()),
    Mutant("no reset is taken back", track, "follow", _follow_to_the_end),
]  # fmt: skip
