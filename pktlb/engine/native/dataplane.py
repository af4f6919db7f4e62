"""The native plane behind the interface of the reference.

`Dataplane` says what each frame becomes; this does the same in C, to the byte. Frames one by one
come through here only in tests and tools: a worker hands over whole batches without Python.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import Final, NamedTuple

from pktlb.engine.datapath.dump import (
    KILLED,
    MODE,
    MODES,
    DumpedTally,
    Memory,
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
from pktlb.engine.native._core import Plane
from pktlb.engine.native.contract import (
    FLOW,
    KEY,
    REASONS,
    SAVED_TALLY,
    SINGLE_HEAD,
    TOLD_TALLY,
    FlowRecord,
    ToldTally,
    numbers_for,
)
from pktlb.engine.native.packing import FAMILIES
from pktlb.engine.native.tables import Register, sorted_addresses
from pktlb.model import Endpoint, Mode, Reason, Timeouts, Vip

_NO_TALLY: Final = DumpedTally(Vip(b""), Endpoint(b"", 0))
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
    numbers: tuple[int, ...]


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

    def _flow(self, record: FlowRecord, tallies: dict[int, Tally]) -> NativeFlow:
        size = 4 if record.family == 4 else 16
        number, mode = record.tally, MODES[record.mode & MODE]
        backend = self._owners[number][1]

        def end(address: bytes, port: bytes) -> Endpoint:
            return Endpoint(address[:size], int.from_bytes(port, "big"))

        vip = end(record.vip, record.vip_port)
        if not backend.port:
            backend = Endpoint(backend.address, vip.port)
        reverse = flow_key(record.proto, backend, end(record.seen_as, record.seen_port))
        return NativeFlow(
            key=flow_key(record.proto, end(record.client, record.client_port), vip),
            reverse=reverse if mode is Mode.NAT else None,
            mode=mode,
            backend=backend,
            tally=tallies.get(number) or tallies.setdefault(number, self._tally(number)),
            state=State(record.state),
            seen=record.seen / 1000,
            client_mac=record.mac,
            client_port=record.port,
            killed=bool(record.mode & KILLED),
            numbers=record[-10:],
        )

    def _tally(self, number: int) -> Tally:
        tally = Tally(*self._owners[number])
        tally.active = _told(self._core, number).active
        return tally


class NativeDataplane:
    """A `Dataplane` in C."""

    def __init__(self, tables: Tables, limits: Limits) -> None:
        snat, snat_ipv4 = sorted_addresses(tables.snat)
        self.core: Final = Plane(
            max_flows=limits.max_flows,
            timeouts=_timeouts(limits.timeouts),
            snat=snat,
            snat_ipv4=snat_ipv4,
            source_ports=b"".join(port.to_bytes(2, "big") for port in limits.source_ports),
            secret=limits.secret,
        )
        self._register = Register()
        self._ports: Final = limits.source_ports
        self._tables = tables
        self.flows: Final = NativeFlows(self.core, self._register.owners)
        self.swap(tables)

    @property
    def counts(self) -> dict[Reason, int]:
        """How many frames ended in each reason; their sum is the number of frames handled."""
        return dict.fromkeys(Reason, 0) | dict(zip(REASONS, self.core.counts(), strict=True))

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
        return number is not None and _told(self.core, number).flows > 0

    def open_flows(self, service: ServiceKey, backend: Endpoint) -> int:
        """How many open flows of a service a backend has; takes the same time for any table."""
        number = self._register.number_of(service, backend)
        return 0 if number is None else _told(self.core, number).active

    def swap(self, tables: Tables) -> None:
        """From the next frame on, these tables. The SNAT addresses stay those of the start."""
        self._tables = tables
        packed = self._register.pack(tables)
        self.core.swap(
            parts=packed.parts,
            slots=packed.slots,
            tally_count=packed.tally_count,
            own_low=packed.own_low,
            own_high=packed.own_high,
        )
        self._register.forget(tables, self.core.tallies(0, self._register.tally_count))

    def dump(self, now: float, with_ports: bool = True) -> bytes:
        """Everything remembered, for the next process; nothing may move. The order of the source
        ports, which takes longest to read and never changes, may be left out."""
        self.expire(now, sum(self.core.sizes()))  # what is over is not handed on
        flows, pins, time = self.core.save()
        vips = self._register.of_standings()
        owners = self._register.of_tallies()
        counted = SAVED_TALLY.iter_unpack(b"".join(map(self.core.tally, range(len(owners)))))
        tallies = [
            owner and DumpedTally(*owner, *saved)
            for owner, saved in zip(owners, counted, strict=True)
        ]
        picked_by = [vip and (vip, self.core.picks(number)) for number, vip in enumerate(vips)]
        counts = {reason.name: count for reason, count in self.counts.items()}
        ports = self._ports if with_ports else ()
        return pack(Memory(time, tallies, picked_by, counts, ports, flows, pins))

    def expect(self, flows: int) -> None:
        """So many are about to be loaded: what can be done for that beforehand is done."""
        self.core.expect(min(flows, 0xFFFFFFFF))

    def load(self, data: bytes, now: float) -> int:
        """Take over what a plane has dumped, before anything moves; returns how many flows.
        `DumpError` where it cannot be read: then nothing is taken over."""
        memory = unpack(data)
        tables, register = self._tables, self._register
        self.swap(widened(tables, memory))
        loaded = self.core.load(
            flows=memory.flows,
            pins=memory.pins,
            tallies=_packed(memory.tallies),
            picks=numbers_for(
                "saved.picks", (each[1] if each else 0 for each in memory.standings)
            ).tobytes(),
            tally_of=register.tally_numbers(
                tally and (tally.service, tally.backend) for tally in memory.tallies
            ).tobytes(),
            standing_of=register.standing_numbers(
                each and each[0] for each in memory.standings
            ).tobytes(),
            counts=numbers_for(
                "saved.counts", (memory.counts.get(each.name, 0) for each in REASONS)
            ).tobytes(),
            then=memory.time,
            now=milliseconds(now),
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
        return Outcome(REASONS[number], list(_frames(sent)))


def _told(core: Plane, number: int) -> ToldTally:
    """What the plane tells of one tally."""
    return TOLD_TALLY.unpack(core.tallies(number, 1))


def _packed(tallies: Iterable[DumpedTally | None]) -> bytes:
    """Tallies as the plane loads them; None: one of which nothing was counted."""
    dumped = [tally or _NO_TALLY for tally in tallies]
    return b"".join(
        SAVED_TALLY.each(
            connections=map(attrgetter("connections"), dumped),
            packets_in=map(attrgetter("packets_in"), dumped),
            bytes_in=map(attrgetter("bytes_in"), dumped),
            packets_out=map(attrgetter("packets_out"), dumped),
            bytes_out=map(attrgetter("bytes_out"), dumped),
            turn=map(attrgetter("turn"), dumped),
            was_full=map(attrgetter("was_full"), dumped),
        )
    )


def _key(key: FlowKey) -> bytes:
    """A key as the plane reads it."""
    here, there = source(key), destination(key)
    return KEY.pack(
        source=here.address,
        destination=there.address,
        sport=key[-5:-3],
        dport=key[-3:-1],
        proto=key[-1],
        family=FAMILIES[len(here.address)],
    )


def _frames(sent: bytes) -> Iterator[Frame]:
    """The frames that the plane sent: each is a struct pk_single_head and its bytes."""
    at = 0
    while at < len(sent):
        head = SINGLE_HEAD.unpack(sent, at)
        at += SINGLE_HEAD.size + head.length
        data = bytearray(sent[at - head.length : at])
        yield Frame(head.port, data, unpack_offload(head.offload))


def _timeouts(timeouts: Timeouts) -> bytes:
    of_state = {
        State.SYN_SENT: timeouts.syn,
        State.SYN_RECEIVED: timeouts.syn,
        State.CLOSED: timeouts.fin,
        State.DATAGRAMS: timeouts.udp,
    }
    seconds = [of_state.get(state, timeouts.tcp) for state in State]
    return numbers_for("limits.timeouts", (round(each * 1000) for each in seconds)).tobytes()
