"""What Python and the extension must agree on: every record that they exchange, every enum.

The C side declares them (see contract.c). A class here has the fields of the struct in C that its
layout names; the comments there say what a field holds. All of it is compared at import, and
`ContractError` names what differs.
"""

from array import array
from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

from pktlb.engine.datapath import dump
from pktlb.engine.datapath.frame import Offload
from pktlb.engine.datapath.tcp import State
from pktlb.engine.native._core import ABSENT, PARTS
from pktlb.engine.native.layout import (
    ContractError,
    Record,
    Signed,
    compare_codes,
    compare_elements,
    compare_names,
    compare_numbers,
    numbers,
)
from pktlb.model import HASHES, OF_DECAP, HashFields, Mode, OnRemove, Reason, Scheduler

Address = Annotated[bytes, 16]
"Of either family; an IPv4 address may be given as 4 bytes, zeros follow it."
NetworkPort = Annotated[bytes, 2]
"A transport port in network order."
Mac = Annotated[bytes, 6]


class RawEnd(NamedTuple):
    """One end of a flow as the tables name it: an address, a port and a protocol."""

    addr: Address
    port: NetworkPort
    proto: int
    family: int


class RawService(NamedTuple):
    """A service: its VIP, its scheduler, and where its places and slots are."""

    vip: Address
    scheduler: int
    flags: int
    fields: int
    prefix4: int
    prefix6: int
    persist4: int
    persist6: int
    standing: int
    first_place: int
    place_count: int
    slots: int
    persist: int


class Place(NamedTuple):
    """A backend of a service that takes new flows."""

    tally: int
    weight: int
    upper: int
    lower: int
    mode: int


class RawTally(NamedTuple):
    """A tally that starts with these tables."""

    backend: Annotated[bytes, 20]
    number: int
    standing: int
    pool: int


class RawSpan(NamedTuple):
    """A range of ports of an address, and what it means."""

    addr: Address
    low: int
    high: int
    proto: int
    family: int
    meaning: int


class RawHop(NamedTuple):
    """The way to an address: interface, MTU and MACs."""

    to: Annotated[bytes, 20]
    source: Address
    port: int
    mtu: int
    macs: Annotated[bytes, 12]


class RawPort(NamedTuple):
    """An interface of the balancer."""

    ifindex: int
    mtu: int
    successor: int
    mac: Mac
    spreads: int
    has_address: Annotated[bytes, 2]
    address: Annotated[bytes, 32]


class RawRemoved(NamedTuple):
    """A backend that was removed, and what becomes of its open TCP connections."""

    tally: int
    on_remove: int


class Key(NamedTuple):
    """A flow key as the plane reads it."""

    source: Address
    destination: Address
    sport: NetworkPort
    dport: NetworkPort
    proto: int
    family: int


class SingleHead(NamedTuple):
    """What stands in front of each frame that the plane sends."""

    port: int
    length: int
    offload: Annotated[bytes, 10]


class ToldTally(NamedTuple):
    """A tally as the plane tells control of it."""

    active: int
    flows: int
    pins: int
    full: int
    connections: int
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int


class FlowRecord(NamedTuple):
    """A flow as it stands in a dump, and as the plane copies it for control."""

    client: Address
    vip: Address
    seen_as: Address
    client_port: NetworkPort
    vip_port: NetworkPort
    seen_port: NetworkPort
    proto: int
    family: int
    state: int
    mode: int
    mac: Mac
    port: int
    seen: int
    tally: int
    by: int
    by_transport: int
    pin: int
    client_next: int
    client_acked: int
    client_shift: Signed
    backend_next: int
    backend_acked: int
    backend_shift: Signed
    client_reach: int
    backend_reach: int
    scales: int
    known: int


class SavedTally(NamedTuple):
    """What a dump holds of a tally, besides its service and its backend."""

    connections: int
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    turn: int
    was_full: int


class WorkerPort(NamedTuple):
    """A port as a worker is given it."""

    ifindex: int
    fd: Signed
    mtu: int


class SharedWords(NamedTuple):
    """What a worker and control share of the whole worker."""

    stop: int
    started: int
    rounds: int
    tun_errors: bytes


class SharedPortWords(NamedTuple):
    """What a worker and control share of one port."""

    received: int
    slow: int
    stuck: int
    blocked: int
    ring: int
    receive_errors: bytes
    send_errors: bytes


class RawTables(NamedTuple):
    """The arrays of a set of tables, each of whole records; see raw_tables.h."""

    services: bytes
    places: bytes
    tallies: bytes
    standings: bytes
    spans: bytes
    replies: bytes
    own: bytes
    snat: bytes
    direct: bytes
    appliances: bytes
    hops: bytes
    ports: bytes
    removed: bytes
    broadcasts: bytes
    hash_key: bytes


END: Final = Record("raw_end", RawEnd)
SERVICE: Final = Record("raw_service", RawService)
PLACE: Final = Record("place", Place)
TALLY: Final = Record("raw_tally", RawTally)
SPAN: Final = Record("raw_span", RawSpan)
HOP: Final = Record("raw_hop", RawHop)
PORT: Final = Record("raw_port", RawPort)
REMOVED: Final = Record("raw_removed", RawRemoved)
KEY: Final = Record("key", Key)
SINGLE_HEAD: Final = Record("single_head", SingleHead)
TOLD_TALLY: Final = Record("told_tally", ToldTally)
FLOW: Final = Record("flow", FlowRecord)
SAVED_TALLY: Final = Record("saved_tally", SavedTally)
WORKER_PORT: Final = Record("worker_port", WorkerPort)
SHARED: Final = Record("shared", SharedWords)
SHARED_PORT: Final = Record("shared_port", SharedPortWords)

ELEMENTS: Final = {
    "limits.timeouts": "I",
    "limits.snat": "16s",
    "limits.source_ports": "H",
    "service.slots": "I",
    "saved.flows": "flow",
    "saved.pins": "saved_pin",
    "saved.tallies": "saved_tally",
    "saved.picks": "Q",
    "saved.tally_of": "I",
    "saved.standing_of": "I",
    "saved.counts": "Q",
    "source.services": "raw_service",
    "source.places": "place",
    "source.tallies": "raw_tally",
    "source.standings": "I",
    "source.spans": "raw_span",
    "source.replies": "raw_span",
    "source.own": "raw_end",
    "source.snat": "raw_end",
    "source.broadcasts": "raw_end",
    "source.direct": "raw_end",
    "source.appliances": "raw_end",
    "source.hops": "raw_hop",
    "source.ports": "raw_port",
    "source.removed": "raw_removed",
    "source.hash_key": "16s",
}
"""What one element is of each array that is given to the extension: the name of its record, or its
code in `struct`. The key is the name of the struct that has the array there, and its own name."""


def numbers_for(array_name: str, numbers: Iterable[int]) -> "array[int]":
    """An array of these numbers, as the extension reads the one of this name in `ELEMENTS`."""
    return array(ELEMENTS[array_name], numbers)


compare_names("the parts of the tables", RawTables._fields, PARTS)
compare_names(
    "record saved_tally", dump.DumpedTally._fields, ("service", "backend", *SavedTally._fields)
)

MODES: Final = numbers("mode", {mode: mode.name for mode in Mode})
SCHEDULERS: Final = numbers(
    "scheduler", {each: "BY_HASH" if each in HASHES else each.name for each in Scheduler}
)
HASH_FIELDS: Final = numbers("hash_fields", {each: f"BY_{each.name}" for each in HashFields})
ON_REMOVE: Final = numbers(
    "on_remove", {each: f"ON_REMOVE_{each.name}" for each in OnRemove}, spare=["NOT_REMOVED"]
)
SERVICE_FLAGS: Final = numbers(
    "service_flag",
    {name: name for name in ("ONE_PACKET", "PICK_UP", "IS_ANY", "SYMMETRIC", "DIRECT")},
)
_NUMBER_OF: Final = numbers(
    "reason", {reason: reason.name for reason in Reason if reason not in OF_DECAP}
)
REASONS: Final = tuple(sorted(_NUMBER_OF, key=_NUMBER_OF.__getitem__))
"By number. The reasons of `pktlb decap` are counted outside of the extension."

compare_numbers("state", State.__members__)
compare_numbers("mode", {mode.name: number for number, mode in enumerate(dump.MODES)})
compare_numbers(
    "flow_flag",
    {
        "FLOW_MODE": dump.MODE,
        "FLOW_KILLED": dump.KILLED,
        "FLOW_ANY": dump.ANY,
        "FLOW_SINGLE": dump.SINGLE,
        "FLOW_ALLOTTED": dump.ALLOTTED,
        "FLOW_PARTS": dump.PARTS,
    },
)
compare_numbers(
    "known",
    {
        "CLIENT_KNOWN": dump.CLIENT_KNOWN,
        "BACKEND_KNOWN": dump.BACKEND_KNOWN,
        "CLIENT_ACKED": dump.CLIENT_ACKED,
        "BACKEND_ACKED": dump.BACKEND_ACKED,
        "PROVEN": dump.PROVEN,
    },
)
compare_codes("flow", dump.FLOW_FIELDS)
compare_codes("saved_pin", dump.PIN_FIELDS)
compare_elements(ELEMENTS)
if ABSENT != dump.NOTHING:
    raise ContractError(f"no number is {ABSENT} in the extension, {dump.NOTHING} here")

_OFFLOAD: Final = Offload(1, 2, 3, 4, 5, 6)
if Record("offload", Offload).pack(**_OFFLOAD._asdict()) != _OFFLOAD.pack():
    raise ContractError("record offload: it is packed otherwise here")
