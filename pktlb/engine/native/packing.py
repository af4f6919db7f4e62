"""Tables as the records that the native plane reads; the numbers in them are given.

There may be hundreds of thousands of records, so they are packed by columns.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Final

from pktlb.engine.datapath.keys import EndpointKey, address_of, port_of
from pktlb.engine.datapath.tables import Ends, Meaning, NextHop, PortInfo, ServiceTable, Span
from pktlb.engine.native.contract import (
    END,
    HASH_FIELDS,
    HOP,
    MODES,
    PLACE,
    PORT,
    SCHEDULERS,
    SERVICE,
    SERVICE_FLAGS,
    SPAN,
)
from pktlb.model import Endpoint

FAMILIES: Final = {4: 4, 16: 6, 6: 0}
"The family of an address by its length; a MAC has none."
_ONE_PACKET: Final = SERVICE_FLAGS["ONE_PACKET"]
_PICK_UP: Final = SERVICE_FLAGS["PICK_UP"]
_IS_ANY: Final = SERVICE_FLAGS["IS_ANY"]
_SYMMETRIC: Final = SERVICE_FLAGS["SYMMETRIC"]
_DIRECT: Final = SERVICE_FLAGS["DIRECT"]
_LONGEST_S: Final = 31 * 86400
"Persistence: the native plane's time comes round after 49 days."


def pack_services(
    tables: Sequence[ServiceTable],
    standings: Iterable[int],
    first_places: Iterable[int],
    slots: Iterable[int],
) -> bytes:
    """Services (struct pk_raw_service), each with the number of its standing, of its first place
    and of its array of slots."""
    on = [table.hash_on for table in tables]
    each = SERVICE.each(
        vip=[table.vip.address for table in tables],
        scheduler=[SCHEDULERS[table.scheduler] for table in tables],
        flags=map(_flags, tables),
        fields=[HASH_FIELDS[hashed.fields] for hashed in on],
        prefix4=[hashed.prefix4 for hashed in on],
        prefix6=[hashed.prefix6 for hashed in on],
        persist4=[table.persist4 for table in tables],
        persist6=[table.persist6 for table in tables],
        standing=standings,
        first_place=first_places,
        place_count=[len(table.backends) for table in tables],
        slots=slots,
        persist=[1000 * min(table.persist_s, _LONGEST_S) for table in tables],
    )
    return b"".join(each)


def _flags(table: ServiceTable) -> int:
    return (
        _ONE_PACKET * table.one_packet
        | _PICK_UP * table.pick_up
        | _IS_ANY * table.vip.any
        | _SYMMETRIC * table.hash_on.symmetric
        | _DIRECT * table.direct
    )


def pack_places(table: ServiceTable, tallies: Mapping[Endpoint, int]) -> bytes:
    """The backends of a service that take new flows (struct pk_place); `tallies` has a number for
    each."""
    count = len(table.backends)
    upper, lower = zip(*table.thresholds, strict=True) if table.thresholds else _no_limits(count)
    modes = [MODES[mode] for mode in table.modes]
    each = PLACE.each(
        tally=[tallies[backend] for backend in table.backends],
        weight=table.weights,
        upper=upper,
        lower=lower,
        mode=modes or repeat(MODES[table.mode], count),
    )
    return b"".join(each)


def _no_limits(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (0,) * count, (0,) * count


def pack_ends(keys: Collection[EndpointKey]) -> Iterator[bytes]:
    """Ends with a port and a protocol (struct pk_raw_end)."""
    return END.each(
        addr=map(address_of, keys),
        port=[key[-3:-1] for key in keys],
        proto=[key[-1] for key in keys],
        family=[FAMILIES[len(key) - 3] for key in keys],
    )


def pack_addresses(addresses: Collection[bytes]) -> Iterator[bytes]:
    """Addresses or MACs, each as an end whose port and protocol are 0 (struct pk_raw_end)."""
    count = len(addresses)
    return END.each(
        addr=addresses,
        port=repeat(b"", count),
        proto=repeat(0, count),
        family=[FAMILIES[len(address)] for address in addresses],
    )


def pack_hops(hops: Mapping[bytes, NextHop]) -> bytes:
    """The way to each address (struct pk_raw_hop)."""
    ways = hops.values()
    each = HOP.each(
        to=pack_addresses(hops.keys()),
        source=[hop.source for hop in ways],
        port=[hop.port for hop in ways],
        mtu=[hop.mtu for hop in ways],
        macs=[hop.macs for hop in ways],
    )
    return b"".join(each)


def pack_port(ifindex: int, port: PortInfo, spreads: bool) -> bytes:
    """An interface (struct pk_raw_port)."""
    addresses = [port.addresses.get(size, b"") for size in (4, 16)]
    return PORT.pack(
        ifindex=ifindex,
        mtu=port.mtu,
        successor=port.successor,
        mac=port.mac,
        spreads=spreads,
        has_address=bytes(map(bool, addresses)),
        address=b"".join(address.ljust(16, b"\0") for address in addresses),
    )


def pack_spans(ends: Ends[ServiceTable], numbers: Mapping[int, int]) -> bytes:
    """The ends of services (struct pk_raw_span): single ones, then ranges, those of an address
    side by side and the narrowest first. `numbers`: of each service by the `id` of its table."""
    singles = _singles(ends.exact, [numbers[id(table)] for table in ends.exact.values()])
    ranges = list(_ranges(ends))
    meanings = [numbers[id(span.meaning)] for _, span in ranges]
    return b"".join((*singles, *_packed_ranges(ranges, meanings)))


class Replies:
    """Ends without a number, and how they are packed: what has not changed is kept."""

    def __init__(self) -> None:
        self._single: dict[EndpointKey, bytes] = {}
        self._latest: Ends[bool] | None = None
        self._packed = b""

    def pack(self, ends: Ends[bool]) -> bytes:
        """The ends that may send replies (struct pk_raw_span), in the order of `pack_spans`."""
        if ends is not self._latest:
            self._packed, self._latest = self._pack(ends), ends
        return self._packed

    def _pack(self, ends: Ends[bool]) -> bytes:
        single = self._single
        if len(single) > 2 * len(ends.exact):
            single.clear()
        new = ends.exact.keys() - single.keys()
        single.update(zip(new, _singles(new, repeat(0, len(new))), strict=True))
        ranges = list(_ranges(ends))
        packed = _packed_ranges(ranges, repeat(0, len(ranges)))
        return b"".join((*map(single.__getitem__, ends.exact), *packed))


def _singles(keys: Collection[EndpointKey], meanings: Iterable[int]) -> Iterator[bytes]:
    ports = list(map(port_of, keys))
    return SPAN.each(
        addr=map(address_of, keys),
        low=ports,
        high=ports,
        proto=[key[-1] for key in keys],
        family=[FAMILIES[len(key) - 3] for key in keys],
        meaning=meanings,
    )


def _ranges(ends: Ends[Meaning]) -> Iterator[tuple[bytes, Span[Meaning]]]:
    return ((address, span) for address, spans in ends.spans.items() for span in spans)


def _packed_ranges(
    ranges: Sequence[tuple[bytes, Span[Meaning]]], meanings: Iterable[int]
) -> Iterator[bytes]:
    return SPAN.each(
        addr=[address for address, _ in ranges],
        low=[span.low for _, span in ranges],
        high=[span.high for _, span in ranges],
        proto=[span.proto for _, span in ranges],
        family=[FAMILIES[len(address)] for address, _ in ranges],
        meaning=meanings,
    )
