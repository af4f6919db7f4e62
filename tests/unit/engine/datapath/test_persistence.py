"""Persistence: a client stays with its backend for a time after its last flow there."""

from dataclasses import replace
from typing import Any

import pytest

from pktlb.engine.datapath.tables import ServiceTable
from pktlb.model import Mode, Proto, Reason, Scheduler, Timeouts, Vip
from tests.support.cases import each_world
from tests.support.gateway import ANY, TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import V4, V6, World, client, packed, tcp, udp, vip

ABC = {"a": 1, "b": 1, "c": 1}
LIFE = 30
MODES = pytest.mark.parametrize("mode", Mode)


def pinning(mode: Mode = Mode.NAT, weights: dict[str, int] = ABC, **rest: Any) -> ServiceTable:
    return service(mode, weights, **({"persist_s": LIFE} | rest))


class Clients:
    """A gateway that tells which backend a packet goes to."""

    def __init__(self, engine: MakePlane, *given: ServiceTable, world: World = V4, **rest: Any):
        self.gateway = Gateway(engine, tables(*given), **rest)
        self.world = world
        self._macs = {world.backend(name).mac: name for name in "abc"}
        self._port = 1000

    def opens(self, host: int = 2, now: float = 0.0, port: int = 0, dialled: int = 80) -> str:
        """The backend that gets a new connection of a client."""
        self._port += 1
        peer = self.world.client(port or self._port, self.world.address(1, host))
        outcome = self.gateway.receive(tcp(peer, self.world.vip(dialled), "S"), now)
        if outcome.reason is not Reason.OPENED:
            return outcome.reason.name
        return self._macs[":".join(f"{byte:02x}" for byte in outcome.frames[0].data[:6])]

    def swap(self, *given: ServiceTable) -> None:
        self.gateway.plane.swap(tables(*given))

    def expire(self, now: float) -> int:
        return self.gateway.plane.expire(now)

    @property
    def pins(self) -> int:
        return self.gateway.plane.pin_count


@each_world
@MODES
def test_a_client_stays_in_each_mode_and_family(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    clients = Clients(engine, pinning(mode, at=world.vip()), world=world)
    assert [clients.opens(host) for host in (2, 3, 4, 5, 4, 3, 2)] == list("abcacba")


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_client_stays_whatever_the_scheduler(engine: MakePlane, scheduler: Scheduler) -> None:
    clients = Clients(engine, pinning(scheduler=scheduler))
    first = {host: clients.opens(host) for host in range(2, 12)}
    for _ in range(3):
        assert {host: clients.opens(host) for host in first} == first
    assert clients.pins == 10


def test_a_client_that_stays_does_not_move_the_round_robin_on(engine: MakePlane) -> None:
    clients = Clients(engine, pinning())
    assert "".join(clients.opens(2) for _ in range(5)) == "aaaaa"
    assert "".join(clients.opens(host) for host in (3, 4, 5)) == "bca"


def test_a_pin_lasts_for_its_time_after_the_last_flow_has_ended(engine: MakePlane) -> None:
    clients = Clients(engine, pinning())
    assert clients.opens(2, port=1) == "a"
    clients.gateway.receive(tcp(client(1), vip(), "A"), 5.0)
    assert clients.expire(5.0 + TIMEOUTS.syn - 0.125) == 0
    assert clients.expire(5.0 + TIMEOUTS.syn) == 1
    assert clients.opens(2, 5.0 + LIFE - 0.125) == "a", "its last packet came by at 5"
    other = Clients(engine, pinning())
    assert other.opens(2) == "a"
    assert other.expire(TIMEOUTS.syn) == 1
    assert other.opens(2, float(LIFE)) == "b"


def test_a_pin_does_not_age_while_it_has_a_flow(engine: MakePlane) -> None:
    clients = Clients(engine, pinning(persist_s=1), timeouts=Timeouts(10, 1000, 10, 10))
    clients.opens(2, port=1)
    clients.gateway.receive(tcp(client(1), vip(), "A"), 1.0)
    clients.gateway.receive(tcp(client(1), vip(), "PA", b"x"), 2.0)
    assert clients.expire(9.0) == 0
    assert clients.opens(2, 9.0) == "a"
    assert clients.pins == 1


def test_a_pin_ages_from_its_newest_flow_though_an_older_one_ends_later(engine: MakePlane) -> None:
    clients = Clients(engine, pinning())
    clients.opens(2, 0.0, port=1)
    clients.gateway.receive(tcp(client(1), vip(), "R"), 0.5)
    clients.opens(2, 4.0, port=2)
    assert clients.expire(4.0 + TIMEOUTS.syn) == 1
    assert clients.expire(0.5 + TIMEOUTS.fin) == 1
    assert clients.opens(2, 4.0 + LIFE - 0.125) == "a"


def test_expiry_forgets_flows_before_pins_and_no_more_than_allowed(engine: MakePlane) -> None:
    clients = Clients(engine, pinning())
    for host in range(2, 8):
        clients.opens(host)
    assert clients.gateway.plane.expire(1000.0, 4) == 4
    assert (len(clients.gateway.plane.flows), clients.pins) == (2, 6)
    assert clients.gateway.plane.expire(1000.0, 4) == 4
    assert (len(clients.gateway.plane.flows), clients.pins) == (0, 4)
    assert clients.gateway.plane.expire(1000.0, 8) == 4
    assert clients.pins == 0


@pytest.mark.parametrize("world", [V4, V6], ids=str)
def test_a_prefix_is_one_client(engine: MakePlane, world: World) -> None:
    """IPv4: hosts 8 to 15; IPv6: all hosts of the link."""
    persist = (29, 64)
    clients = Clients(engine, pinning(at=world.vip(), persist=persist), world=world)
    assert [clients.opens(host) for host in (8, 9, 10)] == ["a", "a", "a"]
    outside = 16 if world is V4 else 9
    assert clients.opens(outside) == ("b" if world is V4 else "a")
    assert clients.pins == (2 if world is V4 else 1)


GONE = [
    ("weight 0", {"a": 0, "b": 1}, "b"),
    ("removed", {"b": 1}, "b"),
    ("all gone", {"a": 0}, "NO_BACKEND"),
]


@pytest.mark.parametrize(("sentence", "weights", "then"), GONE)
def test_a_client_does_not_stay_with_a_backend_that_takes_no_flows(
    engine: MakePlane, sentence: str, weights: dict[str, int], then: str
) -> None:
    clients = Clients(engine, pinning(weights={"a": 1, "b": 1}))
    assert clients.opens(2) == "a"
    clients.swap(pinning(weights=weights))
    assert clients.opens(2) == then, sentence
    clients.swap(pinning(weights={"a": 1, "b": 1}))
    assert clients.opens(2) == ("a" if then == "NO_BACKEND" else "b"), "it has moved, or has not"


def test_a_pin_survives_a_reload_that_takes_its_flows_backend_away_and_back(
    engine: MakePlane,
) -> None:
    clients = Clients(engine, pinning(weights={"a": 1, "b": 1}))
    clients.opens(3)
    assert clients.opens(2) == "b"
    clients.expire(TIMEOUTS.syn)
    clients.swap(pinning(weights={"a": 1}))
    clients.swap(pinning(weights={"a": 1, "b": 1}))
    assert clients.opens(2, TIMEOUTS.syn) == "b"


def test_a_service_that_no_longer_persists_ignores_pins(engine: MakePlane) -> None:
    clients = Clients(engine, pinning())
    assert clients.opens(2) == "a"
    clients.swap(pinning(persist_s=0))
    assert clients.opens(2) == "b"
    clients.swap(pinning())
    assert clients.opens(2) == "a", "the pin has not ended yet"


def test_a_changed_time_applies_from_the_client_s_next_flow(engine: MakePlane) -> None:
    clients = Clients(engine, pinning())
    clients.opens(2)
    clients.swap(pinning(persist_s=1))
    clients.expire(TIMEOUTS.syn)
    assert clients.opens(2, TIMEOUTS.syn) == "a"
    clients.expire(2 * TIMEOUTS.syn)
    assert clients.opens(2, 2 * TIMEOUTS.syn) == "b"


def test_a_client_stays_with_its_backend_even_if_that_is_full(engine: MakePlane) -> None:
    full = pinning(weights={"a": 1, "b": 1}, thresholds={"a": (1, 1), "b": (1, 1)})
    clients = Clients(engine, full)
    assert [clients.opens(host) for host in (2, 3, 4)] == ["a", "b", "ALL_FULL"]
    assert [clients.opens(host) for host in (2, 3, 4)] == ["a", "b", "ALL_FULL"]
    assert clients.pins == 2


def test_each_service_has_its_own_clients(engine: MakePlane) -> None:
    clients = Clients(engine, pinning(), pinning(at=vip(81)))
    assert [clients.opens(2), clients.opens(3), clients.opens(2)] == ["a", "b", "a"]
    assert [clients.opens(3, dialled=81), clients.opens(2, dialled=81)] == ["a", "b"]
    assert clients.pins == 4


def test_a_client_stays_for_all_ports_and_protocols_of_a_service(engine: MakePlane) -> None:
    """FTP and RTP need it: they open further connections."""
    whole = pinning(at=Vip(packed(vip().address)), port=0)
    clients = Clients(engine, whole)
    assert clients.opens(2, dialled=21) == "a"
    assert clients.opens(3, dialled=21) == "b"
    assert clients.opens(2, dialled=4711) == "a"
    other = clients.gateway.sends(udp(client(9), vip(53)))
    assert other.dst == V4.backend("a").mac


def test_single_datagrams_do_not_persist(engine: MakePlane) -> None:
    single = pinning(at=vip(53), proto=Proto.UDP, one_packet=True)
    gateway = Gateway(engine, tables(single))
    sent = [gateway.sends(udp(client(port), vip(53))).dst for port in (1, 2, 3)]
    assert len(set(sent)) == 3
    assert gateway.plane.pin_count == 0


def test_the_service_for_anything_persists_too(engine: MakePlane) -> None:
    clients = Clients(engine, pinning(Mode.DSR, at=ANY, weights={"a": 1, "b": 1}))
    first = tcp(client(1), vip(80, "198.51.100.7"), "S")
    other = tcp(client(2), vip(80, "198.51.100.8"), "S")
    assert clients.gateway.sends(first).dst == clients.gateway.sends(other).dst


def test_the_pin_that_is_without_flows_for_longest_makes_way(engine: MakePlane) -> None:
    clients = Clients(engine, pinning(persist_s=1000), max_flows=2)
    assert clients.opens(2) == "a"
    clients.expire(TIMEOUTS.syn)
    assert clients.opens(3, 10.0) == "b"
    clients.expire(10.0 + TIMEOUTS.syn)
    assert clients.opens(2, 20.0) == "a", "it goes behind the other one"
    clients.expire(20.0 + TIMEOUTS.syn)
    assert clients.opens(4, 30.0) == "c"
    assert clients.pins == 2
    assert clients.opens(2, 30.0) == "a"
    assert clients.opens(3, 30.0) == "TABLE_FULL"
    clients.expire(30.0 + TIMEOUTS.syn)
    assert clients.opens(3, 40.0) == "a", "it was forgotten"


def test_a_flow_that_cannot_be_opened_makes_no_pin(engine: MakePlane) -> None:
    given = tables(pinning(), snat=["10.0.2.9"])
    gateway = Gateway(engine, given, source_ports=[5000])
    for port in (1, 2):
        gateway.receive(tcp(client(port), vip(), "S"))
    assert gateway.plane.counts[Reason.NO_PORT] == 1
    assert gateway.plane.pin_count == 1


def test_a_removed_backend_keeps_its_tally_while_it_has_pins(engine: MakePlane) -> None:
    clients = Clients(engine, pinning(weights={"a": 1, "b": 1}))
    clients.opens(2)
    clients.expire(TIMEOUTS.syn)
    clients.swap(pinning(weights={"b": 1}))
    clients.swap(pinning(weights={"a": 1, "b": 1}))
    assert max(count.connections for count in clients.gateway.plane.tallies().values()) == 1
    clients.expire(TIMEOUTS.syn + LIFE)
    clients.swap(pinning(weights={"b": 1}))
    clients.swap(pinning(weights={"a": 1, "b": 1}))
    assert not any(count.connections for count in clients.gateway.plane.tallies().values())


def test_a_udp_flow_that_moves_moves_its_pin(engine: MakePlane) -> None:
    given = pinning(weights={"a": 1, "b": 1}, proto=Proto.UDP)
    gateway = Gateway(engine, tables(given))
    assert gateway.sends(udp(client(1), vip())).dst == V4.backend("a").mac
    only = tables(pinning(weights={"a": 0, "b": 1}, proto=Proto.UDP))
    hops = {to: hop for to, hop in only.hops.items() if to != packed(V4.backend("a").address)}
    gateway.plane.swap(replace(only, hops=hops))
    assert gateway.sends(udp(client(1), vip())).dst == V4.backend("b").mac
    gateway.plane.swap(tables(given))
    assert gateway.sends(udp(client(2), vip())).dst == V4.backend("b").mac
