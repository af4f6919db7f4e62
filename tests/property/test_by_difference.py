"""After any chain of changes the result is the same as one made anew."""

import copy
import gc
import re
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pktlb.config.config import Config
from pktlb.engine.datapath.tables import ServiceKey, Tables
from pktlb.engine.native.contract import PLACE, SERVICE, TOLD_TALLY, RawTables, ToldTally
from pktlb.engine.native.tables import Register
from pktlb.engine.wire.filter import Filters
from pktlb.host import guard
from pktlb.model import Endpoint
from pktlb.plan import fence
from pktlb.plan import placement as plan
from pktlb.plan.footprint import footprint
from pktlb.plan.layout import Layout
from pktlb.plan.placement import Placement
from tests.support.changes import MACHINE, chain
from tests.support.machine import tables_of

LENGTH = 15
some = settings(max_examples=30)
Place = tuple[ServiceKey, Endpoint, int]
"Service, backend, weight."


def anew(config: Config) -> tuple[Config, Placement]:
    """The same without anything that might be remembered, and where it goes."""
    copied: Config = copy.deepcopy(config)
    return copied, plan.place(copied, MACHINE)


@some
@given(st.randoms(use_true_random=False))
def test_filters_and_tables_are_those_made_anew(random: Random) -> None:
    filters, layout = Filters(), Layout()
    for config in chain(random, LENGTH):
        fresh, placement = anew(config)
        assert placement == plan.place(config, MACHINE)
        programs = filters.programs(fence.wanted_ends(config))
        assert programs == Filters().programs(fence.wanted_ends(fresh))
        macs = {(3, address): bytes(6) for address in MACHINE.routes if random.random() < 0.9}
        made = tables_of(Layout(), fresh, placement, MACHINE, macs)
        assert tables_of(layout, config, placement, MACHINE, macs) == made


@some
@given(st.randoms(use_true_random=False))
def test_the_guard_holds_what_one_made_anew_holds(random: Random) -> None:
    there: dict[str, set[str]] = {}
    frame: object = None
    before = None
    for config in chain(random, LENGTH):
        fresh, placement = anew(config)
        now = fence.guard(config, placement)
        assert now == fence.guard(fresh, placement)
        text = guard.render_change(before, now) if before else guard.render(now)
        if "delete table" in text:
            assert before is None or (frame, there.keys()) != (guard._frame(now), sets(now).keys())
            there, frame = sets(now), guard._frame(now)
        else:
            carry_out(text, there)
        assert (there, frame) == (sets(now), guard._frame(now))
        before = now


def sets(held: guard.Guard) -> dict[str, set[str]]:
    return {name: set(elements) for name, elements in guard._sets(held).items()}


def carry_out(script: str, there: dict[str, set[str]]) -> None:
    """Apply commands as nft does: it refuses to delete what is not there."""
    for line in script.splitlines():
        found = re.fullmatch(r"(add|delete) element netdev pktlb (\w+) \{ (.*) \}", line)
        assert found, line
        verb, name, elements = found.groups()
        for element in elements.split(", "):
            assert verb == "add" or element in there[name], line
            (there[name].add if verb == "add" else there[name].remove)(element)


@some
@given(st.randoms(use_true_random=False))
def test_every_place_has_the_number_of_its_backend(random: Random) -> None:
    layout, register = Layout(), Register()
    for config in chain(random, LENGTH):
        placement = plan.place(config, MACHINE)
        macs = {(3, address): bytes(6) for address in MACHINE.routes if random.random() < 0.9}
        tables = tables_of(layout, config, placement, MACHINE, macs)
        packed = register.pack(tables)
        assert owners(register, packed.parts) == expected(tables)
        idle = [0] * packed.tally_count
        flows = [random.randrange(2) for _ in idle]
        told = TOLD_TALLY.each(**dict.fromkeys(ToldTally._fields, idle) | {"flows": flows})
        register.forget(tables, b"".join(told))
        here = {table.key for table in tables.all_services}
        kept = {key for key, standing in register._standings.items() if standing.tallies}
        assert register._standings.keys() == here | kept


def owners(register: Register, parts: RawTables) -> list[list[Place]]:
    places = list(PLACE.iter_unpack(parts.places))
    found = []
    for service in SERVICE.iter_unpack(parts.services):
        here = places[service.first_place : service.first_place + service.place_count]
        found.append([(*register.owners[place.tally], place.weight) for place in here])
    return found


def expected(tables: Tables) -> list[list[Place]]:
    return [
        [(t.key, backend, weight) for backend, weight in zip(t.backends, t.weights, strict=True)]
        for t in tables.all_services
    ]


def test_nothing_is_remembered_of_services_that_are_gone() -> None:
    gc.collect()
    before = len(footprint)
    for config in chain(Random(7), LENGTH):
        fence.guard(config, plan.place(config, MACHINE))
    assert len(footprint) > before
    del config
    gc.collect()
    assert len(footprint) == before
