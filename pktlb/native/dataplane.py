"""The native engine behind the interface of the reference engine.

`Dataplane` says what each frame becomes; this does the same in C, to the byte. Frames one by one
come through here only in tests and tools: a worker hands the engine whole batches without Python.
"""

import struct
from array import array
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pktlb.datapath.flow import Tally
from pktlb.datapath.frame import Frame, unpack_offload
from pktlb.datapath.keys import FlowKey, flow_key
from pktlb.datapath.outcome import Outcome
from pktlb.datapath.pipeline import Limits
from pktlb.datapath.tables import Tables
from pktlb.datapath.tcp import State
from pktlb.model import Endpoint, Mode, Reason, Timeouts
from pktlb.native._core import REASONS, Engine
from pktlb.native.tables import COUNTS, Register, sorted_addresses

_REASONS: Final = tuple(Reason[name] for name in REASONS.split())
_MODES: Final = (Mode.NAT, Mode.DSR, Mode.TUNNEL)
_FLOW: Final = struct.Struct("=16s16s16s2s2s2sBBBB6sIIIHH")
_SENT: Final = struct.Struct("=II10s")
_MODE: Final = 0x0F
"Of a record's mode; the rest are flags."
_CHUNK: Final = 1024
"Flows copied at a time: what a packet may have to wait for."


class NativeFlow(NamedTuple):
    """A copy of a flow; see `pktlb.datapath.flow.Flow`."""

    key: FlowKey
    reverse: FlowKey | None
    mode: Mode
    backend: Endpoint
    tally: Tally
    state: State
    seen: float
    client_mac: bytes
    client_port: int


class NativeFlows:
    """A look at the flow table."""

    def __init__(self, engine: Engine, backends: dict[int, Endpoint]) -> None:
        self._engine = engine
        self._backends = backends

    def __len__(self) -> int:
        return self._engine.flow_count()

    def __iter__(self) -> Iterator[NativeFlow]:
        first = 0
        while (records := self._engine.flows(first, _CHUNK)) is not None:
            for record in _FLOW.iter_unpack(records):
                yield self._flow(record)
            first += _CHUNK

    def _flow(self, record: tuple[Any, ...]) -> NativeFlow:
        (client, vip, seen_as, client_port, vip_port, seen_port, proto, family, state, mode, mac,
         port, seen, tally, *_) = record  # fmt: skip
        size = 4 if family == 4 else 16
        backend = self._backends[tally]

        def end(address: bytes, at: bytes) -> Endpoint:
            return Endpoint(address[:size], int.from_bytes(at, "big"))

        mode = _MODES[mode & _MODE]
        key = flow_key(proto, end(client, client_port), end(vip, vip_port))
        if not backend.port:
            backend = Endpoint(backend.address, int.from_bytes(vip_port, "big"))
        reverse = flow_key(proto, backend, end(seen_as, seen_port))
        return NativeFlow(
            key,
            reverse if mode is Mode.NAT else None,
            mode,
            backend,
            self._tally(tally),
            State(state),
            seen / 1000,
            mac,
            port,
        )

    def _tally(self, number: int) -> Tally:
        tally = Tally()
        tally.active, _ = COUNTS.unpack(self._engine.tallies(number, 1))
        return tally


class NativeDataplane:
    """The native engine."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        self.engine: Final = Engine(
            limits.max_flows,
            _timeouts(limits.timeouts),
            *sorted_addresses(tables.snat),
            b"".join(port.to_bytes(2, "big") for port in limits.source_ports),
            limits.secret,
        )
        self._register = Register()
        self.flows: Final = NativeFlows(self.engine, self._register.backends)
        self.swap(tables)

    @property
    def counts(self) -> dict[Reason, int]:
        """How many frames ended in each reason; their sum is the number of frames handled."""
        return dict.fromkeys(Reason, 0) | dict(zip(_REASONS, self.engine.counts(), strict=True))

    def swap(self, tables: Tables) -> None:
        """From the next frame on, these tables. The SNAT addresses stay those of the start."""
        self.engine.swap(*self._register.pack(tables))
        self._register.forget(tables, self.engine.tallies(0, self._register.tally_count))

    def expire(self, now: float, most: int = 256) -> int:
        """Forget up to `most` flows whose time is over; returns how many."""
        return self.engine.expire(milliseconds(now), most)

    def handle(self, frame: Frame, now: float) -> Outcome:
        """Decide on one frame; `frame` itself stays as it is."""
        number, sent = self.engine.handle(
            frame.data, frame.offload.pack(), frame.port, milliseconds(now)
        )
        return Outcome(_REASONS[number], list(_frames(sent)))


def _frames(sent: bytes) -> Iterator[Frame]:
    """The frames that the engine sent, out of struct pk_single_head and their bytes."""
    at = 0
    while at < len(sent):
        port, length, offload = _SENT.unpack_from(sent, at)
        at += _SENT.size + length
        yield Frame(port, bytearray(sent[at - length : at]), unpack_offload(offload))


def milliseconds(seconds: float) -> int:
    """The native engine's time: 32 bits of milliseconds, compared modulo 2**32."""
    return round(seconds * 1000) & 0xFFFFFFFF


def _timeouts(timeouts: Timeouts) -> bytes:
    of_state = {
        State.SYN_SENT: timeouts.syn,
        State.SYN_RECEIVED: timeouts.syn,
        State.CLOSED: timeouts.fin,
        State.DATAGRAMS: timeouts.udp,
    }
    seconds = [of_state.get(state, timeouts.tcp) for state in State]
    return array("I", (round(each * 1000) for each in seconds)).tobytes()
