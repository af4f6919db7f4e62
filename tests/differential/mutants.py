"""Engines that are wrong in one thing each: what a comparison has to find.

A mutant is the reference with one name of the datapath replaced for as long as it is at work.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pktlb.datapath import (
    checksum,
    flow,
    forward,
    fragment,
    icmp,
    limit,
    opening,
    packet,
    pipeline,
    related,
    rewrite,
    schedule,
    segment,
    snat,
    tables,
    trail,
)
from pktlb.datapath.frame import Frame
from pktlb.datapath.keys import destination
from pktlb.datapath.outcome import Outcome
from pktlb.datapath.pipeline import Dataplane, Limits
from pktlb.datapath.schedule import Standing
from pktlb.datapath.siphash import siphash
from pktlb.datapath.tables import ServiceTable, Tables
from pktlb.datapath.tcp import ONE_WAY, TWO_WAY, State
from pktlb.model import Mode, Reason, Scheduler
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


_find, _expire = flow.FlowTable.find, flow.FlowTable.expire
_deltas, _hashed = flow._deltas, schedule.hashed


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
    Mutant("no prefix is cut", schedule, "_masked", lambda address, prefix: address),
    Mutant("both directions hash differently", pipeline, "hashed",
           lambda fields, key, frame: _hashed(fields._replace(symmetric=False), key, frame)),
    Mutant("gone services leave their counts behind", schedule.Schedulers, "adapt",
           lambda self, tables: None),
    Mutant("PSH stays on each piece", segment, "PSH", 0),
    Mutant("FIN stays on each piece", segment, "FIN", 0),
    Mutant("CWR stays on each piece", segment, "CWR", 0),
    Mutant("a frame with the ECN bit cannot be cut", segment, "GSO_ECN", 0),
    Mutant("no option is in later fragments", fragment, "_COPIED", 0),
    Mutant("ICMP quotes one byte less", icmp, "_QUOTE", {4: 547, 16: 1232}),
    Mutant("ICMPv6 quotes one byte less", icmp, "_QUOTE", {4: 548, 16: 1231}),
    Mutant("one error more is sent at once", limit, "BURST", limit.BURST + 1),
    Mutant("errors are allowed a little sooner", limit, "INTERVAL_MS", limit.INTERVAL_MS - 1),
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
    Mutant("whoever is at the end of a tunnel does not matter", Dataplane, "_is_tunnel",
           staticmethod(lambda flow, around: flow.mode is Mode.TUNNEL)),
    Mutant("the VIP speaks to everybody", Dataplane, "_answerer",
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
    Mutant("fragments all are whole", Dataplane, "_is_held", lambda self, frame, view: False),
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
    *(
        Mutant(f"{name} misses {state.name}, {event.name}", pipeline, name,
               {each: to for each, to in table.items() if each != (state, event)})
        for name, table in (("TWO_WAY", TWO_WAY), ("ONE_WAY", ONE_WAY))
        for state, event in table
        if (name, state) not in UNREACHED
    ),
]  # fmt: skip
