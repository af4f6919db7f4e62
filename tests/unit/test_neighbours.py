"""MACs of next hops: taken over, kept while asked for again, forgotten on failure."""

from pktlb.host.machine import Machine, Neighbour
from pktlb.host.neighbours import NextHopMacs

WAY = (3, b"\x0a\x00\x02\x0b")
OLD, NEW = b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"


def machine(neighbour: Neighbour | None) -> Machine:
    return Machine({}, [], {}, {WAY: neighbour} if neighbour else {})


def test_a_mac_is_taken_over_and_so_is_a_new_one() -> None:
    known = NextHopMacs()
    known.update(machine(Neighbour(OLD, False)), [WAY])
    assert known.macs == {WAY: OLD}
    known.update(machine(Neighbour(NEW, False)), [WAY])
    assert known.macs == {WAY: NEW}


def test_the_last_mac_is_kept_while_the_kernel_asks_again() -> None:
    known = NextHopMacs()
    known.update(machine(Neighbour(OLD, False)), [WAY])
    known.update(machine(None), [WAY])
    known.update(machine(Neighbour(b"", False)), [WAY])
    assert known.macs == {WAY: OLD}


def test_a_neighbour_that_does_not_answer_is_forgotten() -> None:
    known = NextHopMacs()
    known.update(machine(Neighbour(OLD, False)), [WAY])
    known.update(machine(Neighbour(b"", True)), [WAY])
    assert known.macs == {}
    known.update(machine(None), [WAY])
    assert known.macs == {}


def test_it_is_settled_when_each_way_is_known_or_known_to_fail() -> None:
    known = NextHopMacs()
    assert not known.settled([WAY])
    known.update(machine(Neighbour(b"", False)), [WAY])
    assert not known.settled([WAY])
    known.update(machine(Neighbour(b"", True)), [WAY])
    assert known.settled([WAY])
    known.update(machine(Neighbour(OLD, False)), [WAY])
    assert known.settled([WAY])


def test_ways_that_are_not_asked_for_any_more_are_dropped() -> None:
    known = NextHopMacs()
    known.update(machine(Neighbour(OLD, False)), [WAY])
    known.update(machine(Neighbour(OLD, False)), [])
    assert known.macs == {}
