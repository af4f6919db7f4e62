"""Tables in the form that the native engine reads, and the numbers it knows things by.

The engine counts flows by number: each backend of a service has a tally, each service a standing,
each backend a pool of source ports. This keeps track of who has which number, from one set of
tables to the next; the records are those of raw_tables.h.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

from pktlb.engine.datapath.dump import NOTHING
from pktlb.engine.datapath.keys import EndpointKey, address_of, port_of
from pktlb.engine.datapath.tables import (
    Ends,
    Meaning,
    PortInfo,
    ServiceKey,
    ServiceTable,
    Span,
    Tables,
    service_key,
)
from pktlb.engine.datapath.tally import Count
from pktlb.model import Endpoint, HashFields, Mode, OnRemove, Scheduler, Vip

_MODES: Final = {Mode.NAT: 0, Mode.DSR: 1, Mode.TUNNEL: 2}
_SCHEDULERS: Final = {
    Scheduler.RR: 0, Scheduler.LC: 1, Scheduler.SED: 2, Scheduler.NQ: 3, Scheduler.P2C: 4,
    Scheduler.SOURCE: 5, Scheduler.MAGLEV: 5, Scheduler.HASH: 5,
}  # fmt: skip
_FIELDS: Final = {
    HashFields.MAC: 0, HashFields.SOURCE: 1, HashFields.ADDRESSES: 2, HashFields.FIVE_TUPLE: 3,
}  # fmt: skip
_POLICIES: Final = {OnRemove.RESET: 1, OnRemove.DROP: 2, OnRemove.KEEP: 3}
_ONE_PACKET, _PICK_UP, _ANY, _SYMMETRIC, _DIRECT = 1, 2, 4, 8, 16
_LONGEST_S: Final = 31 * 86400
"Persistence: the native engine's time comes round after 49 days."
_FAMILIES: Final = {4: 4, 16: 6}
_NO_SLOTS: Final = 0xFFFFFFFF

_END: Final = struct.Struct("=16s2sBB")
_SERVICE: Final = struct.Struct("=16sBBBBBBBxIIIII")
_SPAN: Final = struct.Struct("=16sHHBBHI")
_PLACE: Final = struct.Struct("=IIIII")
_TALLY: Final = struct.Struct("=20sIII")
_NUMBER: Final = struct.Struct("=I")
_HOP: Final = struct.Struct("=20s16sII12s")
_REMOVED: Final = struct.Struct("=II")
_PORT: Final = struct.Struct("=II6sB2s3x16s16s")
TOLD: Final = struct.Struct("=IIIIQQQQQ")
"What is told of a tally: its active flows, all of them, pins, if it is full; then as in `Count`."
_TOLD_WORDS: Final = TOLD.size // 4


class Packed(NamedTuple):
    """The arguments of the native `swap`."""

    parts: tuple[bytes, ...]
    """Services, places, tallies, standings, spans of services, replies, own, snat, direct,
    appliances, hops, ports, removed backends, hash key."""
    slots: tuple[object, ...]
    tally_count: int
    own_low: int
    own_high: int


class _Numbers:
    """Small numbers given out, those that were given back first."""

    def __init__(self) -> None:
        self.beyond = 0
        "All numbers that were ever given out are below."
        self._free: list[int] = []

    def take(self) -> int:
        if self._free:
            return self._free.pop()
        self.beyond += 1
        return self.beyond - 1

    def give_back(self, number: int) -> None:
        self._free.append(number)


@dataclass(slots=True)
class _Standing:
    """A service that has been balanced, and its backends that count."""

    number: int
    vip: Vip
    tallies: dict[Endpoint, int]
    members: frozenset[Endpoint]
    "Those that belong to it now."
    table: ServiceTable | None = None
    "What is in use of it now."
    places: bytes = b""
    "Of this table, packed: its backends keep their numbers for as long as it is in use."


class Register:
    """Who has which number."""

    def __init__(self) -> None:
        self.owners: dict[int, tuple[ServiceKey, Endpoint]] = {}
        "Of every tally in use, its service and backend."
        self._standings: dict[ServiceKey, _Standing] = {}
        self._pools: dict[EndpointKey, int] = {}
        self._standing_numbers = _Numbers()
        self._tally_numbers = _Numbers()
        self._new_tallies = bytearray()
        self._new_standings = bytearray()
        self._replies = _Replies()

    @property
    def tally_count(self) -> int:
        return self._tally_numbers.beyond

    def pack(self, tables: Tables) -> Packed:
        """The tables with numbers for everybody in them."""
        services, places = bytearray(), bytearray()
        numbers: dict[int, int] = {}
        slots = _Slots()
        for table in tables.all_services:
            numbers[id(table)] = len(numbers)
            standing = self._standing(table)
            first = len(places) // _PLACE.size
            places += self._places(standing, table)
            services += _service(table, standing.number, first, slots.place(table.slots))
        parts = (
            bytes(services),
            bytes(places),
            bytes(self._new_tallies),
            bytes(self._new_standings),
            _spans(tables.services, numbers),
            self._replies.packed(tables.replies),
            b"".join(map(_address_end, tables.own)),
            b"".join(map(_address_end, tables.snat)),
            b"".join(map(_address_end, tables.direct)),
            b"".join(_END.pack(mac, b"\0\0", 0, 0) for mac in tables.appliances),
            b"".join(
                _HOP.pack(_address_end(to), address(hop.source), hop.port, hop.mtu, hop.macs)
                for to, hop in tables.hops.items()
            ),
            b"".join(_port(i, port, tables) for i, port in tables.ports.items()),
            self._removed(tables),
            tables.hash_key,
        )
        own = tables.own_ports
        return Packed(parts, slots.arrays(), self.tally_count, own.start, own.stop)

    def _places(self, standing: _Standing, table: ServiceTable) -> bytes:
        """Of each that takes new flows. Every member has a number, and keeps it for as long as the
        table is in use."""
        if standing.table is not table:
            standing.places = b"".join(
                _PLACE.pack(self._tally(standing, table, backend), weight, *limits, _MODES[mode])
                for backend, weight, limits, mode in _places(table)
            )
            for backend in table.members:
                self._tally(standing, table, backend)
            standing.members = frozenset((*table.backends, *table.members))
            standing.table = table
        return standing.places

    def _removed(self, tables: Tables) -> bytes:
        """Those that have a number still."""
        packed = bytearray()
        for (key, backend), policy in tables.removed.items():
            number = self.number_of(key, backend)
            if number is not None:
                packed += _REMOVED.pack(number, _POLICIES[policy])
        return bytes(packed)

    def forget(self, tables: Tables, told: bytes) -> None:
        """Drop who is not in `tables`, now in use, and has no flow or pin left, as the reference
        does. `told` is what the engine tells of each tally."""
        self._new_tallies.clear()
        self._new_standings.clear()
        words = memoryview(told).cast("I")
        in_use = {table.key for table in tables.all_services}
        for key, standing in list(self._standings.items()):
            if key not in in_use:
                standing.table, standing.members = None, frozenset()
            if len(standing.tallies) > len(standing.members):
                self._forget(standing, words)
            if not standing.table and not standing.tallies:
                del self._standings[key]
                self._standing_numbers.give_back(standing.number)

    def _forget(self, standing: _Standing, words: "memoryview[int]") -> None:
        for backend in standing.tallies.keys() - standing.members:
            number = standing.tallies[backend]
            at = number * _TOLD_WORDS
            if not words[at + 1] and not words[at + 2]:
                del standing.tallies[backend], self.owners[number]
                self._tally_numbers.give_back(number)

    def counts(self, told: bytes) -> dict[tuple[ServiceKey, Endpoint], Count]:
        """What is told of each tally whose backend belongs to its service, or has flows."""
        each = list(TOLD.iter_unpack(told))
        return {
            (key, backend): count_of(each[number])
            for key, standing in self._standings.items()
            for backend, number in standing.tallies.items()
            if each[number][1] or backend in standing.members
        }

    def of_tallies(self) -> list[tuple[Vip, Endpoint] | None]:
        """By number, whom it is for."""
        vips = {key: standing.vip for key, standing in self._standings.items()}
        owners = map(self.owners.get, range(self.tally_count))
        return [owner and (vips[owner[0]], owner[1]) for owner in owners]

    def of_standings(self) -> list[Vip | None]:
        """By number, whom it is for."""
        by_number = {standing.number: standing.vip for standing in self._standings.values()}
        return [by_number.get(number) for number in range(self._standing_numbers.beyond)]

    def tally_numbers(self, owners: Iterable[tuple[Vip, Endpoint] | None]) -> "array[int]":
        """The number that each has here."""
        return array("I", (self._number_of(*o) if o else NOTHING for o in owners))

    def _number_of(self, vip: Vip, backend: Endpoint) -> int:
        standing = self._standings.get(service_key(vip))
        return standing.tallies.get(backend, NOTHING) if standing else NOTHING

    def standing_numbers(self, vips: Iterable[Vip | None]) -> "array[int]":
        """The same of services."""
        found = (self._standings.get(service_key(vip)) if vip else None for vip in vips)
        return array("I", (standing.number if standing else NOTHING for standing in found))

    def number_of(self, service: ServiceKey, backend: Endpoint) -> int | None:
        """Of a tally."""
        standing = self._standings.get(service)
        return standing.tallies.get(backend) if standing else None

    def _standing(self, table: ServiceTable) -> _Standing:
        key = table.key
        if key not in self._standings:
            number = self._standing_numbers.take()
            self._standings[key] = _Standing(number, table.vip, {}, frozenset())
            self._new_standings += _NUMBER.pack(number)
        return self._standings[key]

    def _tally(self, standing: _Standing, table: ServiceTable, backend: Endpoint) -> int:
        number = standing.tallies.get(backend)
        if number is None:
            number = standing.tallies[backend] = self._tally_numbers.take()
            self.owners[number] = table.key, backend
            key = table.pool(backend)
            pool = self._pools.setdefault(key, len(self._pools))
            self._new_tallies += _TALLY.pack(_end(key), number, standing.number, pool)
        return number


def count_of(told: tuple[int, ...]) -> Count:
    """What is told of a tally, as the reference tells it."""
    active, flows, _, full, connections, *traffic = told
    packets_in, bytes_in, packets_out, bytes_out = traffic
    return Count(
        active, flows - active, connections, packets_in, bytes_in, packets_out, bytes_out,
        bool(full),
    )  # fmt: skip


class _Slots:
    """Arrays of slots, each once, however many services share it."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._arrays: list[object] = []
        self._kept: list[Sequence[int]] = []

    def place(self, slots: Sequence[int]) -> int:
        if not slots:
            return _NO_SLOTS
        if id(slots) not in self._places:
            self._places[id(slots)] = len(self._arrays)
            self._kept.append(slots)  # as long as it lives, nobody else has its id
            whole = isinstance(slots, array) and slots.itemsize == 4
            self._arrays.append(slots if whole else array("I", slots))
        return self._places[id(slots)]

    def arrays(self) -> tuple[object, ...]:
        return tuple(self._arrays)


def address(packed: bytes) -> bytes:
    """An address of either family in 16 bytes."""
    return packed.ljust(16, b"\0")


def _end(key: EndpointKey) -> bytes:
    size = len(key) - 3
    return _END.pack(key[:size], key[size : size + 2], key[-1], _FAMILIES[size])


def _address_end(packed: bytes) -> bytes:
    return _END.pack(packed, b"\0\0", 0, _FAMILIES[len(packed)])


def _service(table: ServiceTable, standing: int, first: int, slots: int) -> bytes:
    on = table.hash_on
    flags = (
        _ONE_PACKET * table.one_packet
        | _PICK_UP * table.pick_up
        | _ANY * table.vip.any
        | _SYMMETRIC * on.symmetric
        | _DIRECT * table.direct
    )
    return _SERVICE.pack(
        address(table.vip.address), _SCHEDULERS[table.scheduler], flags, _FIELDS[on.fields],
        on.prefix4, on.prefix6, table.persist4, table.persist6, standing, first,
        len(table.backends), slots, 1000 * min(table.persist_s, _LONGEST_S),
    )  # fmt: skip


def _places(table: ServiceTable) -> Iterator[tuple[Endpoint, int, tuple[int, int], Mode]]:
    """Backend, weight, thresholds and mode of each that takes new flows."""
    return zip(
        table.backends,
        table.weights,
        table.thresholds or repeat((0, 0), len(table.backends)),
        table.modes or repeat(table.mode, len(table.backends)),
        strict=True,
    )


def _spans(ends: Ends[ServiceTable], numbers: Mapping[int, int]) -> bytes:
    """Single ends, then ranges, those of an address side by side and the narrowest first."""
    return b"".join(
        _single(key, numbers[id(table)]) for key, table in ends.exact.items()
    ) + b"".join(
        _span(to, span, numbers[id(span.meaning)])
        for to, spans in ends.spans.items()
        for span in spans
    )


class _Replies:
    """Spans without a number, and how they are packed; there may be very many of them."""

    def __init__(self) -> None:
        self._single: dict[EndpointKey, bytes] = {}
        self._latest: Ends[bool] | None = None
        self._packed = b""

    def packed(self, ends: Ends[bool]) -> bytes:
        if ends is not self._latest:
            self._packed, self._latest = self._pack(ends), ends
        return self._packed

    def _pack(self, ends: Ends[bool]) -> bytes:
        single = self._single
        if len(single) > 2 * len(ends.exact):
            single.clear()
        for key in ends.exact.keys() - single.keys():
            single[key] = _single(key, 0)
        spans = (_span(to, span, 0) for to, each in ends.spans.items() for span in each)
        return b"".join((*map(single.__getitem__, ends.exact), *spans))


def _single(key: EndpointKey, number: int) -> bytes:
    port, to = port_of(key), address_of(key)
    return _SPAN.pack(to, port, port, key[-1], _FAMILIES[len(to)], 0, number)


def _span(to: bytes, span: Span[Meaning], number: int) -> bytes:
    return _SPAN.pack(to, span.low, span.high, span.proto, _FAMILIES[len(to)], 0, number)


def _port(index: int, port: PortInfo, tables: Tables) -> bytes:
    addresses = [port.addresses.get(size, b"") for size in (4, 16)]
    has = bytes(bool(packed) for packed in addresses)
    return _PORT.pack(index, port.mtu, port.mac, index in tables.spread, has, *addresses)


def sorted_addresses(addresses: Iterable[bytes]) -> tuple[bytes, int]:
    """Addresses in order one behind the other, IPv4 first; and how many are IPv4."""
    every = sorted(addresses, key=lambda packed: (len(packed), packed))
    return b"".join(map(address, every)), sum(len(packed) == 4 for packed in every)
