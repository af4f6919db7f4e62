"""Planes that are wrong in one thing each: what a comparison has to find."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from pktlb.engine.datapath import (
    checksum,
    direct,
    flow,
    forward,
    fragment,
    icmp,
    opening,
    pin,
    related,
    reset,
    rewrite,
    schedule,
    snat,
    tables,
    tally,
    track,
    trail,
    ways,
)
from pktlb.engine.datapath.direct import Direct
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.indirect import Indirect
from pktlb.engine.datapath.keys import destination
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.schedule import Chosen, Standing
from pktlb.engine.datapath.siphash import siphash
from pktlb.engine.datapath.tables import ServiceTable, Tables
from pktlb.engine.datapath.tcp import ONE_WAY, TWO_WAY, State
from pktlb.engine.datapath.ways import Ways
from pktlb.model import Mode, OnRemove, Reason, Scheduler
from tests.differential.mutant import Mutant
from tests.differential.mutants_of_packets import OF_PACKETS
from tests.differential.scene import EIGHTH

_find, _expire = flow.FlowTable.find, flow.FlowTable.expire
_deltas, _hashed = flow._deltas, schedule.hashed
_hold, _release, _is_over = pin.Pins.hold, pin.Pins.release, pin._is_over
_fate, _course, _answer_reset = reset.fate, reset.course, reset.answer
_instead = reset.instead
_off_course = Direct._off_course
_not_full, _standing_adapt = schedule._not_full, schedule.Standing.adapt


class _Headers:
    """Fragment headers with another identification."""

    size = 8

    def pack(self, following: int, zero: int, place: int, ident: int) -> bytes:
        return struct.pack(">BBHI", following, zero, place, ident ^ 1)


def _find_widest(self: Any, end: Any) -> Any:
    found = self.exact.get(end)
    for span in reversed(self.spans.get(end[:-3], ())):
        if found is None and span.holds(end[-1], int.from_bytes(end[-3:-1], "big")):
            found = span.meaning
    return found


def _other_picker(
    scheduler: Scheduler, pick: Callable[[ServiceTable, Standing, bytes, bytes], int]
) -> dict[Scheduler, Any]:
    return {**schedule._PICKERS, scheduler: pick}


def _give_back_first(self: snat.SourcePorts, backend: Any, endpoint: Any) -> None:
    self._pools[backend].returned.appendleft(endpoint)


def _first_not_full(table: ServiceTable, standing: Standing, *rest: bytes) -> int | None:
    places = range(len(table.backends))
    return next((p for p in places if not standing.tally(table.backends[p]).full), None)


def _stay_anywhere(table: ServiceTable, tally: Any) -> Chosen:
    return Chosen(tally.backend, tally, table.mode)


def _release_unseen(self: pin.Pins, pin: Any, seen: float) -> None:
    _release(self, pin, pin.seen)


def _release_first(self: pin.Pins, pin: Any, seen: float) -> None:
    _release(self, pin, seen)
    if not pin.refs:
        self._idle.move_to_end(pin.key, last=False)


def _hold_as_it_was(self: pin.Pins, table: Any, client: bytes, tally: Any, now: float) -> Any:
    before = self._pins.get(pin._key(table, client))
    return _hold(self, table, client, before.tally if before else tally, now)


def _hold_at_first(self: pin.Pins, table: Any, client: bytes, tally: Any, now: float) -> Any:
    before = self._pins.get(pin._key(table, client))
    life, seen = (before.life_s, before.seen) if before else (table.persist_s, now)
    held = _hold(self, table, client, tally, now)
    held.life_s, held.seen = life, seen
    return held


def _fate_of_killed(flow: Any, tables: Tables) -> OnRemove | None:
    return OnRemove.RESET if flow.killed else None


def _fate_of_removed(flow: Any, tables: Tables) -> OnRemove | None:
    return tables.removed.get((flow.tally.service, flow.tally.backend))


def _fate_instead(wrong: OnRemove, other: OnRemove) -> Callable[[Any, Tables], OnRemove | None]:
    def fate(flow: Any, tables: Tables) -> OnRemove | None:
        found = _fate(flow, tables)
        return other if found is wrong else found

    return fate


def _course_of_parts(flow: Any, view: Any, tables: Tables) -> reset.Course:
    return _course(flow, view._replace(fragment=None), tables)


def _course_of_stream(flow: Any, view: Any, tables: Tables) -> reset.Course:
    course = _course(flow, view, tables)
    cut = flow.any and course is reset.Course.MOVES and flow.state is not State.DATAGRAMS
    return reset.Course.IS_RESET if cut else course


def _reset_and_open(
    self: Direct, frame: Frame, view: Any, flow: Any, course: reset.Course, now: float
) -> Outcome:
    state = flow.state
    outcome = _off_course(self, frame, view, flow, course, now)
    if outcome.reason is Reason.RESET and state is not State.CLOSED:
        self._flows.move(flow, state)
        flow.tally.add(1)
    return outcome


def _reset_one_end(
    self: Direct, frame: Frame, view: Any, flow: Any, course: reset.Course, now: float
) -> Outcome:
    outcome = _off_course(self, frame, view, flow, course, now)
    frames = outcome.frames[:1] if outcome.reason is Reason.RESET else outcome.frames
    return Outcome(outcome.reason, frames)


def _reset_without_counting(frame: Frame, view: Any) -> Frame:
    return _answer_reset(frame, view._replace(tcp_flags=view.tcp_flags & ~3))


UNREACHED: Final = {
    ("ONE_WAY", state) for state in (State.SYN_RECEIVED, State.CLIENT_FIN, State.BACKEND_FIN)
}
"States of `ONE_WAY` that no flow reaches: only a backend's packets lead to them."

MUTANTS: Final = [
    *OF_PACKETS,
    Mutant("ports are left out of the checksum", flow, "_deltas",
           lambda key, reverse: (_deltas(key, reverse)[0],) * 2),
    Mutant("a datagram that was not summed gets a checksum", checksum, "update_udp",
           checksum.update),
    Mutant("a UDP sum of 0 is sent as 0", checksum, "update_udp",
           lambda check, by: check and checksum.update(check, by)),
    Mutant("a partial checksum is taken for a full one", checksum, "update_partial",
           checksum.update),
    Mutant("the TTL is not in the header checksum", checksum, "TTL_DELTA", 0),
    Mutant("flows live an eighth of a second longer", flow.FlowTable, "find",
           lambda self, key, now: _find(self, key, now - EIGHTH)),
    Mutant("flows live an eighth of a second less", flow.FlowTable, "find",
           lambda self, key, now: _find(self, key, now + EIGHTH)),
    Mutant("expiry is an eighth of a second late", flow.FlowTable, "expire",
           lambda self, now, most: _expire(self, now - EIGHTH, most)),
    Mutant("expiry takes one too many", flow.FlowTable, "expire",
           lambda self, now, most: _expire(self, now, most + 1)),
    Mutant("a full table makes no room", flow.FlowTable, "make_room",
           lambda self, now: len(self) < self._capacity),
    Mutant("round robin begins with the second", schedule, "_PICKERS",
           _other_picker(Scheduler.RR, lambda table, standing, data, secret:
                         table.slots[(standing.picks + 1) % len(table.slots)])),
    Mutant("least connections forget which backend has waited", schedule, "_PICKERS",
           _other_picker(Scheduler.LC, lambda table, standing, data, secret: min(
               range(len(table.backends)),
               key=lambda i: standing.tally(table.backends[i]).active / table.weights[i]))),
    Mutant("shortest delay does not count the new one", schedule, "_PICKERS",
           _other_picker(Scheduler.SED, schedule._PICKERS[Scheduler.LC])),
    Mutant("never queue does not look for idle ones", schedule, "_PICKERS",
           _other_picker(Scheduler.NQ, schedule._PICKERS[Scheduler.SED])),
    Mutant("of two the first is always chosen", schedule, "_PICKERS",
           _other_picker(Scheduler.P2C, lambda table, standing, data, secret: table.slots[
               siphash(secret, standing.picks.to_bytes(8, "little"))
               % (1 << 32) % len(table.slots)])),
    Mutant("a full backend takes more flows", tally.Tally, "full", property(lambda self: False)),
    Mutant("a backend is full only while it has its maximum", tally.Tally, "full",
           property(lambda self: 0 < self.thresholds[0] <= self.active)),
    Mutant("a backend is full just below its lower threshold, too", tally.Tally, "full",
           property(lambda self: self.thresholds[0] > 0 and (
               self.active >= self.thresholds[0]
               or (self.was_full and self.active >= self.thresholds[1] - 1)))),
    Mutant("instead of a full backend the first is taken", schedule, "_not_full", _first_not_full),
    Mutant("the choice instead of a full backend is that of the first hash", schedule, "_not_full",
           lambda table, standing, data, secret: _not_full(table, standing, data[:-1], secret)),
    Mutant("all backends have their service's mode", tables.ServiceTable, "mode_at",
           lambda self, place: self.mode),
    Mutant("a backend that takes no flows is no member", schedule.Standing, "adapt",
           lambda self, table: _standing_adapt(self, table and replace(table, members=()))),
    Mutant("the Ethernet header counts in tallies", ways, "IP", 0),
    Mutant("pins live an eighth of a second longer", pin, "_is_over",
           lambda pin, now: _is_over(pin, now - EIGHTH)),
    Mutant("pins live an eighth of a second less", pin, "_is_over",
           lambda pin, now: _is_over(pin, now + EIGHTH)),
    Mutant("pins age while they have flows", pin, "_is_over",
           lambda pin, now: now - pin.seen >= pin.life_s),
    Mutant("each address is a client of its own", pin, "masked", lambda address, prefix: address),
    Mutant("pins begin to age at the last new flow", pin.Pins, "release", _release_unseen),
    Mutant("the pin whose flow ended last is forgotten first", pin.Pins, "release", _release_first),
    Mutant("a pin keeps its first backend", pin.Pins, "hold", _hold_as_it_was),
    Mutant("a pin keeps the time of its first flow", pin.Pins, "hold", _hold_at_first),
    Mutant("a client stays with a backend that takes no flows", direct, "stay", _stay_anywhere),
    Mutant("no client stays", direct, "stay", lambda table, tally: None),
    Mutant("expiry leaves pins alone", pin.Pins, "expire", lambda self, now, most: 0),
    Mutant("hashed addresses are not cut to a prefix", schedule, "masked",
           lambda address, prefix: address),
    Mutant("both directions hash differently", direct, "hashed",
           lambda fields, key, frame: _hashed(fields._replace(symmetric=False), key, frame)),
    Mutant("counts of services that are gone are kept", schedule.Schedulers, "_forget",
           lambda self, kept: None),
    Mutant("the end of a quoted tunnel is not compared", Indirect, "_is_tunnel",
           staticmethod(lambda flow, around: flow.mode is Mode.TUNNEL)),
    Mutant("a refused tunnel is told to the client", related, "refuses_tunnel",
           lambda frame, view: False),
    Mutant("IPv6 refuses a tunnel by its ports alone", icmp, "NO_TUNNEL",
           {4: icmp.NO_TUNNEL[4], 16: frozenset({(1, 4)})}),
    Mutant("every error is sent in the name of the VIP", Ways, "_answerer",
           lambda self, frame, flow, from_client: destination(flow.key).address),
    Mutant("a backend without a port does not get the port dialled", opening, "_dialled",
           lambda chosen, key: chosen),
    Mutant("the flow of a single datagram is not used again", opening.Opening, "single",
           lambda self, key, chosen, now: None),
    Mutant("an unknown MTU is 577", related, "_MTU_UNKNOWN", 577),
    Mutant("IPv6 may be told less than 1280", related, "MIN_IPV6_MTU", 1),
    Mutant("IPv6 around a tunnel need not be 1280", forward, "MIN_IPV6_MTU", 0),
    Mutant("DF is set around all of IPv6", rewrite, "MIN_IPV6_MTU", 0),
    Mutant("fragments of an outer packet have another identification", fragment, "_FRAGMENT_HEADER",
           _Headers()),
    Mutant("fragments wait an eighth of a second less", trail, "LIFETIME_S",
           trail.LIFETIME_S - EIGHTH),
    Mutant("one more packet may be in fragments", trail, "MAX_TRAILS", trail.MAX_TRAILS + 1),
    Mutant("fewer bytes of fragments may be held", trail, "MAX_HELD_BYTES", 2_000_000),
    Mutant("one more gap may be in a packet", trail, "MAX_PARTS", trail.MAX_PARTS + 1),
    Mutant("overlapping fragments are fine", trail.Trail, "_contradicts",
           lambda self, fragment: False),
    Mutant("a complete packet is not forgotten", trail.Trail, "complete",
           property(lambda self: False)),
    Mutant("fragments are not held", Indirect, "_is_held",
           lambda self, frame, view: False),
    Mutant("frames from an appliance are spread again", Ways, "_was_there",
           lambda self, frame: False),
    Mutant("SYN+ACK is picked up", direct, "is_under_way", lambda flags: bool(flags & 0x10)),
    Mutant("a picked up flow is always established", direct, "taken_up",
           lambda flags, two_way: State.ESTABLISHED),
    Mutant("a service for all protocols takes ICMP", tables, "_KERNELS", frozenset()),
    Mutant("the widest range counts", tables.Ends, "find", _find_widest),
    Mutant("the pool gives out first what came back last", snat.SourcePorts, "give_back",
           _give_back_first),
    Mutant("a port that was given back rests less", snat, "REST", snat.REST - 1),
    Mutant("one port fewer is tried for a flow", opening, "_CLASH_TRIES", 63),
    Mutant("no flow moves to another backend", direct, "_MOVABLE", frozenset()),
    Mutant("a closed flow holds its port", Direct, "_reopens", lambda *all: False),
    Mutant("the longest tunnelled packet is a byte shorter", forward, "LONGEST_INSIDE",
           {4: 0xFFFF - 21, 16: 0xFFFF}),
    Mutant("the longest packet in IPv6 is a byte shorter", forward, "LONGEST_INSIDE",
           {4: 0xFFFF - 20, 16: 0xFFFE}),
    Mutant("no backend was removed", reset, "fate", _fate_of_killed),
    Mutant("no flow was killed", reset, "fate", _fate_of_removed),
    Mutant("on_remove drop resets", reset, "fate",
           _fate_instead(OnRemove.DROP, OnRemove.RESET)),
    Mutant("on_remove keep resets", reset, "fate",
           _fate_instead(OnRemove.KEEP, OnRemove.RESET)),
    Mutant("later fragments are reset like whole packets", reset, "course", _course_of_parts),
    Mutant("connections through next hops are reset", reset, "course", _course_of_stream),
    Mutant("an RST to a removed backend is not sent on", Ways, "_has_way", lambda *all: False),
    Mutant("there is always a way", Ways, "_has_way", lambda *all: True),
    Mutant("a connection that was reset stays open", Direct, "_off_course", _reset_and_open),
    Mutant("an RST does not acknowledge SYN and FIN", reset, "answer",
           _reset_without_counting),
    Mutant("an RST for a packet without ACK does not acknowledge", reset, "answer",
           lambda frame, view: _answer_reset(frame, view._replace(tcp_flags=0x10))),
    Mutant("only the sender gets an RST", Direct, "_off_course", _reset_one_end),
    Mutant("an RST for the receiver does not acknowledge", reset, "instead",
           lambda frame, view: _instead(frame, view._replace(tcp_flags=0))),
    Mutant("a key of replies kills the flow", flow.FlowTable, "of_client",
           lambda self, key: self._flows.get(key)),
    *(
        Mutant(f"{name} misses {state.name}, {event.name}", track, name,
               {each: to for each, to in table.items() if each != (state, event)})
        for name, table in (("TWO_WAY", TWO_WAY), ("ONE_WAY", ONE_WAY))
        for state, event in table
        if (name, state) not in UNREACHED and event.name != "CLIENT_ACK"  # it proves, too
    ),
]  # fmt: skip
