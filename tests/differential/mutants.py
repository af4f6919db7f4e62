"""Engines that are wrong in one thing each: what a comparison has to find.

A mutant is the reference with one name of the datapath replaced for as long as it is at work.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from pktlb.engine.datapath import (
    checksum,
    flow,
    forward,
    fragment,
    icmp,
    indirect,
    limiter,
    opening,
    packet,
    pin,
    pipeline,
    related,
    reset,
    rewrite,
    schedule,
    segment,
    snat,
    tables,
    tally,
    trail,
    ways,
)
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey, destination
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.pipeline import Dataplane, Limits
from pktlb.engine.datapath.schedule import Chosen, Standing
from pktlb.engine.datapath.siphash import siphash
from pktlb.engine.datapath.tables import ServiceTable, Tables
from pktlb.engine.datapath.tcp import ONE_WAY, TWO_WAY, State
from pktlb.engine.datapath.ways import Ways
from pktlb.model import Mode, OnRemove, Reason, Scheduler
from tests.differential.scene import EIGHTH


@dataclass(frozen=True)
class Mutant:
    """What is wrong, and where: `name` of `place` is `value` instead."""

    sentence: str
    place: Any
    name: str
    value: Any

    def __str__(self) -> str:
        return self.sentence

    @contextmanager
    def at_work(self) -> Iterator[None]:
        right = vars(self.place)[self.name]  # as it stands there: a static method stays one
        setattr(self.place, self.name, self.value)
        try:
            yield
        finally:
            setattr(self.place, self.name, right)

    def engine(self, tables: Tables, limits: Limits) -> Dataplane:
        return _Wrong(self, tables, limits)


class _Wrong(Dataplane):
    def __init__(self, mutant: Mutant, tables: Tables, limits: Limits) -> None:
        self._mutant = mutant
        with mutant.at_work():
            super().__init__(tables, limits)

    def handle(self, frame: Frame, now: float) -> Outcome:
        with self._mutant.at_work():
            return super().handle(frame, now)

    def swap(self, tables: Tables) -> None:
        with self._mutant.at_work():
            super().swap(tables)

    def expire(self, now: float, most: int = 256) -> int:
        with self._mutant.at_work():
            return super().expire(now, most)

    def dump(self, now: float, with_ports: bool = True) -> bytes:
        with self._mutant.at_work():
            return super().dump(now, with_ports)

    def load(self, data: bytes, now: float) -> int:
        with self._mutant.at_work():
            return super().load(data, now)

    def kill(self, keys: Iterable[FlowKey]) -> int:
        with self._mutant.at_work():
            return super().kill(keys)


_find, _expire = flow.FlowTable.find, flow.FlowTable.expire
_deltas, _hashed = flow._deltas, schedule.hashed
_hold, _release, _is_over = pin.Pins.hold, pin.Pins.release, pin._is_over
_fate, _course, _answer_reset = reset.fate, reset.course, reset.answer
_instead = reset.instead
_off_course = Dataplane._off_course
_not_full, _standing_adapt = schedule._not_full, schedule.Standing.adapt


class _Headers:
    """Fragment headers with a number of their own."""

    size = 8

    def pack(self, following: int, zero: int, place: int, ident: int) -> bytes:
        return struct.pack(">BBHI", following, zero, place, ident ^ 1)


def _find_widest(self: Any, end: Any) -> Any:
    found = self.exact.get(end)
    for span in reversed(self.spans.get(end[:-3], ())):
        if found is None and span.holds(end[-1], int.from_bytes(end[-3:-1], "big")):
            found = span.meaning
    return found


def _relay(self: Any, frame: Any, view: Any, flow: Any, hop: Any, now: float) -> Outcome:
    error = related.about_inside(frame, view, hop, *related.client_of(flow))
    return Outcome(Reason.RELATED, (error,))


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
    self: Dataplane, frame: Frame, view: Any, flow: Any, course: reset.Course, now: float
) -> Outcome:
    state = flow.state
    outcome = _off_course(self, frame, view, flow, course, now)
    if outcome.reason is Reason.RESET and state is not State.CLOSED:
        self._flows.move(flow, state)
        flow.tally.add(1)
    return outcome


def _reset_one_end(
    self: Dataplane, frame: Frame, view: Any, flow: Any, course: reset.Course, now: float
) -> Outcome:
    outcome = _off_course(self, frame, view, flow, course, now)
    frames = outcome.frames[:1] if outcome.reason is Reason.RESET else outcome.frames
    return Outcome(outcome.reason, frames)


def _reset_without_counting(frame: Frame, view: Any) -> Frame:
    return _answer_reset(frame, view._replace(tcp_flags=view.tcp_flags & ~3))


UNREACHED: Final = {
    ("ONE_WAY", state) for state in (State.SYN_RECEIVED, State.CLIENT_FIN, State.BACKEND_FIN)
}
"States that only a backend's packets, or another table, lead to."

MUTANTS: Final = [
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
    Mutant("least connections forget who has waited", schedule, "_PICKERS",
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
    Mutant("who is full takes more", tally.Tally, "full", property(lambda self: False)),
    Mutant("who is full is so until fewer than its maximum", tally.Tally, "full",
           property(lambda self: 0 < self.thresholds[0] <= self.active)),
    Mutant("who is full is so below the lower threshold", tally.Tally, "full",
           property(lambda self: self.thresholds[0] > 0 and (
               self.active >= self.thresholds[0]
               or (self.was_full and self.active >= self.thresholds[1] - 1)))),
    Mutant("instead of a full one the first is taken", schedule, "_not_full", _first_not_full),
    Mutant("the choice instead of a full one is the hash's", schedule, "_not_full",
           lambda table, standing, data, secret: _not_full(table, standing, data[:-1], secret)),
    Mutant("all backends have their service's mode", tables.ServiceTable, "mode_at",
           lambda self, place: self.mode),
    Mutant("who takes no flows does not count", schedule.Standing, "adapt",
           lambda self, table: _standing_adapt(self, table and replace(table, members=()))),
    Mutant("all of a frame counts", ways, "IP", 0),
    Mutant("pins live an eighth of a second longer", pin, "_is_over",
           lambda pin, now: _is_over(pin, now - EIGHTH)),
    Mutant("pins live an eighth of a second less", pin, "_is_over",
           lambda pin, now: _is_over(pin, now + EIGHTH)),
    Mutant("pins age while they have flows", pin, "_is_over",
           lambda pin, now: now - pin.seen >= pin.life_s),
    Mutant("each address is a client of its own", pin, "masked", lambda address, prefix: address),
    Mutant("pins begin to age at the last new flow", pin.Pins, "release", _release_unseen),
    Mutant("who has just left is forgotten first", pin.Pins, "release", _release_first),
    Mutant("a pin stays what it was", pin.Pins, "hold", _hold_as_it_was),
    Mutant("a pin lasts as long as its first flow said", pin.Pins, "hold", _hold_at_first),
    Mutant("a client stays where no flows are taken", pipeline, "stay", _stay_anywhere),
    Mutant("nobody stays", pipeline, "stay", lambda table, tally: None),
    Mutant("expiry leaves pins alone", pin.Pins, "expire", lambda self, now, most: 0),
    Mutant("no prefix is cut", schedule, "masked", lambda address, prefix: address),
    Mutant("both directions hash differently", pipeline, "hashed",
           lambda fields, key, frame: _hashed(fields._replace(symmetric=False), key, frame)),
    Mutant("gone services leave their counts behind", schedule.Schedulers, "_forget",
           lambda self, kept: None),
    Mutant("PSH stays on each piece", segment, "PSH", 0),
    Mutant("FIN stays on each piece", segment, "FIN", 0),
    Mutant("CWR stays on each piece", segment, "CWR", 0),
    Mutant("a frame with the ECN bit cannot be cut", segment, "GSO_ECN", 0),
    Mutant("no option is in later fragments", fragment, "_COPIED", 0),
    Mutant("ICMP quotes one byte less", icmp, "_QUOTE", {4: 547, 16: 1232}),
    Mutant("ICMPv6 quotes one byte less", icmp, "_QUOTE", {4: 548, 16: 1231}),
    Mutant("one error more is sent at once", limiter, "BURST", limiter.BURST + 1),
    Mutant("errors are allowed a little sooner", limiter, "INTERVAL_MS", limiter.INTERVAL_MS - 1),
    Mutant("loopback and the like are answered", icmp, "is_host", lambda address: True),
    Mutant("what is not to be forwarded is spread", tables, "is_forwardable", lambda address: True),
    Mutant("an error's checksum does not matter", packet, "icmp_checksum_is_valid",
           lambda data, ends, at, end: True),
    Mutant("a routing header with a way to go is walked", packet, "_ROUTING", 253),
    Mutant("nine extension headers are walked", packet, "MAX_EXTENSIONS", 9),
    Mutant("UDP-Lite has no checksum", packet, "CHECK_AT", {6: 16, 17: 6, 33: 6}),
    Mutant("fragments of odd length are fine", packet, "_is_bad", lambda fragment: False),
    Mutant("errors of type 12 are none", packet, "ICMP_ERRORS",
           {4: (1, frozenset({3, 11})), 16: (58, range(1, 5))}),
    Mutant("ICMPv6 errors of type 4 are none", packet, "ICMP_ERRORS",
           {4: (1, frozenset({3, 11, 12})), 16: (58, range(1, 4))}),
    Mutant("a quoted tunnel is not looked into", packet, "TUNNELLED", {}),
    Mutant("a quotation is not translated", related, "_translate_quoted", lambda *all: None),
    Mutant("a translated error keeps its checksum", related, "_finish", lambda *all: None),
    Mutant("all errors about tunnels are told", forward.Forwarder, "relay", _relay),
    Mutant("whoever is at the end of a tunnel does not matter", indirect.Indirect, "_is_tunnel",
           staticmethod(lambda flow, around: flow.mode is Mode.TUNNEL)),
    Mutant("a refused tunnel is told to the client", related, "refuses_tunnel",
           lambda frame, view: False),
    Mutant("IPv6 refuses a tunnel by its ports alone", icmp, "NO_TUNNEL",
           {4: icmp.NO_TUNNEL[4], 16: frozenset({(1, 4)})}),
    Mutant("the VIP speaks to everybody", Ways, "_answerer",
           lambda self, frame, flow, from_client: destination(flow.key).address),
    Mutant("what is dialled is never given to the backend", opening, "_dialled",
           lambda backend, key: backend),
    Mutant("one datagram's flow is not used again", opening.Opening, "single",
           lambda self, key, chosen, now: None),
    Mutant("an unknown MTU is 577", related, "_MTU_UNKNOWN", 577),
    Mutant("IPv6 may be told less than 1280", related, "MIN_IPV6_MTU", 1),
    Mutant("IPv6 around a tunnel need not be 1280", forward, "MIN_IPV6_MTU", 0),
    Mutant("DF is set around all of IPv6", rewrite, "MIN_IPV6_MTU", 0),
    Mutant("an outer fragment's number is not the packet's", fragment, "_FRAGMENT_HEADER",
           _Headers()),
    Mutant("fragments wait an eighth less", trail, "LIFETIME_S", trail.LIFETIME_S - EIGHTH),
    Mutant("one packet more may be under way", trail, "MAX_TRAILS", trail.MAX_TRAILS + 1),
    Mutant("a byte less may be held", trail, "MAX_HELD_BYTES", 2_000_000),
    Mutant("one part more may be apart", trail, "MAX_PARTS", trail.MAX_PARTS + 1),
    Mutant("overlapping fragments are fine", trail.Trail, "_contradicts",
           lambda self, fragment: False),
    Mutant("a complete packet is remembered", trail.Trail, "complete",
           property(lambda self: False)),
    Mutant("fragments all are whole", indirect.Indirect, "_is_held",
           lambda self, frame, view: False),
    Mutant("what was there is spread again", Dataplane, "_was_there", lambda self, frame: False),
    Mutant("SYN+ACK is picked up", pipeline, "is_under_way", lambda flags: bool(flags & 0x10)),
    Mutant("what is picked up is always open", pipeline, "taken_up",
           lambda flags, two_way: State.ESTABLISHED),
    Mutant("the kernel's ICMP is ours", tables, "_KERNELS", frozenset()),
    Mutant("the widest range counts", tables.Ends, "find", _find_widest),
    Mutant("the pool gives out first what came back last", snat.SourcePorts, "give_back",
           _give_back_first),
    Mutant("what came back rests less", snat, "REST", snat.REST - 1),
    Mutant("one port fewer is tried", opening, "_CLASH_TRIES", 63),
    Mutant("no flow moves to another backend", pipeline, "_MOVABLE", frozenset()),
    Mutant("a closed flow holds its port", Dataplane, "_reopens", lambda self, flow, view: False),
    Mutant("the longest tunnelled packet is a byte shorter", forward, "LONGEST_INSIDE",
           {4: 0xFFFF - 21, 16: 0xFFFF}),
    Mutant("the longest packet in IPv6 is a byte shorter", forward, "LONGEST_INSIDE",
           {4: 0xFFFF - 20, 16: 0xFFFE}),
    Mutant("nobody was removed", reset, "fate", _fate_of_killed),
    Mutant("nobody was killed", reset, "fate", _fate_of_removed),
    Mutant("what is to be dropped is reset", reset, "fate",
           _fate_instead(OnRemove.DROP, OnRemove.RESET)),
    Mutant("what is to be kept is reset", reset, "fate",
           _fate_instead(OnRemove.KEEP, OnRemove.RESET)),
    Mutant("later fragments are as whole packets", reset, "course", _course_of_parts),
    Mutant("connections through next hops are reset", reset, "course", _course_of_stream),
    Mutant("who was removed hears of no end", Ways, "_has_way", lambda *all: False),
    Mutant("there is always a way", Ways, "_has_way", lambda *all: True),
    Mutant("a connection that was reset stays open", Dataplane, "_off_course", _reset_and_open),
    Mutant("SYN and FIN are not counted where they are reset", reset, "answer",
           _reset_without_counting),
    Mutant("a reset does not acknowledge", reset, "answer",
           lambda frame, view: _answer_reset(frame, view._replace(tcp_flags=0x10))),
    Mutant("only the sender hears of a reset", Dataplane, "_off_course", _reset_one_end),
    Mutant("a reset that goes on does not acknowledge", reset, "instead",
           lambda frame, view: _instead(frame, view._replace(tcp_flags=0))),
    Mutant("replies are killed as well", flow.FlowTable, "of_client",
           lambda self, key: self._flows.get(key)),
    *(
        Mutant(f"{name} misses {state.name}, {event.name}", pipeline, name,
               {each: to for each, to in table.items() if each != (state, event)})
        for name, table in (("TWO_WAY", TWO_WAY), ("ONE_WAY", ONE_WAY))
        for state, event in table
        if (name, state) not in UNREACHED
    ),
]  # fmt: skip
