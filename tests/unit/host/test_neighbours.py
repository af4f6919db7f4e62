"""MACs of next hops: taken over, kept while asked for again, forgotten when they do not answer."""

from pktlb.host.machine import Machine, Neighbour
from pktlb.host.neighbours import NextHopMacs

WAY = (3, b"\x0a\x00\x02\x0b")
OLD, NEW = b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"
FAILED, ASKED = Neighbour(b"", True), Neighbour(b"", False)


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


def test_the_kernel_is_asked_for_what_it_does_not_know_at_all() -> None:
    known = NextHopMacs()
    assert known.update(machine(None), [WAY])
    assert not known.update(machine(Neighbour(b"", False)), [WAY])
    assert not known.update(machine(Neighbour(OLD, False)), [WAY])
    assert known.update(machine(None), [WAY])


def test_a_neighbour_that_does_not_answer_is_forgotten_when_it_was_asked_once_more() -> None:
    known = NextHopMacs()
    known.update(machine(Neighbour(OLD, False)), [WAY])
    assert known.update(machine(FAILED), [WAY])
    assert known.macs == {WAY: OLD}
    assert not known.update(machine(ASKED), [WAY])
    assert known.macs == {WAY: OLD}
    assert known.update(machine(FAILED), [WAY]), "it may be back any moment"
    assert known.macs == {}
    known.update(machine(None), [WAY])
    assert known.macs == {}


def test_a_neighbour_that_answers_when_asked_once_more_is_kept() -> None:
    known = NextHopMacs()
    for mac in (OLD, NEW):
        known.update(machine(Neighbour(mac, False)), [WAY])
        assert known.update(machine(FAILED), [WAY])
        known.update(machine(ASKED), [WAY])
        assert known.macs == {WAY: mac}


def test_doubt_outlives_an_entry_that_is_flushed() -> None:
    known = NextHopMacs()
    known.update(machine(Neighbour(OLD, False)), [WAY])
    known.update(machine(FAILED), [WAY])
    known.update(machine(None), [WAY])
    assert known.macs == {WAY: OLD}
    known.update(machine(FAILED), [WAY])
    assert known.macs == {}


def test_a_neighbour_that_was_never_known_is_not_asked_for_again_at_once() -> None:
    known = NextHopMacs()
    assert not known.update(machine(FAILED), [WAY])
    assert known.macs == {}


def test_next_hops_are_settled_when_each_is_known_or_known_to_fail() -> None:
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
