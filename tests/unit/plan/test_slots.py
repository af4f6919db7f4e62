"""Weights and names worked out into cycles and Maglev tables."""

from collections import Counter

import pytest

from pktlb.plan.slots import CYCLE_SLOTS, MAGLEV_SLOTS, maglev_table, weighted_cycle

KEY = bytes(range(16))


def names(count: int) -> list[bytes]:
    return [f"10.0.2.{number}".encode() for number in range(count)]


CYCLES = [
    ([1], [0]),
    ([7], [0]),
    ([3, 1], [0, 0, 1, 0]),
    ([1, 3], [1, 0, 1, 1]),
    ([2, 2], [0, 1]),
    ([65535, 65535], [0, 1]),
    ([5, 1, 1], [0, 1, 0, 0, 0, 2, 0]),
    ([2, 1, 2], [0, 2, 1, 0, 2]),
    ([1, 1, 1, 1], [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("weights", "cycle"), CYCLES)
def test_a_cycle_is_as_short_and_as_even_as_can_be(weights: list[int], cycle: list[int]) -> None:
    assert list(weighted_cycle(weights)) == cycle


def test_weights_too_long_for_a_cycle_are_scaled_down_and_none_is_lost() -> None:
    weights = [65535, 65534, 65533, 1]
    cycle = weighted_cycle(weights)
    assert len(cycle) <= CYCLE_SLOTS + len(weights)
    share = Counter(cycle)
    assert share[3] == 1
    for place in range(3):
        assert share[place] / len(cycle) == pytest.approx(1 / 3, abs=0.001)


def test_weights_that_just_fit_keep_their_proportions_exactly() -> None:
    cycle = weighted_cycle([CYCLE_SLOTS - 1, 1])
    assert Counter(cycle) == {0: CYCLE_SLOTS - 1, 1: 1}


def test_a_maglev_table_is_full_and_balanced() -> None:
    table = maglev_table(names(10), [1] * 10, KEY)
    share = Counter(table)
    assert len(table) == MAGLEV_SLOTS
    assert set(share) == set(range(10))
    assert max(share.values()) - min(share.values()) <= 1


def test_a_maglev_table_follows_the_weights() -> None:
    share = Counter(maglev_table(names(3), [1, 2, 5], KEY))
    for place, weight in enumerate([1, 2, 5]):
        assert share[place] / MAGLEV_SLOTS == pytest.approx(weight / 8, rel=0.01)


def test_one_heavyweight_does_not_push_the_others_out() -> None:
    share = Counter(maglev_table(names(3), [1000, 1, 1], KEY))
    assert share[1] == pytest.approx(MAGLEV_SLOTS / 1002, rel=0.05)


def test_the_place_of_a_backend_in_the_list_hardly_matters() -> None:
    ten = names(10)
    table = maglev_table(ten, [1] * 10, KEY)
    turned = maglev_table(ten[::-1], [1] * 10, KEY)
    same = sum(a == 9 - b for a, b in zip(table, turned, strict=True))
    assert same / MAGLEV_SLOTS > 0.9


def test_removing_one_of_ten_moves_hardly_any_other() -> None:
    ten = names(10)
    before = maglev_table(ten, [1] * 10, KEY)
    for gone in range(10):
        left = [name for name in ten if name != ten[gone]]
        after = maglev_table(left, [1] * 9, KEY)
        moved = sum(left[b] != ten[a] for a, b in zip(before, after, strict=True) if a != gone)
        assert moved / MAGLEV_SLOTS < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_removing_one_of_a_hundred_moves_less_than_a_slot_in_two_hundred(seed: int) -> None:
    """Of the others' slots, that is; and all have the same share, to a slot."""
    hundred, key = names(100), bytes([seed] * 16)
    before = maglev_table(hundred, [1] * 100, key)
    for gone in (0, 57, 99):
        left = [name for name in hundred if name != hundred[gone]]
        after = maglev_table(left, [1] * 99, key)
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a != gone]
        assert sum(left[b] != hundred[a] for a, b in pairs) / MAGLEV_SLOTS < 0.005
        for table in (before, after):
            share = Counter(table)
            assert max(share.values()) - min(share.values()) <= 1


def test_nobody_is_left_without_a_slot() -> None:
    assert set(maglev_table(names(3), [65535, 65535, 1], KEY)) == {0, 1, 2}


def test_another_key_makes_another_table() -> None:
    assert maglev_table(names(3), [1] * 3, KEY) != maglev_table(names(3), [1] * 3, bytes(16))
    assert maglev_table(names(3), [1] * 3, KEY) == maglev_table(names(3), [1] * 3, KEY)


def test_a_single_backend_has_every_slot() -> None:
    assert set(maglev_table(names(1), [3], KEY, 251)) == {0}


def test_more_backends_than_slots_is_no_endless_search() -> None:
    assert len(maglev_table(names(20), [1] * 20, KEY, 7)) == 7
