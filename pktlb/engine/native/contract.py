"""What Python and the extension must agree on: every record that they exchange, every enum.

The C side declares them (see contract.c). A class here has the fields of the struct in C that its
layout names; the comments there say what a field holds. All of it is compared at import, and
`ContractError` names what differs.
"""

from typing import Annotated, Final, NamedTuple

from pktlb.engine.datapath import dump
from pktlb.engine.datapath.frame import Offload
from pktlb.engine.datapath.tcp import State
from pktlb.engine.native._core import ABSENT, PARTS
from pktlb.engine.native.layout import (
    ContractError,
    Layout,
    compare_codes,
    compare_names,
    compare_numbers,
    numbers,
)
from pktlb.model import HASHES, HashFields, Mode, OnRemove, Reason, Scheduler

Address = Annotated[bytes, 16]
"Of either family; an IPv4 address may be given as 4 bytes, zeros follow it."
NetworkPort = Annotated[bytes, 2]
"A transport port in network order."
Mac = Annotated[bytes, 6]


class RawEnd(NamedTuple):
    addr: Address
    port: NetworkPort
    proto: int
    family: int


class RawService(NamedTuple):
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
    tally: int
    weight: int
    upper: int
    lower: int
    mode: int


class RawTally(NamedTuple):
    backend: Annotated[bytes, 20]
    number: int
    standing: int
    pool: int


class RawSpan(NamedTuple):
    addr: Address
    low: int
    high: int
    proto: int
    family: int
    meaning: int


class RawHop(NamedTuple):
    to: Annotated[bytes, 20]
    source: Address
    port: int
    mtu: int
    macs: Annotated[bytes, 12]


class RawPort(NamedTuple):
    ifindex: int
    mtu: int
    successor: int
    mac: Mac
    spreads: int
    has_address: Annotated[bytes, 2]
    address: Annotated[bytes, 32]


class RawRemoved(NamedTuple):
    tally: int
    on_remove: int


class Key(NamedTuple):
    source: Address
    destination: Address
    sport: NetworkPort
    dport: NetworkPort
    proto: int
    family: int


class SingleHead(NamedTuple):
    port: int
    length: int
    offload: Annotated[bytes, 10]


class ToldTally(NamedTuple):
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
    client_shift: int
    backend_next: int
    backend_acked: int
    backend_shift: int
    client_reach: int
    backend_reach: int
    scales: int
    known: int


class SavedTally(NamedTuple):
    connections: int
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    turn: int
    was_full: int


class WorkerPort(NamedTuple):
    ifindex: int
    fd: int
    mtu: int


class SharedWords(NamedTuple):
    stop: int
    started: int
    rounds: int
    tun_errors: bytes


class SharedPortWords(NamedTuple):
    received: int
    reopen: int
    ring: int
    receive_errors: bytes
    send_errors: bytes


class Parts(NamedTuple):
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
    hash_key: bytes


END: Final = Layout("raw_end", RawEnd)
SERVICE: Final = Layout("raw_service", RawService)
PLACE: Final = Layout("place", Place)
TALLY: Final = Layout("raw_tally", RawTally)
SPAN: Final = Layout("raw_span", RawSpan)
HOP: Final = Layout("raw_hop", RawHop)
PORT: Final = Layout("raw_port", RawPort)
REMOVED: Final = Layout("raw_removed", RawRemoved)
KEY: Final = Layout("key", Key)
SINGLE_HEAD: Final = Layout("single_head", SingleHead)
TOLD_TALLY: Final = Layout("told_tally", ToldTally)
FLOW: Final = Layout("flow", FlowRecord)
SAVED_TALLY: Final = Layout("saved_tally", SavedTally)
WORKER_PORT: Final = Layout("worker_port", WorkerPort)
SHARED: Final = Layout("shared", SharedWords)
SHARED_PORT: Final = Layout("shared_port", SharedPortWords)

compare_names("the parts of the tables", Parts._fields, PARTS)
compare_names(
    "record saved_tally", dump.TallyState._fields, ("service", "backend", *SavedTally._fields)
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
    "reason", {reason: reason.name for reason in Reason if reason is not Reason.UNWRAPPED}
)
REASONS: Final = tuple(sorted(_NUMBER_OF, key=_NUMBER_OF.__getitem__))
"By number. `UNWRAPPED` is counted outside of the extension."

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
if ABSENT != dump.NOTHING:
    raise ContractError(f"no number is {ABSENT} in the extension, {dump.NOTHING} here")

_OFFLOAD: Final = Offload(1, 2, 3, 4, 5, 6)
if Layout("offload", Offload).pack(**_OFFLOAD._asdict()) != _OFFLOAD.pack():
    raise ContractError("record offload: it is packed otherwise here")
