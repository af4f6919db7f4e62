"""Tables in the form that the native plane reads, and the numbers in them.

The plane counts flows by number: each backend of a service has a tally, each service a standing,
each backend a pool of source ports. A register keeps these numbers from one set of tables to the
next.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

from pktlb.engine.datapath.keys import EndpointKey
from pktlb.engine.datapath.tables import ServiceKey, ServiceTable, Tables, service_key
from pktlb.engine.datapath.tally import Count
from pktlb.engine.native._core import ABSENT
from pktlb.engine.native.contract import (
    ON_REMOVE,
    PLACE,
    REMOVED,
    TALLY,
    TOLD_TALLY,
    RawTables,
    ToldTally,
    numbers_for,
)
from pktlb.engine.native.packing import (
    Replies,
    pack_addresses,
    pack_ends,
    pack_hops,
    pack_places,
    pack_port,
    pack_services,
    pack_spans,
)
from pktlb.model import Endpoint, Vip

_WORD: Final = "I"
"The code of the numbers that are read of a told tally."
_TOLD_WORDS: Final = TOLD_TALLY.size // 4
_FLOWS: Final = TOLD_TALLY.words("flows", _WORD).start
_PINS: Final = TOLD_TALLY.words("pins", _WORD).start
_SLOT_SIZE: Final = numbers_for("service.slots", ()).itemsize


class Packed(NamedTuple):
    """The arguments of the native `swap`."""

    parts: RawTables
    slots: tuple[object, ...]
    tally_count: int
    own_low: int
    own_high: int


class _Numbers:
    """Small numbers given out; one that was given back is given out first."""

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
    "The backends that belong to it now."
    table: ServiceTable | None = None
    "Its table, where it is in use now."
    places: bytes = b""
    "The places of this table, packed: its backends keep their numbers as long as it is in use."


class Register:
    """Which service and which backend has which number."""

    def __init__(self) -> None:
        self.owners: dict[int, tuple[ServiceKey, Endpoint]] = {}
        "The service and the backend of every tally in use."
        self._standings: dict[ServiceKey, _Standing] = {}
        self._pools: dict[EndpointKey, int] = {}
        self._standing_numbers = _Numbers()
        self._tally_numbers = _Numbers()
        self._new_tallies = bytearray()
        self._new_standings = numbers_for("source.standings", ())
        self._replies = Replies()

    @property
    def tally_count(self) -> int:
        return self._tally_numbers.beyond

    def pack(self, tables: Tables) -> Packed:
        """The tables as the native plane reads them, with a number for each service and each
        backend in them."""
        services, slots = tables.all_services, _Slots()
        places, first_places = bytearray(), list[int]()
        standings = list(map(self._standing, services))
        for table, standing in zip(services, standings, strict=True):
            first_places.append(len(places) // PLACE.size)
            places += self._places(standing, table)
        parts = RawTables(
            services=pack_services(
                services,
                [standing.number for standing in standings],
                first_places,
                [slots.place(table.slots) for table in services],
            ),
            places=bytes(places),
            tallies=bytes(self._new_tallies),
            standings=self._new_standings.tobytes(),
            spans=pack_spans(tables.services, {id(t): i for i, t in enumerate(services)}),
            replies=self._replies.pack(tables.replies),
            own=b"".join(pack_addresses(tables.own)),
            snat=b"".join(pack_addresses(tables.snat)),
            direct=b"".join(pack_addresses(tables.direct)),
            appliances=b"".join(pack_addresses(tables.appliances)),
            broadcasts=b"".join(pack_addresses(tables.broadcasts)),
            hops=pack_hops(tables.hops),
            ports=b"".join(pack_port(i, p, i in tables.spread) for i, p in tables.ports.items()),
            removed=self._removed(tables),
            hash_key=tables.hash_key,
        )
        own = tables.own_ports
        return Packed(parts, slots.arrays(), self.tally_count, own.start, own.stop)

    def _places(self, standing: _Standing, table: ServiceTable) -> bytes:
        """The places of a service, packed. Every member has a number, and keeps it as long as the
        table is in use."""
        if standing.table is not table:
            members = dict.fromkeys((*table.backends, *table.members))
            self._count(standing, table, [each for each in members if each not in standing.tallies])
            standing.places = pack_places(table, standing.tallies)
            standing.members = frozenset(members)
            standing.table = table
        return standing.places

    def _removed(self, tables: Tables) -> bytes:
        """The removed backends that still have a number, packed."""
        packed = bytearray()
        for (key, backend), on_remove in tables.removed.items():
            number = self.number_of(key, backend)
            if number is not None:
                packed += REMOVED.pack(tally=number, on_remove=ON_REMOVE[on_remove])
        return bytes(packed)

    def forget(self, tables: Tables, told: bytes) -> None:
        """Drop each service and backend that is not in `tables`, now in use, and has no flow or pin
        left, as the reference does. `told` is what the plane tells of each tally."""
        self._new_tallies.clear()
        del self._new_standings[:]
        words = memoryview(told).cast(_WORD)
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
            if not words[at + _FLOWS] and not words[at + _PINS]:
                del standing.tallies[backend], self.owners[number]
                self._tally_numbers.give_back(number)

    def counts(self, told: bytes) -> dict[tuple[ServiceKey, Endpoint], Count]:
        """What is told of each tally whose backend belongs to its service, or has flows."""
        each = list(TOLD_TALLY.iter_unpack(told))
        return {
            (key, backend): count_of(each[number])
            for key, standing in self._standings.items()
            for backend, number in standing.tallies.items()
            if each[number].flows or backend in standing.members
        }

    def of_tallies(self) -> list[tuple[Vip, Endpoint] | None]:
        """The service and the backend of each tally, by its number."""
        vips = {key: standing.vip for key, standing in self._standings.items()}
        owners = map(self.owners.get, range(self.tally_count))
        return [owner and (vips[owner[0]], owner[1]) for owner in owners]

    def of_standings(self) -> list[Vip | None]:
        """The service of each standing, by its number."""
        by_number = {standing.number: standing.vip for standing in self._standings.values()}
        return [by_number.get(number) for number in range(self._standing_numbers.beyond)]

    def tally_numbers(self, owners: Iterable[tuple[Vip, Endpoint] | None]) -> "array[int]":
        """The number of the tally of each of these here, or `ABSENT`."""
        return numbers_for("saved.tally_of", (self._number_of(*o) if o else ABSENT for o in owners))

    def _number_of(self, vip: Vip, backend: Endpoint) -> int:
        standing = self._standings.get(service_key(vip))
        return standing.tallies.get(backend, ABSENT) if standing else ABSENT

    def standing_numbers(self, vips: Iterable[Vip | None]) -> "array[int]":
        """The number of the standing of each of these here, or `ABSENT`."""
        found = (self._standings.get(service_key(vip)) if vip else None for vip in vips)
        return numbers_for("saved.standing_of", (each.number if each else ABSENT for each in found))

    def number_of(self, service: ServiceKey, backend: Endpoint) -> int | None:
        """The number of the tally of a backend, or None."""
        standing = self._standings.get(service)
        return standing.tallies.get(backend) if standing else None

    def _standing(self, table: ServiceTable) -> _Standing:
        key = table.key
        if key not in self._standings:
            number = self._standing_numbers.take()
            self._standings[key] = _Standing(number, table.vip, {}, frozenset())
            self._new_standings.append(number)
        return self._standings[key]

    def _count(
        self, standing: _Standing, table: ServiceTable, backends: Sequence[Endpoint]
    ) -> None:
        """Give each of these backends a tally; they have none."""
        if not backends:
            return
        key, pools = table.key, list(map(table.pool, backends))
        numbers = [self._tally_numbers.take() for _ in backends]
        standing.tallies.update(zip(backends, numbers, strict=True))
        self.owners.update(
            (number, (key, each)) for number, each in zip(numbers, backends, strict=True)
        )
        tallies = TALLY.each(
            backend=pack_ends(pools),
            number=numbers,
            standing=repeat(standing.number, len(numbers)),
            pool=[self._pools.setdefault(pool, len(self._pools)) for pool in pools],
        )
        self._new_tallies += b"".join(tallies)


def count_of(told: ToldTally) -> Count:
    """What is told of a tally, as the reference tells it."""
    return Count(
        told.active, told.flows - told.active, told.connections, told.packets_in, told.bytes_in,
        told.packets_out, told.bytes_out, bool(told.full),
    )  # fmt: skip


class _Slots:
    """Arrays of slots, each of them once, however many services share it."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._arrays: list[object] = []
        self._kept: list[Sequence[int]] = []

    def place(self, slots: Sequence[int]) -> int:
        if not slots:
            return ABSENT
        if id(slots) not in self._places:
            self._places[id(slots)] = len(self._arrays)
            self._kept.append(slots)  # as long as it lives, no other array has its id
            whole = isinstance(slots, array) and slots.itemsize == _SLOT_SIZE
            self._arrays.append(slots if whole else numbers_for("service.slots", slots))
        return self._places[id(slots)]

    def arrays(self) -> tuple[object, ...]:
        return tuple(self._arrays)


def sorted_addresses(addresses: Iterable[bytes]) -> tuple[bytes, int]:
    """Addresses in order, of 16 bytes each, IPv4 first; and how many are IPv4."""
    every = sorted(addresses, key=lambda packed: (len(packed), packed))
    joined = b"".join(packed.ljust(16, b"\0") for packed in every)
    return joined, sum(len(packed) == 4 for packed in every)
