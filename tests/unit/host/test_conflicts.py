"""Conflicts: each is told once and then now and then, and no flood of them fills the log."""

from pktlb.host.claim import Claim
from pktlb.host.conflicts import EVERY_S, Answer, Conflicts

VIP, OTHER = bytes([10, 0, 1, 100]), bytes([10, 0, 1, 101])


def claim(mac: int, address: bytes = VIP) -> Claim:
    return Claim(address, mac.to_bytes(6, "big"))


def test_a_conflict_is_told_and_defended_at_once() -> None:
    assert Conflicts().note(claim(1), 0.0) == Answer(told=True, defended=True)


def test_a_conflict_that_goes_on_is_told_again_after_the_interval() -> None:
    conflicts = Conflicts()
    answers = [conflicts.note(claim(1), second / 10) for second in range(201)]
    told = [at / 10 for at, answer in enumerate(answers) if answer.told]
    assert told == [0.0, EVERY_S, 2 * EVERY_S]
    assert [at / 10 for at, answer in enumerate(answers) if answer.defended] == told
    assert answers[100].repeated == 99


def test_a_second_machine_is_told_too_but_defended_against_once() -> None:
    conflicts = Conflicts()
    conflicts.note(claim(1), 0.0)
    assert conflicts.note(claim(2), 1.0) == Answer(told=True, defended=False)
    assert conflicts.note(claim(2, OTHER), 1.0) == Answer(told=True, defended=True)


def test_a_flood_from_many_macs_is_told_three_times_an_address() -> None:
    conflicts = Conflicts()
    answers = [conflicts.note(claim(mac), 1.0 + mac / 10_000) for mac in range(10_000)]
    assert sum(answer.told for answer in answers) == 3
    assert sum(answer.defended for answer in answers) == 1
    later = conflicts.note(claim(10_001), 20.0)
    assert (later.told, later.unheard) == (True, 9997)


def test_a_flood_about_many_addresses_is_told_twenty_times() -> None:
    conflicts = Conflicts()
    answers = [conflicts.note(claim(1, n.to_bytes(4, "big")), 1.0) for n in range(1000)]
    assert sum(answer.told for answer in answers) == 20


def test_an_address_that_was_given_up_is_told_anew() -> None:
    conflicts = Conflicts()
    conflicts.note(claim(1), 0.0)
    conflicts.forget(VIP)
    assert conflicts.note(claim(1), 0.1) == Answer(told=True, defended=True)
