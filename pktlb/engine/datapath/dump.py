"""The memory of a plane as bytes, for the next process: of any engine, of this version or another.

The first line is JSON and describes what follows: records of flows and pins, with the fields that
the writer knew. A reader takes the fields that it knows as well, and gives its others their
defaults. The first line names backends and services; records refer to them by place. Which record
can be a flow is decided by the plane that loads it.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from pktlb.engine.datapath.tables import Ends, ServiceTable, Tables
from pktlb.engine.datapath.tcp import State
from pktlb.model import Endpoint, Mode, Reason, Scheduler, Vip

FORMAT: Final = 1
NOTHING: Final = 0xFFFFFFFF
"The place in a record that refers to no tally, pin or standing."
_MOST: Final = 1 << 30
WRAP: Final = 1 << 32
"Times in ms are compared modulo this."
"Records of a kind, at most."
_LONGEST_LINE: Final = 256 << 20
_BEYOND: Final = 1 << 63
"All numbers are smaller: a counter of 64 bits that goes on from one of them does not overflow."

FLOW_FIELDS: Final = (
    ("client", "16s"), ("vip", "16s"), ("seen_as", "16s"), ("client_port", "2s"),
    ("vip_port", "2s"), ("seen_port", "2s"), ("proto", "B"), ("family", "B"), ("state", "B"),
    ("mode", "B"), ("mac", "6s"), ("port", "I"), ("seen", "I"), ("tally", "I"), ("by", "H"),
    ("by_transport", "H"), ("pin", "I"), ("client_next", "I"), ("client_acked", "I"),
    ("client_shift", "i"), ("backend_next", "I"), ("backend_acked", "I"), ("backend_shift", "i"),
    ("client_reach", "B"), ("backend_reach", "B"), ("scales", "B"), ("known", "B"),
)  # fmt: skip
PIN_FIELDS: Final = (
    ("client", "16s"), ("standing", "I"), ("tally", "I"), ("seen", "I"), ("life", "I"),
    ("family", "B"), ("zero", "3s"),
)  # fmt: skip
"The fields of a record, each with its code in `struct`."
_DEFAULTS: Final = {"tally": NOTHING, "pin": NOTHING, "standing": NOTHING}
FLOW: Final = struct.Struct("=" + "".join(code for _, code in FLOW_FIELDS))
"struct pk_flow."
PIN: Final = struct.Struct("=" + "".join(code for _, code in PIN_FIELDS))
"struct pk_saved_pin."
MODES: Final = (Mode.NAT, Mode.DSR, Mode.TUNNEL)
KILLED, ANY, SINGLE, ALLOTTED, PARTS = 0x08, 0x10, 0x20, 0x40, 0x80
"Flags in the field `mode` of a flow's record."
CLIENT_KNOWN, BACKEND_KNOWN, CLIENT_ACKED, BACKEND_ACKED, PROVEN = 0x08, 0x10, 0x20, 0x40, 0x80
"Flags in the field `known` of a flow's record: which sequence numbers are, see `track`."
BEFORE: Final = 0x07
"Mask of that field: the state before an RST closed the flow, plus one."
MODE: Final = 0x07
"Mask of that field: the place of the mode in `MODES`."


def milliseconds(seconds: float) -> int:
    """Time in ms as records have it: 32 bits, compared modulo 2**32."""
    return round(seconds * 1000) % WRAP


class DumpError(ValueError):
    """The bytes are no dump of a plane; the message says what is wrong with them."""


class DumpedTally(NamedTuple):
    """What was counted for a backend of a service, and when it was last chosen (`turn`)."""

    service: Vip
    backend: Endpoint
    connections: int = 0
    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    turn: int = 0
    was_full: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that a plane hands over."""

    time: int
    "Now, in ms, by the clock that flows and pins were seen at; 32 bits."
    tallies: Sequence[DumpedTally | None] = ()
    standings: Sequence[tuple[Vip, int] | None] = ()
    "Services, and how often each has picked. None: the place is empty."
    counts: Mapping[str, int] = field(default_factory=dict)
    "Frames by the name of their reason."
    ports: Sequence[int] = ()
    "Ports of translated clients, in the order in which they are given out."
    flows: bytes = b""
    "Records (`FLOW`), state by state, within a state the idlest first."
    pins: bytes = b""
    "Records (`PIN`), the idlest first."


def pack(memory: Memory) -> bytes:
    """The bytes that `unpack` reads."""
    head = {
        "format": FORMAT,
        "time": memory.time,
        "flows": len(memory.flows) // FLOW.size,
        "pins": len(memory.pins) // PIN.size,
        "flow": FLOW_FIELDS,
        "pin": PIN_FIELDS,
        "states": [state.name for state in State],
        "modes": [mode.value for mode in MODES],
        "tallies": [t and [*_vip(t.service), *_end(t.backend), *t[2:]] for t in memory.tallies],
        "standings": [s and [*_vip(s[0]), s[1]] for s in memory.standings],
        "counts": dict(memory.counts),
        "ports": list(memory.ports),
    }
    return b"".join((json.dumps(head).encode(), b"\n", memory.flows, memory.pins))


def unpack(data: bytes) -> Memory:
    """The memory that `pack` has written. Raises `DumpError` where the bytes are something
    else."""
    end = data.find(b"\n", 0, _LONGEST_LINE)
    try:
        head = json.loads(data[: max(end, 0)])
        if head["format"] != FORMAT:
            raise DumpError(f"the flow table has format {head['format']}, expected {FORMAT}")
        flows, rest = _cut(data[end + 1 :], head["flows"], head["flow"], FLOW_FIELDS)
        pins, rest = _cut(rest, head["pins"], head["pin"], PIN_FIELDS)
        if rest:
            raise DumpError(f"{len(rest)} bytes are left over behind the flow table")
        if head["states"] != [state.name for state in State] or head["modes"] != [
            mode.value for mode in MODES
        ]:
            flows = _renumbered(flows, head["states"], head["modes"])
        return Memory(
            time=_number(head["time"]) & 0xFFFFFFFF,
            tallies=[each and _tally(each) for each in head["tallies"]],
            standings=[
                each and (_vip_of(each[:4]), _number(each[4])) for each in head["standings"]
            ],
            counts={n: _number(c) for n, c in head["counts"].items() if n in Reason.__members__},
            ports=[_number(port) for port in head["ports"]],
            flows=flows,
            pins=pins,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error,
            RecursionError) as error:  # fmt: skip
        raise DumpError(f"the flow table cannot be read: {error}") from error


def widened(tables: Tables, memory: Memory) -> Tables:
    """The same tables, in which each backend that `memory` names is a member of its service;
    services that `tables` lack are added without backends that take new flows."""
    of_service: dict[Vip, dict[Endpoint, None]] = {s[0]: {} for s in memory.standings if s}
    for tally in filter(None, memory.tallies):
        of_service.setdefault(tally.service, {})[tally.backend] = None
    known = {table.vip: table for table in tables.all_services}
    for vip, backends in of_service.items():
        table = known.get(vip) or ServiceTable(vip, Mode.NAT, Scheduler.RR, (), (), ())
        known[vip] = replace(table, members=tuple(dict.fromkeys((*table.members, *backends))))
    return replace(
        tables,
        services=Ends((vip, table) for vip, table in known.items() if not vip.any),
        any=known.get(Vip(b"")),
    )


def _vip(vip: Vip) -> tuple[str, int, int, list[int]]:
    return vip.address.hex(), vip.low, vip.high, list(vip.protos)


def _end(backend: Endpoint) -> tuple[str, int]:
    return backend.address.hex(), backend.port


def _vip_of(said: Sequence[Any]) -> Vip:
    address, low, high, protos = said
    vip = Vip(_address(address, 0), _port(low), _port(high), tuple(_number(p) for p in protos))
    if vip.low > vip.high or any(proto > 255 for proto in vip.protos):
        raise ValueError(f"{said} is no service")
    return vip


def _tally(said: Sequence[Any]) -> DumpedTally:
    backend = Endpoint(_address(said[4], 4), _port(said[5]))
    counts = [_number(count) for count in said[6:]]
    tally = DumpedTally(_vip_of(said[:4]), backend, *counts[: len(DumpedTally._fields) - 2])
    if tally.was_full > 1:
        raise ValueError(f"{tally.was_full} is neither 0 nor 1")
    return tally


def _address(text: str, least: int) -> bytes:
    packed = bytes.fromhex(text)
    if len(packed) not in (4, 16, least):
        raise ValueError(f"{text} is no address")
    return packed


def _port(value: object) -> int:
    port = _number(value)
    if port > 0xFFFF:
        raise ValueError(f"{port} is no port")
    return port


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < _BEYOND:
        raise ValueError(f"{value!r} is no number")
    return value


def _cut(
    data: bytes, count: int, said: Sequence[Sequence[str]], own: Sequence[tuple[str, str]]
) -> tuple[bytes, bytes]:
    """The first `count` records, with the fields (`own`) of this version, and the bytes behind
    them. `said` are the fields that the writer knew."""
    names, codes = [name for name, _ in said], [code for _, code in said]
    known = set(zip(names, codes, strict=True))
    layout = struct.Struct("=" + "".join(code for _, code in said))
    size = _number(count) * layout.size
    if count > _MOST or size > len(data):
        raise DumpError(f"expected {count} records, they are cut off")
    if list(map(tuple, said)) == list(own):
        return data[:size], data[size:]
    target = struct.Struct("=" + "".join(code for _, code in own))
    blank = [_DEFAULTS.get(name, b"" if code.endswith("s") else 0) for name, code in own]
    place = [names.index(name) if (name, code) in known else None for name, code in own]
    records = bytearray()
    for record in layout.iter_unpack(data[:size]):
        fields = [blank[i] if at is None else record[at] for i, at in enumerate(place)]
        records += target.pack(*fields)
    return bytes(records), data[size:]


def _renumbered(flows: bytes, states: Iterable[str], modes: Iterable[str]) -> bytes:
    """Records with the numbers that states and modes have here. A state that does not exist here
    becomes 255, a mode `MODE`."""
    of_state = [State[name] if name in State.__members__ else 255 for name in states]
    values = [mode.value for mode in MODES]
    of_mode = [values.index(name) if name in values else MODE for name in modes]
    names = [name for name, _ in FLOW_FIELDS]
    state, mode = names.index("state"), names.index("mode")
    records = bytearray()
    for record in FLOW.iter_unpack(flows):
        fields = list(record)
        fields[state] = of_state[fields[state]] if fields[state] < len(of_state) else 255
        flags, number = fields[mode] & ~MODE, fields[mode] & MODE
        fields[mode] = flags | (of_mode[number] if number < len(of_mode) else MODE)
        records += FLOW.pack(*fields)
    return bytes(records)
