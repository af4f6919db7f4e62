"""Random changes through the whole of `pktlb.plan`, in a process that cannot reach the world.

`test_plan_alone` runs it with seeds as its arguments. The process ends with an error where plan/
loads a module that has the world in it, opens a socket or a file, starts a child, or reads a clock.
"""

import sys
from random import Random
from typing import Final

WORLD: Final = ("aiohttp", "asyncio", "pydantic", "pyroute2", "ssl", "subprocess")
for name in WORLD:
    sys.modules[name] = None  # type: ignore[assignment]  # to import it is an ImportError

import time  # noqa: E402

from pktlb.config.config import Config  # noqa: E402
from pktlb.config.service import Backend, Service  # noqa: E402
from pktlb.engine.datapath.tables import Tables, service_key  # noqa: E402
from pktlb.engine.wire.filter import Side  # noqa: E402
from pktlb.model import Endpoint, Mode, OnRemove, Proto  # noqa: E402
from pktlb.plan.change import Held, Transition, effect, transition  # noqa: E402
from pktlb.plan.fence import guard, wanted_ends  # noqa: E402
from pktlb.plan.layout import Around, Layout  # noqa: E402
from pktlb.plan.leaving import Leaver, Served, serve  # noqa: E402
from pktlb.plan.placement import Before, Placement, place_served  # noqa: E402
from tests.support.changes import MACHINE, chain  # noqa: E402

LENGTH: Final = 12
CLOCKS: Final = ("monotonic", "monotonic_ns", "perf_counter", "time", "time_ns")


def no_clock() -> float:
    raise AssertionError("plan/ has read a clock")


is_over: Final = [False]
"A failure may read the source for its traceback."


def no_world(event: str, _: object) -> None:
    """An audit hook, which stays until the process ends (PEP 578)."""
    if not is_over[0] and event.split(".", maxsplit=1)[0] in (
        "fcntl",
        "open",
        "os",
        "signal",
        "socket",
        "subprocess",
    ):
        raise AssertionError(f"plan/ has touched the world: {event}")


def main(seeds: list[int]) -> None:
    for clock in CLOCKS:
        setattr(time, clock, no_clock)
    sys.addaudithook(no_world)
    for seed in seeds:
        try:
            live(Random(seed))
        except Exception as error:
            is_over[0] = True
            raise AssertionError(f"seed {seed}") from error


def live(random: Random) -> None:
    """A chain of changes, in which leavers now and then have had their last flow."""
    layout, before, leaving = Layout(), Config(()), list[Leaver]()
    there, added = Before(), dict[bytes, int]()
    for now, after in enumerate(chain(random, LENGTH)):
        change = transition(before, after, random.choice([None, *OnRemove]))
        check_change(change)
        check_effect(random, change)
        leaving = [each for each in change.leaving(leaving) if random.random() < 0.7]
        served = serve(change.after, leaving)
        placement = place_served(change.after, served, MACHINE, added, there)
        there, added = Before(ports=placement.ports, homes=added), dict(placement.addresses)
        macs = {(3, address): bytes(6) for address in MACHINE.routes if random.random() < 0.9}
        tables = layout.tables(served, Around(placement, MACHINE, macs), float(now))
        check_placement(served, placement)
        check_tables(served, tables)
        before = change.after


def members(config: Config) -> dict[tuple[bytes, Endpoint], Mode]:
    return {
        (service_key(service.vip), backend.endpoint): service.mode_of(backend)
        for service in config.services
        for backend in service.backends
    }


def check_change(change: Transition) -> None:
    """Each backend of before either stays in its mode or leaves; equal ones make no item."""
    old, new = members(change.before), members(change.after)
    leavers = {each.key for each in change.leavers}
    assert leavers == {key for key, mode in old.items() if new.get(key) is not mode}
    assert bool(change.items) is (change.before != change.after)
    same = {id(service) for service in change.before.services}
    assert all(id(s) in same for s in change.after.services if s in change.before.services)


def check_effect(random: Random, change: Transition) -> None:
    """What is told of flows adds up, and a flow of a backend that stays is left alone."""
    flows = [a_flow(random, s, b) for s in change.before.services for b in s.backends]
    told = effect(change, flows)
    assert told.flows_total == len(flows)
    assert told.flows_moved + told.flows_broken <= len(flows)
    assert 0 <= told.clients_share <= 1
    leavers = {each.key for each in change.leavers}
    untouched = effect(change, [f for f in flows if (f.service, f.backend) not in leavers])
    assert (untouched.flows_moved, untouched.flows_broken) == (0, 0)


def a_flow(random: Random, service: Service, backend: Backend) -> Held:
    proto = random.choice([Proto.TCP, Proto.UDP])
    client = bytes([192, 0, 2, random.randrange(1, 4)])
    key, mode = service_key(service.vip), service.mode_of(backend)
    return Held(proto, client, key, backend.endpoint, mode, random.random() < 0.2)


def check_placement(served: Served, placement: Placement) -> None:
    """Every link is opened, every VIP is held, and leavers are still let in."""
    links = {MACHINE.routes[address].link for address in served.destinations}
    assert links <= {port.index for port in placement.ports}
    vips = frozenset(service.vip for service in served.config.services)
    assert guard(served.config, placement, served.strays).services == vips
    ends = wanted_ends(served.config, served.strays)
    assert ends[Side.DESTINATION] == vips
    sources = {vip.address for vip in ends[Side.SOURCE]}
    nat = {s.address for s, mode in senders(served) if mode is Mode.NAT}
    assert nat <= sources


def senders(served: Served) -> list[tuple[Endpoint, Mode]]:
    return [
        (backend.endpoint, service.mode_of(backend))
        for service in (*served.config.services, *served.strays)
        for backend in service.backends
    ]


def check_tables(served: Served, tables: Tables) -> None:
    """New flows go to backends that are reached, wanted and not leaving."""
    leaving = {each.key for each in served.leaving if each.on_remove}
    assert tables.removed.keys() == leaving
    for table in tables.all_services:
        for backend, weight in zip(table.backends, table.weights, strict=True):
            assert weight > 0
            assert backend.address in tables.hops
            assert (table.key, backend) not in leaving


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
