"""Schedulers agree with the slow ones, and slots keep to the weights."""

from collections import Counter
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.keys import FlowKey, flow_key
from pktlb.engine.datapath.schedule import Schedulers, hashed
from pktlb.engine.datapath.siphash import siphash
from pktlb.engine.datapath.tables import ServiceTable
from pktlb.engine.datapath.tally import Tally
from pktlb.model import Endpoint, HashFields, HashOn, Mode, Proto, Scheduler
from pktlb.plan.slots import MAGLEV_SLOTS, maglev_table, weighted_cycle
from tests.support.gateway import HASH_KEY, service
from tests.support.oracle import (
    slow_least,
    slow_maglev,
    slow_never_queue,
    slow_prefix,
    slow_round_robin,
    slow_shortest,
)
from tests.support.packets import client, vip

words = st.integers(0, 65535)
weights = st.lists(st.integers(1, 12), min_size=1, max_size=6)
triples = st.tuples(*[st.integers(1, 5)] * 3)
KEY = flow_key(Proto.TCP, client().endpoint, vip().endpoint)
SLOTS = 251


def abc(shares: tuple[int, ...], scheduler: Scheduler) -> ServiceTable:
    return service(Mode.NAT, dict(zip("abc", shares, strict=True)), scheduler=scheduler)


@given(weights)
def test_a_cycle_agrees_with_the_slow_round_robin(shares: list[int]) -> None:
    cycle = list(weighted_cycle(shares))
    assert sum(shares) % len(cycle) == 0
    assert cycle * (sum(shares) // len(cycle)) == slow_round_robin(shares, sum(shares))


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=5))
def test_a_cycle_is_never_far_from_each_backend_s_share(shares: list[int]) -> None:
    cycle = weighted_cycle(shares)
    total = Counter(cycle)
    assert set(total) == set(range(len(shares)))
    got = [0] * len(shares)
    for served, place in enumerate(cycle, 1):
        got[place] += 1
        assert abs(got[place] - served * total[place] / len(cycle)) < 2


@given(triples, st.integers(1, 40))
def test_picks_follow_the_cycle_round_after_round(shares: tuple[int, int, int], picks: int) -> None:
    table, schedulers = abc(shares, Scheduler.RR), Schedulers()
    chosen = [schedulers.pick(table, KEY, HASH_KEY) for _ in range(picks)]
    places = [table.backends.index(pick[0]) for pick in chosen if pick]
    assert places == (slow_round_robin(shares, sum(shares)) * picks)[:picks]


LEAST = {
    Scheduler.LC: slow_least,
    Scheduler.SED: slow_shortest,
    Scheduler.NQ: slow_never_queue,
}


@given(st.sampled_from(list(LEAST)), triples, st.lists(st.integers(0, 5), max_size=60))
def test_the_least_loaded_agrees_with_the_slow_one(
    scheduler: Scheduler, shares: tuple[int, int, int], life: list[int]
) -> None:
    """Steps below 3 close a connection of that backend, if it has one; the others open one."""
    table, schedulers = abc(shares, scheduler), Schedulers()
    active, turns = [0, 0, 0], [0, 0, 0]
    tallies: dict[int, Tally] = {}
    for number, step in enumerate(life, 1):
        if step < 3:
            if active[step]:
                active[step] -= 1
                tallies[step].active -= 1
            continue
        pick = schedulers.pick(table, KEY, HASH_KEY)
        assert pick
        place = table.backends.index(pick[0])
        assert place == LEAST[scheduler](active, shares, turns)
        turns[place] = number
        active[place] += 1
        tallies[place] = pick[1]
        tallies[place].active += 1


@given(triples, st.lists(st.integers(0, 9), max_size=80))
def test_of_two_choices_it_is_never_the_worst_of_all(
    shares: tuple[int, int, int], life: list[int]
) -> None:
    """Of three backends at most one is worse than both others; two different ones are compared."""
    table, schedulers = abc(shares, Scheduler.P2C), Schedulers()
    active = [0, 0, 0]
    tallies: dict[int, Tally] = {}
    for step in life:
        if step < 3:
            if active[step]:
                active[step] -= 1
                tallies[step].active -= 1
            continue
        pick = schedulers.pick(table, KEY, HASH_KEY)
        assert pick
        place = table.backends.index(pick[0])
        load = [Fraction(count, weight) for count, weight in zip(active, shares, strict=True)]
        if all(weight == shares[0] for weight in shares):
            assert any(load[place] <= load[other] for other in range(3) if other != place)
        active[place] += 1
        tallies[place] = pick[1]
        tallies[place].active += 1


addresses = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


@given(
    here=addresses, there=st.binary(min_size=16, max_size=16), ports=st.tuples(words, words),
    proto=st.integers(0, 255), prefix=st.integers(1, 128),
)  # fmt: skip
def test_the_hashed_bytes_are_those_of_the_configured_fields(
    here: bytes, there: bytes, ports: tuple[int, int], proto: int, prefix: int
) -> None:
    there = there[: len(here)]
    source, target = (Endpoint(a, p) for a, p in zip((here, there), ports, strict=True))
    key, back = flow_key(proto, source, target), flow_key(proto, target, source)
    frame = Frame(1, bytearray(range(14)))

    def data(fields: HashFields, of: FlowKey = key, **rest: Any) -> bytes:
        return hashed(HashOn(fields, **rest), of, frame)

    assert data(HashFields.MAC) == bytes(range(6, 12))
    bits = min(prefix, 8 * len(here))
    cut = data(HashFields.SOURCE, prefix4=min(prefix, 32), prefix6=prefix)
    assert cut == slow_prefix(here, bits)
    for fields in (HashFields.ADDRESSES, HashFields.FIVE_TUPLE):
        both = data(fields, symmetric=True), data(fields, back, symmetric=True)
        assert both[0] == both[1]
        if source != target and (here != there or fields is HashFields.FIVE_TUPLE):
            assert data(fields) != data(fields, back)


@given(st.integers(1, 20), st.binary(min_size=16, max_size=16))
def test_a_maglev_table_agrees_with_the_slow_one(count: int, key: bytes) -> None:
    names = [f"10.0.2.{number}:80".encode() for number in range(count)]
    hashes = [siphash(key, name) for name in names]
    starts = [(each >> 32) % SLOTS for each in hashes]
    skips = [(each & 0xFFFFFFFF) % (SLOTS - 1) + 1 for each in hashes]
    assert list(maglev_table(names, [1] * count, key, SLOTS)) == slow_maglev(starts, skips, SLOTS)


@given(st.data(), st.integers(2, 12), st.binary(min_size=16, max_size=16))
def test_removing_one_of_few_moves_few_others(data: st.DataObject, count: int, key: bytes) -> None:
    slots = 2003
    names = [f"10.0.2.{number}:80".encode() for number in range(count)]
    gone = data.draw(st.integers(0, count - 1))
    assert moved(names, gone, key, slots) <= slots * 0.3 / max(2, count) + slots * 0.08


def moved(names: list[bytes], gone: int, key: bytes, slots: int) -> int:
    """Slots of other backends that change when one leaves."""
    left = [name for place, name in enumerate(names) if place != gone]
    before = maglev_table(names, [1] * len(names), key, slots)
    after = maglev_table(left, [1] * len(left), key, slots)
    stayed = [(names[a], left[b]) for a, b in zip(before, after, strict=True) if a != gone]
    return sum(was != is_now for was, is_now in stayed)


@settings(max_examples=8)
@given(gone=st.integers(0, 99), key=st.binary(min_size=16, max_size=16))
def test_removing_one_of_a_hundred_moves_next_to_none(gone: int, key: bytes) -> None:
    """At most 0.6 % of the slots of the others change, in a table of full size."""
    names = [f"10.0.{number // 250}.{number % 250}".encode() for number in range(100)]
    others = MAGLEV_SLOTS * 99 / 100
    assert moved(names, gone, key, MAGLEV_SLOTS) <= 0.006 * others


@settings(max_examples=5)
@given(count=st.integers(1, 100), key=st.binary(min_size=16, max_size=16))
def test_a_table_of_full_size_is_balanced_within_a_hundredth(count: int, key: bytes) -> None:
    names = [f"2001:db8::{number:x}".encode() for number in range(count)]
    share = Counter(maglev_table(names, [1] * count, key))
    mean = MAGLEV_SLOTS / count
    assert all(abs(each - mean) <= 0.01 * mean for each in share.values())
    assert len(share) == count


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.binary(min_size=16, max_size=16))
def test_slots_of_a_maglev_table_follow_the_weights(shares: list[int], key: bytes) -> None:
    names = [f"10.0.2.{number}:80".encode() for number in range(len(shares))]
    slots = 2003
    count = Counter(maglev_table(names, shares, key, slots))
    for place, weight in enumerate(shares):
        assert abs(count[place] - slots * weight / sum(shares)) <= len(shares)
