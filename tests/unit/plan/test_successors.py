"""An interface that was replaced, however often, leads to the one that has its name."""

from pktlb.host.machine import Link
from pktlb.plan.successors import MOST, Successors


def link(index: int, name: str) -> Link:
    return Link(index, name, bytes(6), 1500, True)


def test_an_interface_with_the_same_name_takes_the_place() -> None:
    known = Successors()
    known.note([link(2, "wan"), link(3, "lan")])
    known.note([link(3, "lan")])
    assert known.of == {}
    known.note([link(7, "wan"), link(3, "lan")])
    assert known.of == {2: 7}
    known.note([link(9, "wan"), link(3, "lan")])
    assert known.of == {2: 9, 7: 9}


def test_an_interface_that_is_still_there_under_another_name_keeps_its_flows() -> None:
    known = Successors()
    known.note([link(2, "wan")])
    known.note([link(2, "old"), link(7, "wan")])
    assert known.of == {}


def test_an_index_that_is_used_again_stands_for_itself() -> None:
    known = Successors()
    for index in (2, 3, 2):
        known.note([link(index, "wan")])
    assert known.of == {3: 2}


def test_what_is_remembered_is_bounded() -> None:
    known = Successors()
    for index in range(2, 3 * MOST):
        known.note([link(index, "wan")])
    assert len(known.of) == MOST
    assert set(known.of.values()) == {3 * MOST - 1}
