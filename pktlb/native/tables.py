"""Tables in the form that the native engine reads, and the numbers it knows things by.

The engine counts flows by number: each backend of a service has a tally, each service a standing,
each backend a pool of source ports. This keeps track of who has which number, from one set of
tables to the next; the records are those of raw_tables.h.
"""

import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from pktlb.datapath.keys import EndpointKey, address_of, port_of
from pktlb.datapath.tables import Ends, Meaning, PortInfo, ServiceKey, ServiceTable, Tables
from pktlb.model import Endpoint, HashFields, Mode, Scheduler

_MODES: Final = {Mode.NAT: 0, Mode.DSR: 1, Mode.TUNNEL: 2}
_SCHEDULERS: Final = {
    Scheduler.RR: 0, Scheduler.LC: 1, Scheduler.SED: 2, Scheduler.NQ: 3, Scheduler.P2C: 4,
    Scheduler.SOURCE: 5, Scheduler.MAGLEV: 5, Scheduler.HASH: 5,
}  # fmt: skip
_FIELDS: Final = {
    HashFields.MAC: 0, HashFields.SOURCE: 1, HashFields.ADDRESSES: 2, HashFields.FIVE_TUPLE: 3,
}  # fmt: skip
_ONE_PACKET, _PICK_UP, _ANY, _SYMMETRIC = 1, 2, 4, 8
_FAMILIES: Final = {4: 4, 16: 6}
_NO_SLOTS: Final = 0xFFFFFFFF

_END: Final = struct.Struct("=16s2sBB")
_SERVICE: Final = struct.Struct("=16sBBBBBBHIIII")
_SPAN: Final = struct.Struct("=16sHHBBHI")
_PLACE: Final = struct.Struct("=II")
_TALLY: Final = struct.Struct("=20sIII")
_NUMBER: Final = struct.Struct("=I")
_HOP: Final = struct.Struct("=20s16sII12s")
_PORT: Final = struct.Struct("=II6sB2s3x16s16s")
COUNTS: Final = struct.Struct("=II")
"Of a tally: its active flows, and all of them."


class Packed(NamedTuple):
    """The arguments of the native `swap`."""

    parts: tuple[bytes, ...]
    """Services, places, tallies, standings, spans of services, replies, own, snat, direct,
    appliances, hops, ports, hash key."""
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


class _Standing(NamedTuple):
    """A service that has been balanced, and its backends that count."""

    number: int
    tallies: dict[Endpoint, int]


class Register:
    """Who has which number."""

    def __init__(self) -> None:
        self.backends: dict[int, Endpoint] = {}
        "Of every tally in use, its backend."
        self._standings: dict[ServiceKey, _Standing] = {}
        self._pools: dict[EndpointKey, int] = {}
        self._standing_numbers = _Numbers()
        self._tally_numbers = _Numbers()
        self._leaving: set[int] = set()
        "Tallies that nobody will be added to; their numbers are free when their flows are gone."
        self._new_tallies = bytearray()
        self._new_standings = bytearray()

    @property
    def tally_count(self) -> int:
        return self._tally_numbers.beyond

    def pack(self, tables: Tables) -> Packed:
        """The tables with numbers for everybody in them."""
        services, places = bytearray(), bytearray()
        numbers: dict[ServiceKey, int] = {}
        slots = _Slots()
        for table in tables.all_services:
            numbers[table.key] = len(numbers)
            standing = self._standing(table.key)
            first = len(places) // _PLACE.size
            for backend, weight in zip(table.backends, table.weights, strict=True):
                places += _PLACE.pack(self._tally(standing, table, backend), weight)
            services += _service(table, standing.number, first, slots.place(table.slots))
        parts = (
            bytes(services),
            bytes(places),
            bytes(self._new_tallies),
            bytes(self._new_standings),
            _spans(tables.services, lambda table: numbers[table.key]),
            _spans(tables.replies, lambda _: 0),
            b"".join(map(_address_end, tables.own)),
            b"".join(map(_address_end, tables.snat)),
            b"".join(map(_address_end, tables.direct)),
            b"".join(_END.pack(mac, b"\0\0", 0, 0) for mac in tables.appliances),
            b"".join(
                _HOP.pack(_address_end(to), address(hop.source), hop.port, hop.mtu, hop.macs)
                for to, hop in tables.hops.items()
            ),
            b"".join(_port(i, port, tables) for i, port in tables.ports.items()),
            tables.hash_key,
        )
        own = tables.own_ports
        return Packed(parts, slots.arrays(), self.tally_count, own.start, own.stop)

    def forget(self, tables: Tables, counts: bytes) -> None:
        """Drop who is not in `tables`, now in use, and has no flow left, as the reference does.

        `counts` are the active and all flows of each tally.
        """
        self._new_tallies.clear()
        self._new_standings.clear()
        count = list(COUNTS.iter_unpack(counts))
        tables_by_key = {table.key: table for table in tables.all_services}
        for key, standing in list(self._standings.items()):
            table = tables_by_key.get(key)
            kept = set(table.backends) if table else set()
            for backend, number in list(standing.tallies.items()):
                if not count[number][0] and backend not in kept:
                    del standing.tallies[backend]
                    self._leaving.add(number)
            if table is None and not standing.tallies:
                del self._standings[key]
                self._standing_numbers.give_back(standing.number)
        for number in [number for number in self._leaving if not count[number][1]]:
            self._leaving.remove(number)
            del self.backends[number]
            self._tally_numbers.give_back(number)

    def _standing(self, key: ServiceKey) -> _Standing:
        if key not in self._standings:
            self._standings[key] = _Standing(self._standing_numbers.take(), {})
            self._new_standings += _NUMBER.pack(self._standings[key].number)
        return self._standings[key]

    def _tally(self, standing: _Standing, table: ServiceTable, backend: Endpoint) -> int:
        number = standing.tallies.get(backend)
        if number is None:
            number = standing.tallies[backend] = self._tally_numbers.take()
            self.backends[number] = backend
            key = table.pool(backend)
            pool = self._pools.setdefault(key, len(self._pools))
            self._new_tallies += _TALLY.pack(_end(key), number, standing.number, pool)
        return number


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
    )
    return _SERVICE.pack(
        address(table.vip.address), _MODES[table.mode], _SCHEDULERS[table.scheduler], flags,
        _FIELDS[on.fields], on.prefix4, on.prefix6, 0, standing, first, len(table.backends), slots,
    )  # fmt: skip


def _spans(ends: Ends[Meaning], number: Callable[[Meaning], int]) -> bytes:
    """Single ends, then ranges, those of an address side by side and the narrowest first."""
    packed = bytearray()
    for key, meaning in ends.exact.items():
        port, to = port_of(key), address_of(key)
        packed += _SPAN.pack(to, port, port, key[-1], _FAMILIES[len(to)], 0, number(meaning))
    for to, spans in ends.spans.items():
        for low, high, proto, meaning in spans:
            packed += _SPAN.pack(to, low, high, proto, _FAMILIES[len(to)], 0, number(meaning))
    return bytes(packed)


def _port(index: int, port: PortInfo, tables: Tables) -> bytes:
    addresses = [port.addresses.get(size, b"") for size in (4, 16)]
    has = bytes(bool(packed) for packed in addresses)
    return _PORT.pack(index, port.mtu, port.mac, index in tables.spread, has, *addresses)


def sorted_addresses(addresses: Iterable[bytes]) -> tuple[bytes, int]:
    """Addresses in order one behind the other, IPv4 first; and how many are IPv4."""
    every = sorted(addresses, key=lambda packed: (len(packed), packed))
    return b"".join(map(address, every)), sum(len(packed) == 4 for packed in every)
