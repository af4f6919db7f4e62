"""Backends with a maximum of connections (IPVS -x and -y)."""

import pytest

from pktlb.engine.datapath.siphash import siphash
from pktlb.engine.datapath.tables import ServiceTable, Tables
from pktlb.model import Mode, Proto, Reason, Scheduler
from tests.support.gateway import HASH_KEY, TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import BACKENDS, client, tcp, udp, vip

NAMES = {address: name for name, address in BACKENDS.items()}
EQUAL = {"a": 1, "b": 1, "c": 1}
SCHEDULERS = pytest.mark.parametrize("scheduler", Scheduler)


def limited(
    scheduler: Scheduler, thresholds: dict[str, tuple[int, int]], weights: dict[str, int] = EQUAL
) -> ServiceTable:
    return service(Mode.NAT, weights, scheduler=scheduler, thresholds=thresholds)


def opened(gateway: Gateway, *ports: int, now: float = 0.0) -> str:
    """The backends that get new connections from these ports; "-": none does."""
    names = ""
    for port in ports:
        outcome = gateway.receive(tcp(client(port), vip(), "S"), now)
        full = outcome.reason is Reason.ALL_FULL
        address = "" if full else ".".join(map(str, outcome.frames[0].data[30:34]))
        names += "-" if full else NAMES[address]
    return names


def close(gateway: Gateway, *ports: int) -> None:
    for port in ports:
        gateway.receive(tcp(client(port), vip(), "R"))


@SCHEDULERS
def test_a_backend_gets_no_more_flows_than_its_maximum(
    engine: MakePlane, scheduler: Scheduler
) -> None:
    given = limited(scheduler, {"a": (3, 2), "b": (5, 2), "c": (1, 1)})
    gateway = Gateway(engine, tables(given))
    order = opened(gateway, *range(1000, 1040))
    assert order == order[:9] + "-" * 31
    assert [order.count(name) for name in "abc"] == [3, 5, 1]


@SCHEDULERS
def test_a_backend_without_maximum_takes_all_other_flows(
    engine: MakePlane, scheduler: Scheduler
) -> None:
    gateway = Gateway(engine, tables(limited(scheduler, {"a": (2, 1), "b": (2, 1)})))
    order = opened(gateway, *range(1000, 1050))
    assert "-" not in order
    assert max(order.count("a"), order.count("b")) <= 2


def test_tallies_tell_which_backend_is_full(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(limited(Scheduler.RR, {"a": (2, 1)}, {"a": 1, "b": 1})))
    opened(gateway, 1, 2, 3)
    told = {end.address[3]: count.full for (_, end), count in gateway.plane.tallies().items()}
    assert told == {2: True, 3: False}
    close(gateway, 1)
    assert any(count.full for count in gateway.plane.tallies().values()), "one is not below one"
    close(gateway, 3)
    assert not any(count.full for count in gateway.plane.tallies().values())


@SCHEDULERS
def test_a_full_backend_takes_flows_again_below_its_lower_threshold(
    engine: MakePlane, scheduler: Scheduler
) -> None:
    gateway = Gateway(engine, tables(limited(scheduler, {"a": (4, 2)}, {"a": 1})))
    assert opened(gateway, 1, 2, 3, 4, 5) == "aaaa-"
    close(gateway, 1)
    assert opened(gateway, 6) == "-"
    close(gateway, 2)
    assert opened(gateway, 7) == "-", "two are not fewer than two"
    close(gateway, 3)
    assert opened(gateway, 8, 9, 10, 11) == "aaa-"


def test_a_backend_that_has_not_reached_its_maximum_is_not_full(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(limited(Scheduler.RR, {"a": (4, 2)}, {"a": 1})))
    assert opened(gateway, 1, 2, 3) == "aaa"
    close(gateway, 1)
    assert opened(gateway, 4, 5, 6) == "aa-"


def test_a_connection_that_times_out_makes_room(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(limited(Scheduler.RR, {"a": (1, 1)}, {"a": 1})))
    assert opened(gateway, 1, 2) == "a-"
    gateway.plane.expire(TIMEOUTS.syn)
    assert opened(gateway, 2, 3, now=TIMEOUTS.syn) == "a-"


def test_a_refused_client_leaves_no_flow_and_does_not_move_the_round_robin(
    engine: MakePlane,
) -> None:
    gateway = Gateway(engine, tables(limited(Scheduler.RR, {"a": (1, 1), "b": (1, 1)},
                                             {"a": 1, "b": 1})))  # fmt: skip
    assert opened(gateway, 1, 2, 3, 4, 5) == "ab---"
    assert len(gateway.plane.flows) == 2
    close(gateway, 1, 2)
    assert opened(gateway, 6, 7) == "ab"


def test_known_connections_go_on_at_a_full_backend(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(limited(Scheduler.LC, {"a": (1, 1)}, {"a": 1})))
    assert opened(gateway, 1, 2) == "a-"
    assert gateway.reason(tcp(client(1), vip(), "A")) is Reason.FORWARDED


def test_least_connections_chooses_a_backend_that_has_room_again(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(limited(Scheduler.LC, {"a": (2, 2)}, {"a": 9, "b": 1})))
    assert opened(gateway, 1, 2, 3, 4, 5) == "ababb"
    close(gateway, 1)
    assert opened(gateway, 6, 7) == "ab"


def draw(count: int, picks: int) -> int:
    return siphash(HASH_KEY, picks.to_bytes(8, "little")) % count


def test_a_backend_drawn_by_chance_stands_in_for_a_full_one(engine: MakePlane) -> None:
    """The neighbour of the full backend would get all of its share."""
    gateway = Gateway(engine, tables(limited(Scheduler.RR, {"a": (1, 1)})))
    order = opened(gateway, *range(60))
    assert order[0] == "a"
    for turn in range(1, 60):
        drawn = "bbc"[draw(3, turn)]
        assert order[turn] == (drawn if turn % 3 == 0 else "abc"[turn % 3])
    assert min(order.count("b"), order.count("c")) > 20


def test_of_two_choices_the_one_that_is_not_full_is_taken(engine: MakePlane) -> None:
    """b has room for one connection, and from then on fewer of them than both others."""
    thresholds = {"b": (1, 1)}
    gateway = Gateway(engine, tables(limited(Scheduler.P2C, thresholds)))
    order = opened(gateway, *range(300))
    assert order.count("b") == 1
    assert abs(order.count("a") - order.count("c")) < 30


def swapped(upper: int, lower: int) -> Tables:
    return tables(limited(Scheduler.LC, {"a": (upper, lower)} if upper else {}, {"a": 1}))


CHANGES = [
    ((4, 2), (5, 3), "-", "full still: it has no fewer than the new lower threshold"),
    ((4, 2), (6, 5), "a", "full no more: it has fewer"),
    ((9, 9), (4, 2), "-", "full: it has as many as the new maximum"),
    ((9, 9), (5, 1), "a", "not full: it was not, and has fewer than the new maximum"),
    ((4, 2), (0, 0), "a", "there is no maximum any more"),
]


@pytest.mark.parametrize(("before", "after", "then", "sentence"), CHANGES)
def test_changed_thresholds_apply_at_once(
    engine: MakePlane, before: tuple[int, int], after: tuple[int, int], then: str, sentence: str
) -> None:
    gateway = Gateway(engine, swapped(*before))
    assert opened(gateway, 1, 2, 3, 4) == "aaaa"
    gateway.plane.swap(swapped(*after))
    assert opened(gateway, 5) == then, sentence


def test_single_datagrams_of_nat_are_bounded_by_thresholds(
    engine: MakePlane,
) -> None:
    single = service(Mode.NAT, at=vip(53), proto=Proto.UDP, one_packet=True,
                     thresholds={"a": (1, 1)})  # fmt: skip
    gateway = Gateway(engine, tables(single))
    assert gateway.reason(udp(client(1), vip(53))) is Reason.OPENED
    assert gateway.reason(udp(client(2), vip(53))) is Reason.ALL_FULL


def test_without_any_backend_the_reason_is_no_backend(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(limited(Scheduler.RR, {"a": (1, 1)}, {"a": 0})))
    assert gateway.reason(tcp(client(), vip(), "S")) is Reason.NO_BACKEND
