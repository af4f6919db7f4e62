"""The datapath's tables, from a configuration and what is known of the machine.

Made again at each change of either; what a change does not touch is taken from the last time.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Final, NamedTuple

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.engine.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.host.machine import Machine
from pktlb.host.neighbours import Way
from pktlb.model import HASHES, Scheduler, Vip
from pktlb.plan.footprint import Replies, bridged_addresses, footprint, is_direct
from pktlb.plan.leaving import Served
from pktlb.plan.placement import Placement
from pktlb.plan.ramp import FULL, Ramps
from pktlb.plan.slots import maglev_table, weighted_cycle
from pktlb.plan.ways import speaker, way_to

HASH_KEY: Final = b"pktlb maglev key"
"Not a secret: balancers that stand in for each other must choose alike."
_CYCLES: Final = frozenset({Scheduler.RR, Scheduler.P2C})
_RAMP_SCALE: Final = 100
"Weights of a service are so many times finer while one of its backends has a share of its own."

_Recipe = tuple[bool, tuple[bytes, ...], tuple[int, ...]]
"What slots are made of: is it a cycle (else a Maglev table), names of the backends, weights."


class Around(NamedTuple):
    """What is around a configuration: the machine, and what was decided and found out for it."""

    placement: Placement
    machine: Machine
    macs: Mapping[Way, bytes]
    "MAC of each next hop that is known."
    successors: Mapping[int, int] = {}
    "See `Successors.of`."


class _Made(NamedTuple):
    """A table, and what it was made of."""

    service: Service
    usable: tuple[Backend, ...]
    weights: tuple[int, ...]
    table: ServiceTable
    recipe: _Recipe


class Layout:
    """Makes tables, and remembers what it has made."""

    def __init__(self) -> None:
        self.ramps: Final = Ramps()
        self._made: dict[Vip, _Made] = {}
        self._slots: dict[_Recipe, Sequence[int]] = {}
        self._replies: Final = Replies()
        self._reached: frozenset[bytes] = frozenset()
        "Backends' addresses that had a next hop in the latest tables."

    def tables(self, served: Served, around: Around, now: float = 0.0) -> Tables:
        """The tables at the time `now`, in seconds of the clock that slow start goes by."""
        config = served.config
        opened = {port.index for port in around.placement.ports}
        routes, bridged = around.machine.routes, bridged_addresses(served.senders)
        hops = {}
        for address in served.destinations:
            if address in bridged and (route := routes.get(address)) and route.gateway:
                continue  # only a MAC is written: a gateway would send the packet back to the VIP
            hop = next_hop(around.machine, address, around.macs)
            if hop is not None and hop.port in opened:
                hops[address] = hop
        appliances = [b.endpoint.address for s in config.services if s.vip.any for b in s.backends]
        before, self._made = self._made, {}
        earlier, self._slots = self._slots, {}
        moved, self._reached = self._reached ^ hops.keys(), frozenset(hops)
        self.ramps.keep({service.vip for service in config.services})
        return Tables.of(
            services=[self._table(s, hops, now, before, earlier, moved) for s in config.services],
            replies=self._replies.table(served.senders),
            hops=hops,
            snat=frozenset(config.snat),
            ports=_port_infos(config, around),
            hash_key=HASH_KEY,
            own=frozenset(address.address for address in around.machine.addresses),
            broadcasts=around.machine.broadcasts(),
            own_ports=around.placement.own_ports,
            spread=around.placement.spread,
            appliances=frozenset(hops[a].macs[:6] for a in appliances if a in hops),
            removed={gone.key: gone.on_remove for gone in served.leaving if gone.on_remove},
        )

    def _table(
        self, service: Service, hops: Mapping[bytes, NextHop], now: float,
        before: Mapping[Vip, _Made], earlier: Mapping[_Recipe, Sequence[int]],
        moved: Set[bytes],
    ) -> ServiceTable:  # fmt: skip
        """The table of one service. `before` and `earlier` are tables and slots of the last time;
        the addresses in `moved` were reached then and are not now, or the other way round."""
        known = before.get(service.vip)
        is_same = known and known.service is service and not service.slow_start_s
        if known and is_same and moved.isdisjoint(footprint(service).addresses):
            return self._keep(known)
        usable = tuple(
            b for b in service.backends if b.weight and not b.drain and b.endpoint.address in hops
        )
        weights = self._weights(service, usable, now)
        if known and (service, usable, weights) == known[:3]:
            return self._keep(known)
        recipe = _recipe(service, usable, weights)
        slots = self._slots_of(service, usable, recipe, earlier)
        table = _table(service, usable, weights, slots)
        self._made[service.vip] = _Made(service, usable, weights, table, recipe)
        return table

    def _keep(self, known: _Made) -> ServiceTable:
        """Go on with the table of last time."""
        if known.table.slots:
            self._slots.setdefault(known.recipe, known.table.slots)
        self._made[known.service.vip] = known
        return known.table

    def _weights(
        self, service: Service, usable: Sequence[Backend], now: float
    ) -> tuple[int, ...]:  # fmt: skip
        shares = self.ramps.shares(service, usable, now)
        if all(share == FULL for share in shares):
            return tuple(backend.weight for backend in usable)
        return tuple(
            max(1, round(_RAMP_SCALE * backend.weight * share))
            for backend, share in zip(usable, shares, strict=True)
        )

    def _slots_of(
        self, service: Service, usable: Sequence[Backend], recipe: _Recipe,
        earlier: Mapping[_Recipe, Sequence[int]],
    ) -> Sequence[int]:  # fmt: skip
        if not usable or not (service.scheduler in _CYCLES or service.scheduler in HASHES):
            return ()
        if recipe not in self._slots:
            self._slots[recipe] = earlier.get(recipe) or _slots(*recipe)
        return self._slots[recipe]


def _table(
    service: Service, usable: Sequence[Backend], weights: tuple[int, ...], slots: Sequence[int]
) -> ServiceTable:  # fmt: skip
    modes = tuple(service.mode_of(backend) for backend in usable)
    thresholds = tuple(map(_thresholds, usable))
    return ServiceTable(
        vip=service.vip,
        mode=service.mode,
        scheduler=service.scheduler,
        backends=tuple(backend.endpoint for backend in usable),
        weights=weights,
        slots=slots,
        hash_on=service.hash_on,
        one_packet=service.one_packet,
        pick_up=service.pick_up,
        members=tuple(backend.endpoint for backend in service.backends),
        modes=modes if set(modes) - {service.mode} else (),
        thresholds=thresholds if any(upper for upper, _ in thresholds) else (),
        persist_s=service.persist_s,
        persist4=service.persist4,
        persist6=service.persist6,
        direct=is_direct(service),
    )


def _thresholds(backend: Backend) -> tuple[int, int]:
    """Of open flows: none above the first, and new ones again below the second."""
    upper = backend.max_connections
    return upper, backend.resume_connections or (3 * upper + 3) // 4


def _recipe(service: Service, usable: Sequence[Backend], weights: tuple[int, ...]) -> _Recipe:
    """What the slots of a service depend on: the same for services with the same machines."""
    if service.scheduler in _CYCLES:
        return True, (), weights
    addresses = [backend.endpoint.address for backend in service.backends]
    told_apart = len(set(addresses)) == len(addresses)
    return False, tuple(_name(backend, told_apart) for backend in usable), weights


def _name(backend: Backend, told_apart: bool) -> bytes:
    """What hashes know a backend by; `told_apart`: its address says enough."""
    if backend.name:
        return backend.name.encode()
    return backend.endpoint.address if told_apart else str(backend.endpoint).encode()


def _slots(is_cycle: bool, names: tuple[bytes, ...], weights: tuple[int, ...]) -> Sequence[int]:
    """The scheduler's recipe as a table."""
    return weighted_cycle(weights) if is_cycle else maglev_table(names, weights, HASH_KEY)


def next_hop(machine: Machine, address: bytes, macs: Mapping[Way, bytes]) -> NextHop | None:
    """How a frame reaches `address`; None as long as that is not known."""
    way = way_to(machine, address)
    if way is None or way not in macs:
        return None
    link, route = machine.links[way[0]], machine.routes[address]
    mtu = min(link.mtu, route.mtu or link.mtu)
    return NextHop(link.index, macs[way] + link.mac, mtu, route.source)


def _port_infos(config: Config, around: Around) -> dict[int, PortInfo]:
    """What the datapath knows of each port that is there, by its index."""
    placement, machine = around.placement, around.machine
    added = {address for address, _ in placement.addresses}
    vips = {service.vip.address for service in config.services}
    infos = {}
    for port in placement.ports:
        if link := machine.links.get(port.index):
            found = {size: speaker(machine, port.index, size, added, vips) for size in (4, 16)}
            addresses = {size: address for size, address in found.items() if address}
            infos[port.index] = PortInfo(link.mac, link.mtu, addresses)
    for gone, successor in around.successors.items():
        if successor in infos and gone not in infos:
            infos[gone] = infos[successor]._replace(successor=successor)
    return infos
