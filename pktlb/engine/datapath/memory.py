"""What the reference plane remembers, to and from the records that `dump` writes and reads.

Decides which record can be a flow or a pin here; a record that cannot is left out. It knows neither
the bytes of the format nor how a record of another version is read.
"""

from dataclasses import dataclass
from typing import Final

from pktlb.engine.datapath.dump import (
    ALLOTTED,
    ANY,
    FLOW,
    KILLED,
    MODE,
    MODES,
    NOTHING,
    PARTS,
    PIN,
    SINGLE,
    WRAP,
    DumpedTally,
    Memory,
    milliseconds,
)
from pktlb.engine.datapath.flow import Flow, FlowTable
from pktlb.engine.datapath.keys import EndpointKey, destination, flow_key, source
from pktlb.engine.datapath.pin import Pin, Pins
from pktlb.engine.datapath.schedule import Chosen, Schedulers
from pktlb.engine.datapath.snat import SourcePorts
from pktlb.engine.datapath.tables import ServiceKey, Tables, service_key
from pktlb.engine.datapath.tally import Tally
from pktlb.engine.datapath.tcp import State
from pktlb.model import Endpoint, Mode, Proto, Vip

_FAMILY: Final = {4: 4, 16: 6}
_SIZE: Final = {4: 4, 6: 16}


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts of a plane that hold what it remembers."""

    flows: FlowTable
    pins: Pins
    schedulers: Schedulers
    ports: SourcePorts


def save(
    contents: Contents, vips: dict[ServiceKey, Vip], counts: dict[str, int], now: float
) -> Memory:
    """All that is remembered at `now` (seconds), with the order of the source ports. `vips` has all
    services that the schedulers know, `counts` the frames by the name of their reason."""
    tallies: list[DumpedTally] = []
    places: dict[Tally, int] = {}
    standings = {}
    for key, standing in contents.schedulers.standings.items():
        standings[vips[key]] = standing.picks
        for tally in standing.tallies.values():
            places[tally] = len(tallies)
            tallies.append(
                DumpedTally(
                    vips[key], tally.backend, tally.connections, tally.packets_in, tally.bytes_in,
                    tally.packets_out, tally.bytes_out, tally.turn, int(tally.was_full),
                )
            )  # fmt: skip
    of_standing = {service_key(vip): place for place, vip in enumerate(standings)}
    each = contents.pins.in_order()
    of_pin = {pin: place for place, pin in enumerate(each)}
    return Memory(
        milliseconds(now),
        tallies,
        list(standings.items()),
        counts,
        contents.ports.ports,
        b"".join(_flow_record(flow, places, of_pin) for flow in contents.flows),
        b"".join(_pin_record(pin, of_standing, places) for pin in each),
    )


def _flow_record(flow: Flow, places: dict[Tally, int], of_pin: dict[Pin, int]) -> bytes:
    client, vip = source(flow.key), destination(flow.key)
    seen_as = destination(flow.reverse) if flow.reverse else Endpoint(b"", 0)
    flags = (
        ANY * flow.any
        | SINGLE * (flow.name != flow.key)
        | ALLOTTED * (flow.pool is not None)
        | PARTS * flow.parts
        | KILLED * flow.killed
    )
    return FLOW.pack(
        client.address, vip.address, seen_as.address, client.port.to_bytes(2, "big"),
        vip.port.to_bytes(2, "big"), seen_as.port.to_bytes(2, "big"), flow.key[-1],
        _FAMILY[len(client.address)], flow.state, MODES.index(flow.mode) | flags,
        flow.client_mac, flow.client_port, milliseconds(flow.seen), places[flow.tally], 0, 0,
        of_pin[flow.pin] if flow.pin else NOTHING, *flow.numbers,
    )  # fmt: skip


def _pin_record(pin: Pin, of_standing: dict[ServiceKey, int], places: dict[Tally, int]) -> bytes:
    service, client = pin.key
    return PIN.pack(
        client, of_standing[service], places[pin.tally], milliseconds(pin.seen),
        pin.life_s * 1000 % WRAP, _FAMILY[len(client)], b"",
    )  # fmt: skip


class Loader:
    """Takes over what was saved, record by record."""

    def __init__(self, memory: Memory, tables: Tables, contents: Contents, now: float) -> None:
        """Takes over the pins. `tables` have every backend of `memory`, see `dump.widened`."""
        self._memory = memory
        self._flows = contents.flows
        self._ports = contents.ports
        self._now = now
        self._is_impossible = tables.is_impossible
        schedulers = contents.schedulers
        self._tables = {table.key: table for table in tables.all_services}
        self._tallies = [
            t and schedulers.tally(service_key(t.service), t.backend) for t in memory.tallies
        ]
        self._all_pins = contents.pins
        self._pins = [self._pin(record) for record in PIN.iter_unpack(memory.pins)]
        for standing in filter(None, memory.standings):
            schedulers.resume(service_key(standing[0]), standing[1])

    def load(self) -> int:
        """Takes over the flows, those seen last where there is less room; returns how many."""
        records = list(FLOW.iter_unpack(self._memory.flows))
        room = self._flows.capacity
        if len(records) > room:
            oldest = sorted(map(self._age, (record[12] for record in records)))[room]
            records = [record for record in records if self._age(record[12]) <= oldest]
        loaded = sum(map(self._flow, records))
        self._ports.settle()
        for saved, tally in zip(self._memory.tallies, self._tallies, strict=True):
            if saved and tally:
                tally.turn, tally.was_full = saved.turn, bool(saved.was_full)
                tally.connections = saved.connections
                tally.packets_in, tally.bytes_in = saved.packets_in, saved.bytes_in
                tally.packets_out, tally.bytes_out = saved.packets_out, saved.bytes_out
        return loaded

    def _age(self, seen: int) -> int:
        return (self._memory.time - seen) % WRAP

    def _seen(self, seen: int) -> float:
        return self._now - self._age(seen) / 1000

    def _pin(self, record: tuple[bytes, int, int, int, int, int, bytes]) -> Pin | None:
        client, standing, tally, seen, life, family, _ = record
        standings = self._memory.standings
        named = standings[standing] if standing < len(standings) else None
        holder = self._tallies[tally] if tally < len(self._tallies) else None
        if not named or not holder or family not in _SIZE:
            return None
        key = service_key(named[0]), client[: _SIZE[family]]
        if holder.service != key[0] or client[_SIZE[family] :].strip(b"\0") or life % 1000:
            return None
        return self._all_pins.restore(key, holder, self._seen(seen), life // 1000)

    def _flow(self, record: tuple[bytes, bytes, bytes, bytes, bytes, bytes, int, int, int, int,
                                  bytes, int, int, int, int, int, int, *tuple[int, ...]]
              ) -> bool:  # fmt: skip
        (client, vip, seen_as, client_port, vip_port, seen_port, proto, family, state, mode, mac,
         port, seen, place, _, _, pin, *numbers) = record  # fmt: skip
        tally = self._tallies[place] if place < len(self._tallies) else None
        if not tally or family not in _SIZE or not _is_sound(mode, state, proto, family, tally):
            return False
        size = _SIZE[family]
        if any((client + vip + seen_as)[at + size : at + 16].strip(b"\0") for at in (0, 16, 32)):
            return False
        if self._is_impossible(client[:size]):
            return False  # its address became ours, or an earlier version took any
        dialled = Endpoint(vip[:size], int.from_bytes(vip_port, "big"))
        key = flow_key(proto, Endpoint(client[:size], int.from_bytes(client_port, "big")), dialled)
        backend = tally.backend
        if not backend.port:
            backend = Endpoint(backend.address, dialled.port)
        stand_in = Endpoint(seen_as[:size], int.from_bytes(seen_port, "big"))
        is_nat = MODES[mode & MODE] is Mode.NAT
        reverse = flow_key(proto, backend, stand_in) if is_nat else None
        pool = None
        if mode & ALLOTTED and self._ports.claim(self._pool(tally), stand_in):
            pool = self._pool(tally)
        flow = Flow(key, reverse, Chosen(backend, tally, MODES[mode & MODE]), any=bool(mode & ANY),
                    reply_only=bool(mode & SINGLE), parts=bool(mode & PARTS),
                    pool=pool)  # fmt: skip
        flow.client_mac, flow.client_port, flow.killed = mac, port, bool(mode & KILLED)
        if proto == Proto.TCP:
            flow.track.restore(tuple(numbers), State(state), is_nat)
        if not self._flows.restore(flow, State(state), self._seen(seen), self._now):
            if pool is not None:
                self._ports.disclaim(pool, stand_in)
            return False
        flow.pin = self._pins[pin] if pin < len(self._pins) else None
        if flow.pin:
            self._all_pins.refer(flow.pin)
        return True

    def _pool(self, tally: Tally) -> EndpointKey:
        return self._tables[ServiceKey(tally.service)].pool(tally.backend)


def _is_sound(mode: int, state: int, proto: int, family: int, tally: Tally) -> bool:
    """Whether flags, mode, state and protocol of a record go together."""
    if mode & MODE >= len(MODES) or state >= len(State):
        return False
    if (state == State.DATAGRAMS) == (proto == Proto.TCP) or (mode & KILLED and proto != Proto.TCP):
        return False
    same = len(tally.backend.address) == _SIZE[family]
    if MODES[mode & MODE] is Mode.NAT:
        return same and not mode & ANY
    tunnel = MODES[mode & MODE] is Mode.TUNNEL
    return not mode & (SINGLE | ALLOTTED) and (tunnel or bool(mode & ANY) or same)
