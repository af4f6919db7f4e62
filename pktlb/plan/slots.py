"""The slots of schedulers: sequences of places that the datapath only indexes.

Pure functions of weights and names; all weights are positive.
"""

from array import array
from collections.abc import Sequence
from math import gcd
from typing import Final

from pktlb.engine.datapath.siphash import siphash

MAGLEV_SLOTS: Final = 65537
"Prime, and over 100 slots for each of 600 backends: balance within 1 % (Maglev paper, 5.3)."

CYCLE_SLOTS: Final = 65536
"Longest weighted cycle. Weights with a larger sum are scaled down to it, each to 1 at least."


def weighted_cycle(weights: Sequence[int]) -> Sequence[int]:
    """Places in an order in which each stands as often as its weight, spread evenly.

    Seats go to parties by the method of Webster and Sainte-Laguë: a party's k-th seat (from 0) is
    due at (2k + 1) / weight, and the earliest is next, so 3 and 1 give a a b a. Places of equal
    weight are one party and take its seats in turn: 5, 1 and 1 give a b a a a c a.
    """
    parties: dict[int, list[int]] = {}
    for place, share in enumerate(_reduced(weights)):
        parties.setdefault(share, []).append(place)
    due = [
        ((2 * seat + 1) / (share * len(places)), places[seat % len(places)])
        for share, places in parties.items()
        for seat in range(share * len(places))
    ]
    return array("I", (place for _, place in sorted(due)))


def _reduced(weights: Sequence[int]) -> list[int]:
    """The same proportions with the smallest whole numbers, `CYCLE_SLOTS` or so at most."""
    divisor = gcd(*weights)
    total = sum(weights) // divisor
    if total <= CYCLE_SLOTS:
        return [weight // divisor for weight in weights]
    return [max(1, round(weight / divisor * CYCLE_SLOTS / total)) for weight in weights]


def maglev_table(
    names: Sequence[bytes], weights: Sequence[int], key: bytes, slots: int = MAGLEV_SLOTS
) -> Sequence[int]:
    """`slots` (a prime) places, in proportion to the weights, that hardly move when one leaves.

    Each backend has its own permutation of the slots, from its name alone, as in Maglev (Eisenbud
    et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
    There the backends take turns to claim their next free slot. Here a turn is one step along the
    permutation, whether that slot is free or not, and a backend that has its share is done. So a
    slot belongs to a backend by the names alone, not by how often others had to search, and half
    as many slots move (0.35 % of them when one of 100 backends leaves). A backend with less weight
    than the heaviest misses turns.
    """
    table = array("i", [-1]) * slots
    shares = [max(1, slots * weight // sum(weights)) for weight in weights]
    position, skip = [], []
    for name in names:
        digest = siphash(key, name)
        position.append((digest >> 32) % slots)
        skip.append((digest & 0xFFFFFFFF) % (slots - 1) + 1)
    credit = [max(weights)] * len(
        names
    )  # each backend gets a slot in the first turn, so none goes without
    left = _claim(table, slots, position, skip, weights, credit, shares)
    while left:  # what rounding has left over: one more each
        left = _claim(table, left, position, skip, weights, credit, [1] * len(names))
    return table


def _claim(
    table: "array[int]", free: int, position: list[int], skip: list[int],
    weights: Sequence[int], credit: list[int], shares: list[int],
) -> int:  # fmt: skip
    """Let each place claim its share of the `free` slots; returns how many are free then."""
    slots = len(table)
    searching = list(range(len(shares)))
    while searching:
        heaviest = max(weights[place] for place in searching)
        done = False
        while not done:
            for place in searching:
                credit[place] += weights[place]
                if credit[place] < heaviest:
                    continue
                credit[place] = min(credit[place] - heaviest, heaviest)
                slot = position[place]
                position[place] = (slot + skip[place]) % slots
                if table[slot] >= 0:
                    continue
                table[slot] = place
                free -= 1
                if not free:
                    return 0
                shares[place] -= 1
                done = done or not shares[place]
        searching = [place for place in searching if shares[place]]
    return free
