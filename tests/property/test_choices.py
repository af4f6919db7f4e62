"""Schedulers agree with the slow ones, and tables of policy keep their promises."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pktlb.datapath.flow import Tally
from pktlb.datapath.packet import flow_key
from pktlb.datapath.schedule import Schedulers
from pktlb.datapath.siphash import siphash
from pktlb.datapath.tables import ServiceTable
from pktlb.model import Mode, Proto, Scheduler
from pktlb.policy import maglev_table, weighted_cycle
from tests.gateway import HASH_KEY, service
from tests.oracle import slow_least, slow_maglev, slow_round_robin
from tests.packets import client, vip

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
def test_a_cycle_is_never_far_from_anyones_share(shares: list[int]) -> None:
    cycle = weighted_cycle(shares)
    total = Counter(cycle)
    assert set(total) == set(range(len(shares)))
    got = [0] * len(shares)
    for served, place in enumerate(cycle, 1):
        got[place] += 1
        assert abs(got[place] - served * total[place] / len(cycle)) < 2


@given(triples, st.integers(1, 40))
def test_picks_in_turn_follow_the_cycle_again_and_again(
    shares: tuple[int, int, int], picks: int
) -> None:
    table, schedulers = abc(shares, Scheduler.RR), Schedulers()
    chosen = [schedulers.pick(table, KEY, HASH_KEY) for _ in range(picks)]
    places = [table.backends.index(pick[0]) for pick in chosen if pick]
    assert places == (slow_round_robin(shares, sum(shares)) * picks)[:picks]


@given(triples, st.lists(st.integers(0, 5), max_size=60))
def test_least_connections_agrees_with_the_slow_one(
    shares: tuple[int, int, int], life: list[int]
) -> None:
    """Steps below 3 close a connection of that backend, if it has one; the others open one."""
    table, schedulers = abc(shares, Scheduler.LC), Schedulers()
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
        assert place == slow_least(active, shares, turns)
        turns[place] = number
        active[place] += 1
        tallies[place] = pick[1]
        tallies[place].active += 1


@given(st.integers(1, 20), st.binary(min_size=16, max_size=16))
def test_a_maglev_table_agrees_with_the_pseudocode_of_the_paper(count: int, key: bytes) -> None:
    names = [f"10.0.2.{number}:80".encode() for number in range(count)]
    hashes = [siphash(key, name) for name in names]
    starts = [(each >> 32) % SLOTS for each in hashes]
    skips = [(each & 0xFFFFFFFF) % (SLOTS - 1) + 1 for each in hashes]
    assert list(maglev_table(names, [1] * count, key, SLOTS)) == slow_maglev(starts, skips, SLOTS)


@given(st.data(), st.integers(2, 12), st.binary(min_size=16, max_size=16))
def test_removing_one_of_many_moves_few_others(data: st.DataObject, count: int, key: bytes) -> None:
    slots = 2003
    names = [f"10.0.2.{number}:80".encode() for number in range(count)]
    gone = data.draw(st.integers(0, count - 1))
    left = [name for name in names if name != names[gone]]
    before = maglev_table(names, [1] * count, key, slots)
    after = maglev_table(left, [1] * (count - 1), key, slots)
    stayed = [(names[a], left[b]) for a, b in zip(before, after, strict=True) if a != gone]
    moved = sum(was != is_now for was, is_now in stayed)
    assert moved <= slots * 0.3 / max(2, count) + slots * 0.08


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.binary(min_size=16, max_size=16))
def test_slots_of_a_maglev_table_follow_the_weights(shares: list[int], key: bytes) -> None:
    names = [f"10.0.2.{number}:80".encode() for number in range(len(shares))]
    slots = 2003
    count = Counter(maglev_table(names, shares, key, slots))
    for place, weight in enumerate(shares):
        assert abs(count[place] - slots * weight / sum(shares)) <= len(shares)
