"""Tables in the form that the native engine reads, and the numbers it knows things by.

The engine counts flows by number: each backend of a service has a tally, each service a standing,
each backend a pool of source ports. This keeps track of who has which number, from one set of
tables to the next; the records are those of raw_tables.h.
"""

import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pktlb.datapath.packet import EndpointKey, endpoint_key
from pktlb.datapath.tables import ServiceTable, Tables
from pktlb.model import Endpoint, Mode, Scheduler

_MODES: Final = {Mode.NAT: 0, Mode.DSR: 1, Mode.TUNNEL: 2}
_SCHEDULERS: Final = {Scheduler.RR: 0, Scheduler.LC: 1, Scheduler.SOURCE: 2}
_NO_SLOTS: Final = 0xFFFFFFFF

_END: Final = struct.Struct("=16s2sBB")
_SERVICE: Final = struct.Struct("=20sBBHIIII")
_PLACE: Final = struct.Struct("=II")
_TALLY: Final = struct.Struct("=20sIII")
_NUMBER: Final = struct.Struct("=I")
_HOP: Final = struct.Struct("=20s16sII12s")
_PORT: Final = struct.Struct("=II6sH")
COUNTS: Final = struct.Struct("=II")
"Of a tally: its active flows, and all of them."


class Packed(NamedTuple):
    """The arguments of the native `swap`."""

    services: bytes
    places: bytes
    tallies: bytes
    standings: bytes
    replies: bytes
    own: bytes
    snat: bytes
    hops: bytes
    ports: bytes
    hash_key: bytes
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
        self._standings: dict[EndpointKey, _Standing] = {}
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
        slots = _Slots()
        for table in tables.services.values():
            standing = self._standing(table.key)
            first = len(places) // _PLACE.size
            for backend, weight in zip(table.backends, table.weights, strict=True):
                places += _PLACE.pack(self._tally(standing, table, backend), weight)
            services += _SERVICE.pack(
                _end(table.key), _MODES[table.mode], _SCHEDULERS[table.scheduler], 0,
                standing.number, first, len(table.backends), slots.place(table.slots),
            )  # fmt: skip
        return Packed(
            bytes(services),
            bytes(places),
            bytes(self._new_tallies),
            bytes(self._new_standings),
            b"".join(map(_end, tables.replies)),
            b"".join(map(_address_end, tables.own)),
            b"".join(map(_address_end, tables.snat)),
            b"".join(
                _HOP.pack(_address_end(to), address(hop.source), hop.port, hop.mtu, hop.macs)
                for to, hop in tables.hops.items()
            ),
            b"".join(_PORT.pack(i, port.mtu, port.mac, 0) for i, port in tables.ports.items()),
            tables.hash_key,
            slots.arrays(),
            self.tally_count,
            tables.own_ports.start,
            tables.own_ports.stop,
        )

    def forget(self, tables: Tables, counts: bytes) -> None:
        """Drop who is not in `tables`, now in use, and has no flow left, as the reference does.

        `counts` are the active and all flows of each tally.
        """
        self._new_tallies.clear()
        self._new_standings.clear()
        count = list(COUNTS.iter_unpack(counts))
        for key, standing in list(self._standings.items()):
            table = tables.services.get(key)
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

    def _standing(self, key: EndpointKey) -> _Standing:
        if key not in self._standings:
            self._standings[key] = _Standing(self._standing_numbers.take(), {})
            self._new_standings += _NUMBER.pack(self._standings[key].number)
        return self._standings[key]

    def _tally(self, standing: _Standing, table: ServiceTable, backend: Endpoint) -> int:
        number = standing.tallies.get(backend)
        if number is None:
            number = standing.tallies[backend] = self._tally_numbers.take()
            self.backends[number] = backend
            key = endpoint_key(table.proto, backend)
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
    return _END.pack(key[:size], key[size : size + 2], key[-1], 4 if size == 4 else 6)


def _address_end(packed: bytes) -> bytes:
    return _END.pack(packed, b"\0\0", 0, 4 if len(packed) == 4 else 6)


def sorted_addresses(addresses: Iterable[bytes]) -> bytes:
    """Addresses one behind the other, in order."""
    return b"".join(address(packed) for packed in sorted(addresses))
