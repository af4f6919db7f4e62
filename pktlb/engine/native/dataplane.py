"""The native engine behind the interface of the reference engine.

`Dataplane` says what each frame becomes; this does the same in C, to the byte. Frames one by one
come through here only in tests and tools: a worker hands the engine whole batches without Python.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from pktlb.engine.datapath.dump import (
    FLOW,
    KILLED,
    MODE,
    MODES,
    Memory,
    TallyState,
    milliseconds,
    pack,
    unpack,
    widened,
)
from pktlb.engine.datapath.frame import Frame, unpack_offload
from pktlb.engine.datapath.keys import FlowKey, destination, flow_key, source
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.tables import ServiceKey, Tables
from pktlb.engine.datapath.tally import Count, Tally
from pktlb.engine.datapath.tcp import State
from pktlb.engine.native._core import REASONS, Plane
from pktlb.engine.native.tables import TOLD, Register, count_of, sorted_addresses
from pktlb.model import Endpoint, Mode, Reason, Timeouts

_REASONS: Final = tuple(Reason[name] for name in REASONS.split())
_TALLY: Final = struct.Struct("=QQQQQQI4x")
_KEY: Final = struct.Struct("=16s16s2s2sBB2x")
_NO_TALLY: Final = (0,) * 7
_SENT: Final = struct.Struct("=II10s")
_CHUNK: Final = 1024
"Flows copied at a time: what a packet may have to wait for."


class NativeFlow(NamedTuple):
    """A copy of a flow; see `pktlb.engine.datapath.flow.Flow`."""

    key: FlowKey
    reverse: FlowKey | None
    mode: Mode
    backend: Endpoint
    tally: Tally
    state: State
    seen: float
    client_mac: bytes
    client_port: int
    killed: bool


class NativeFlows:
    """A look at the flow table."""

    def __init__(self, core: Plane, owners: Mapping[int, tuple[ServiceKey, Endpoint]]) -> None:
        self._core = core
        self._owners = owners

    def __len__(self) -> int:
        return self._core.sizes()[0]

    def __iter__(self) -> Iterator[NativeFlow]:
        first, tallies = 0, dict[int, Tally]()
        while (records := self._core.flows(first, _CHUNK)) is not None:
            for record in FLOW.iter_unpack(records):
                yield self._flow(record, tallies)
            first += _CHUNK

    def _flow(self, record: tuple[Any, ...], tallies: dict[int, Tally]) -> NativeFlow:
        (client, vip, seen_as, client_port, vip_port, seen_port, proto, family, state, mode, mac,
         port, seen, tally, *_) = record  # fmt: skip
        size = 4 if family == 4 else 16
        backend = self._owners[tally][1]

        def end(address: bytes, at: bytes) -> Endpoint:
            return Endpoint(address[:size], int.from_bytes(at, "big"))

        killed, mode = bool(mode & KILLED), MODES[mode & MODE]
        key = flow_key(proto, end(client, client_port), end(vip, vip_port))
        if not backend.port:
            backend = Endpoint(backend.address, int.from_bytes(vip_port, "big"))
        reverse = flow_key(proto, backend, end(seen_as, seen_port))
        return NativeFlow(
            key,
            reverse if mode is Mode.NAT else None,
            mode,
            backend,
            tallies.get(tally) or tallies.setdefault(tally, self._tally(tally)),
            State(state),
            seen / 1000,
            mac,
            port,
            killed,
        )

    def _tally(self, number: int) -> Tally:
        tally = Tally(*self._owners[number])
        tally.active = count_of(TOLD.unpack(self._core.tallies(number, 1))).active
        return tally


class NativeDataplane:
    """The native engine."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        self.core: Final = Plane(
            limits.max_flows,
            _timeouts(limits.timeouts),
            *sorted_addresses(tables.snat),
            b"".join(port.to_bytes(2, "big") for port in limits.source_ports),
            limits.secret,
        )
        self._register = Register()
        self._ports: Final = limits.source_ports
        self._tables = tables
        self.flows: Final = NativeFlows(self.core, self._register.owners)
        self.swap(tables)

    @property
    def counts(self) -> dict[Reason, int]:
        """How many frames ended in each reason; their sum is the number of frames handled."""
        return dict.fromkeys(Reason, 0) | dict(zip(_REASONS, self.core.counts(), strict=True))

    @property
    def pin_count(self) -> int:
        """How many clients persistence remembers."""
        return self.core.sizes()[1]

    def tallies(self) -> dict[tuple[ServiceKey, Endpoint], Count]:
        """What came of each backend that belongs to its service, or has flows."""
        return self._register.counts(self.core.tallies(0, self._register.tally_count))

    def has_flows(self, service: ServiceKey, backend: Endpoint) -> bool:
        """Whether there are any of a service to a backend, open or not."""
        number = self._register.number_of(service, backend)
        return number is not None and TOLD.unpack(self.core.tallies(number, 1))[1] > 0

    def open_flows(self, service: ServiceKey, backend: Endpoint) -> int:
        """How many open flows of a service a backend has; takes the same time for any table."""
        number = self._register.number_of(service, backend)
        return 0 if number is None else count_of(TOLD.unpack(self.core.tallies(number, 1))).active

    def swap(self, tables: Tables) -> None:
        """From the next frame on, these tables. The SNAT addresses stay those of the start."""
        self._tables = tables
        self.core.swap(*self._register.pack(tables))
        self._register.forget(tables, self.core.tallies(0, self._register.tally_count))

    def dump(self, now: float, with_ports: bool = True) -> bytes:
        """Everything remembered, for the next process; nothing may move. The order of the source
        ports, which takes longest to read and never changes, may be left out."""
        self.expire(now, sum(self.core.sizes()))  # whose time is over stays behind
        flows, pins, time = self.core.save()
        vips = self._register.of_standings()
        tallies = [
            owner and TallyState(*owner, *_TALLY.unpack(self.core.tally(number)))
            for number, owner in enumerate(self._register.of_tallies())
        ]
        picked_by = [vip and (vip, self.core.picks(number)) for number, vip in enumerate(vips)]
        counts = {reason.name: count for reason, count in self.counts.items()}
        ports = self._ports if with_ports else ()
        return pack(Memory(time, tallies, picked_by, counts, ports, flows, pins))

    def expect(self, flows: int) -> None:
        """So many are about to be loaded: what can be done for that beforehand is done."""
        self.core.expect(min(flows, 0xFFFFFFFF))

    def load(self, data: bytes, now: float) -> int:
        """Take over what an engine has dumped, before anything moves; returns how many flows.
        `StateError` where it cannot be read: then nothing is taken over."""
        memory = unpack(data)
        tables, register = self._tables, self._register
        self.swap(widened(tables, memory))
        loaded = self.core.load(
            memory.flows,
            memory.pins,
            b"".join(_TALLY.pack(*(tally[2:] if tally else _NO_TALLY)) for tally in memory.tallies),
            array("Q", (each[1] if each else 0 for each in memory.standings)).tobytes(),
            register.tally_numbers(tally and tally[:2] for tally in memory.tallies).tobytes(),
            register.standing_numbers(each and each[0] for each in memory.standings).tobytes(),
            array("Q", (memory.counts.get(reason.name, 0) for reason in _REASONS)).tobytes(),
            memory.time,
            milliseconds(now),
        )
        self.swap(tables)
        return loaded

    def kill(self, keys: Iterable[FlowKey]) -> int:
        """End the flows of these keys, as their clients send: datagrams' are forgotten, TCP's reset
        at their next packet. Returns how many there were."""
        each, killed = iter(keys), 0
        while some := b"".join(map(_key, islice(each, _CHUNK))):
            killed += self.core.kill(some)
        return killed

    def expire(self, now: float, most: int = 256) -> int:
        """Forget up to `most` flows and pins whose time is over; returns how many."""
        return self.core.expire(milliseconds(now), most)

    def handle(self, frame: Frame, now: float) -> Outcome:
        """Decide on one frame; `frame` itself stays as it is."""
        number, sent = self.core.handle(
            frame.data, frame.offload.pack(), frame.port, milliseconds(now)
        )
        return Outcome(_REASONS[number], list(_frames(sent)))


def _key(key: FlowKey) -> bytes:
    """Struct pk_key."""
    here, there = source(key), destination(key)
    family = 4 if len(here.address) == 4 else 6
    return _KEY.pack(here.address, there.address, key[-5:-3], key[-3:-1], key[-1], family)


def _frames(sent: bytes) -> Iterator[Frame]:
    """The frames that the engine sent, out of struct pk_single_head and their bytes."""
    at = 0
    while at < len(sent):
        port, length, offload = _SENT.unpack_from(sent, at)
        at += _SENT.size + length
        yield Frame(port, bytearray(sent[at - length : at]), unpack_offload(offload))


def _timeouts(timeouts: Timeouts) -> bytes:
    of_state = {
        State.SYN_SENT: timeouts.syn,
        State.SYN_RECEIVED: timeouts.syn,
        State.CLOSED: timeouts.fin,
        State.DATAGRAMS: timeouts.udp,
    }
    seconds = [of_state.get(state, timeouts.tcp) for state in State]
    return array("I", (round(each * 1000) for each in seconds)).tobytes()
