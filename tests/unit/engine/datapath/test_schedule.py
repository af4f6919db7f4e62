"""Schedulers as clients see them: which backend gets the next flow."""

from collections import Counter

import pytest

from pktlb.engine.datapath.keys import flow_key
from pktlb.engine.datapath.schedule import Schedulers
from pktlb.engine.datapath.tables import ServiceTable
from pktlb.model import HashFields, HashOn, Mode, Proto, Reason, Scheduler, Vip
from tests.support.cases import each_world
from tests.support.gateway import HASH_KEY, TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import (
    BACKENDS,
    DMZ,
    V4,
    V6,
    World,
    backend,
    client,
    packed,
    tcp,
    udp,
    via,
    vip,
)

NAMES = {address: name for name, address in BACKENDS.items()}
LC = Scheduler.LC


def nat(weights: dict[str, int], scheduler: Scheduler = Scheduler.RR) -> ServiceTable:
    return service(Mode.NAT, weights, scheduler=scheduler)


def opened(gateway: Gateway, *ports: int, now: float = 0.0) -> str:
    """The names of the backends that new connections from these ports go to, in order."""
    sent = [gateway.sends(tcp(client(port), vip(), "S"), now) for port in ports]
    return "".join(NAMES[packet[1].dst] for packet in sent)


ORDERS = [
    ({"a": 1}, "aaaa"),
    ({"a": 1, "b": 1}, "abababab"),
    ({"a": 3, "b": 1}, "aabaaaba"),
    ({"a": 300, "b": 100}, "aabaaaba"),
    ({"a": 1, "b": 3}, "babbbabb"),
    ({"a": 5, "b": 1, "c": 1}, "abaaacaabaaaca"),
    ({"a": 2, "b": 2, "c": 1}, "abcababcab"),
    ({"a": 1, "b": 0, "c": 1}, "acac"),
]


@pytest.mark.parametrize(("weights", "order"), ORDERS)
def test_round_robin_is_smooth(engine: MakePlane, weights: dict[str, int], order: str) -> None:
    gateway = Gateway(engine, tables(nat(weights)))
    assert opened(gateway, *range(len(order))) == order


def test_known_flows_do_not_move_the_round_robin_on(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1, "c": 1})))
    assert opened(gateway, 1) == "a"
    for _ in range(4):
        gateway.sends(tcp(client(1), vip(), "A"))
    assert opened(gateway, 2, 3, 4) == "bca"


def test_each_service_has_a_round_robin_of_its_own(engine: MakePlane) -> None:
    both = tables(
        nat({"a": 1, "b": 1}), service(Mode.NAT, {"a": 1, "b": 1}, at=vip(53), proto=Proto.UDP)
    )
    gateway = Gateway(engine, both)
    for port in (1, 2):
        opened(gateway, port)
        sent = gateway.sends(udp(client(port), vip(53)))
        assert NAMES[sent[1].dst] == "ab"[port - 1]


def test_least_connections_fills_up_by_weight(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 2}, LC)))
    assert sorted(opened(gateway, 1, 2, 3)) == ["a", "b", "b"]
    assert sorted(opened(gateway, *range(4, 304))) == ["a"] * 100 + ["b"] * 200


def test_least_connections_chooses_the_backend_with_fewer(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1}, LC)))
    assert opened(gateway, 1, 2, 3, 4) == "abab"
    for port in (2, 4):
        gateway.receive(tcp(client(port), vip(), "R"))
    assert opened(gateway, 5, 6, 7) == "bba", "closed connections do not count"


def test_of_equal_backends_the_one_not_chosen_for_longest_is_taken(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1, "c": 1}, LC)))
    order = ""
    for port in range(6):
        order += opened(gateway, port)
        gateway.receive(tcp(client(port), vip(), "R"))
    assert order == "abcabc"


def test_a_connection_that_timed_out_does_not_count(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 2, "b": 1}, LC)))
    assert opened(gateway, 1, 2) == "ab"
    gateway.sends(tcp(client(2), vip(), "A"), 5.0)
    gateway.plane.expire(TIMEOUTS.syn)
    assert opened(gateway, 3, 4, now=TIMEOUTS.syn) == "aa"


def test_flows_of_datagrams_count_as_connections(engine: MakePlane) -> None:
    given = tables(service(Mode.NAT, {"a": 1, "b": 1}, at=vip(53), proto=Proto.UDP, scheduler=LC))
    gateway = Gateway(engine, given)
    sent = [gateway.sends(udp(client(port), vip(53)))[1].dst for port in range(4)]
    assert "".join(NAMES[address] for address in sent) == "abab"


def test_a_client_stays_with_its_backend_whatever_its_port(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1, "c": 1}, Scheduler.SOURCE)))
    chosen = set()
    for number in range(40):
        address = f"10.0.3.{number}"
        sent = {gateway.sends(tcp(client(port, address), vip(), "S"))[1].dst for port in (1, 2, 3)}
        assert len(sent) == 1
        chosen |= sent
    assert chosen == set(BACKENDS.values())


def test_a_client_gets_the_same_backend_in_two_services_with_equal_backends(
    engine: MakePlane,
) -> None:
    weights = {"a": 1, "b": 1, "c": 1}
    other = service(Mode.NAT, weights, at=vip(80, "10.0.1.101"), scheduler=Scheduler.SOURCE)
    gateway = Gateway(engine, tables(nat(weights, Scheduler.SOURCE), other))
    for number in range(20):
        who = client(4000, f"10.0.3.{number}")
        sent = [gateway.sends(tcp(who, vip(80, f"10.0.1.10{last}"), "S")) for last in (0, 1)]
        assert sent[0][1].dst == sent[1][1].dst


def test_another_hash_key_spreads_clients_differently() -> None:
    one = nat({"a": 1, "b": 1, "c": 1}, Scheduler.SOURCE)
    addresses = [f"10.0.{n // 250}.{n % 250}" for n in range(500)]

    def choices(secret: bytes) -> list[str]:
        schedulers = Schedulers()
        keys = [flow_key(6, client(1, address).endpoint, vip().endpoint) for address in addresses]
        chosen = [schedulers.pick(one, key, secret) for key in keys]
        return [str(pick[0]) for pick in chosen if pick]

    assert choices(HASH_KEY) == choices(HASH_KEY)
    assert choices(HASH_KEY) != choices(bytes(16))
    assert min(Counter(choices(bytes(16))).values()) > 100


def test_shortest_expected_delay_counts_the_new_connection(engine: MakePlane) -> None:
    """IPVS: (connections + 1) / weight. Least connections would send the first to a."""
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 3}, Scheduler.SED)))
    assert opened(gateway, 1, 2) == "bb"
    assert sorted(opened(gateway, *range(3, 401))) == ["a"] * 100 + ["b"] * 298


def test_never_queue_prefers_an_idle_backend(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 9}, Scheduler.NQ)))
    assert opened(gateway, 1, 2, 3, 4, 5) == "abbbb"
    gateway.receive(tcp(client(1), vip(), "R"))
    assert opened(gateway, 6, 7) == "ab"


@pytest.mark.parametrize("scheduler", [Scheduler.SED, Scheduler.NQ])
def test_equal_backends_take_turns(engine: MakePlane, scheduler: Scheduler) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1, "c": 1}, scheduler)))
    order = ""
    for port in range(6):
        order += opened(gateway, port)
        gateway.receive(tcp(client(port), vip(), "R"))
    assert order == "abcabc"


def test_two_choices_keep_backends_close_together(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1, "c": 1}, Scheduler.P2C)))
    count = Counter(opened(gateway, *range(300)))
    assert max(count.values()) - min(count.values()) <= 4


def test_two_choices_respect_weights(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 3}, Scheduler.P2C)))
    count = Counter(opened(gateway, *range(400)))
    assert abs(count["b"] - 300) <= 4


def test_of_two_choices_the_less_busy_one_is_taken(engine: MakePlane) -> None:
    """Of two backends both are always compared."""
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1}, Scheduler.P2C)))
    first = opened(gateway, *range(40))
    assert first.count("a") == first.count("b") == 20
    for port, name in enumerate(first):
        if name == "a":
            gateway.receive(tcp(client(port), vip(), "R"))
    assert opened(gateway, *range(100, 120)) == "a" * 20


@pytest.mark.parametrize("scheduler", [Scheduler.SOURCE, Scheduler.MAGLEV, Scheduler.HASH])
@pytest.mark.parametrize("ports", [range(1, 101), range(1, 101, 7)], ids=["all", "some"])
def test_two_balancers_with_one_key_choose_alike(
    engine: MakePlane, scheduler: Scheduler, ports: range
) -> None:
    """A balancer that has just started chooses like one with many flows."""
    given = tables(nat({"a": 1, "b": 1, "c": 1}, scheduler))
    whole = opened(Gateway(engine, given), *range(1, 101))
    fresh = Gateway(engine, given)
    assert opened(fresh, *ports) == "".join(whole[port - 1] for port in ports)


def test_the_5_tuple_spreads_the_ports_of_one_client(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1, "c": 1}, Scheduler.MAGLEV)))
    count = Counter(opened(gateway, *range(1, 301)))
    assert set(count) == {"a", "b", "c"}
    assert min(count.values()) > 60


PREFIXES = [
    (V4, HashOn(HashFields.SOURCE, prefix4=24), "10.0.{}.{}"),
    (V6, HashOn(HashFields.SOURCE, prefix6=64), "2001:db8:{}::{}"),
]


@pytest.mark.parametrize(("world", "fields", "pattern"), PREFIXES)
def test_clients_of_one_network_get_one_backend(
    engine: MakePlane, world: World, fields: HashOn, pattern: str
) -> None:
    hashing = service(
        Mode.NAT, {"a": 1, "b": 1, "c": 1}, at=world.vip(), scheduler=Scheduler.HASH,
        hash_on=fields,
    )  # fmt: skip
    gateway = Gateway(engine, tables(hashing))
    chosen = set()
    for net in range(20, 50):
        peers = [world.client(host, pattern.format(net, host)) for host in (1, 7, 99)]
        sent = {gateway.sends(tcp(peer, world.vip(), "S")).dst for peer in peers}
        assert len(sent) == 1
        chosen |= sent
    assert len(chosen) == 3


HASHED = [
    (HashFields.MAC, {"mac"}), (HashFields.SOURCE, {"source"}),
    (HashFields.ADDRESSES, {"source", "vip"}),
    (HashFields.FIVE_TUPLE, {"source", "vip", "port", "vip port", "proto"}),
]  # fmt: skip
CHANGES = ["mac", "source", "vip", "port", "vip port", "proto"]


@pytest.mark.parametrize(("fields", "counting"), HASHED)
@pytest.mark.parametrize("change", CHANGES)
@each_world
def test_only_the_hashed_fields_decide(
    engine: MakePlane, world: World, fields: HashFields, counting: set[str], change: str
) -> None:
    whole = [Vip(packed(world.address(1, host)), 0, 65535, ()) for host in (100, 101)]
    hashing = [
        service(Mode.DSR, {"a": 1, "b": 1, "c": 1}, at=vip, scheduler=Scheduler.HASH,
                hash_on=HashOn(fields))
        for vip in whole
    ]  # fmt: skip
    gateway = Gateway(engine, tables(*hashing))
    moved = False
    for number in range(20, 40):
        here, there = world.client(number, world.address(1, number)), world.vip(80)
        here = here._replace(mac=f"02:00:00:00:01:{number:02x}")
        first = gateway.sends(tcp(here, there, "S")).dst
        if change == "mac":
            here = here._replace(mac=f"02:00:00:00:09:{number:02x}")
        here = here._replace(address=world.address(7, number)) if change == "source" else here
        here = here._replace(port=number + 1000) if change == "port" else here
        there = world.vip(80, world.address(1, 101)) if change == "vip" else there
        there = world.vip(81) if change == "vip port" else there
        other = udp(here, there) if change == "proto" else tcp(here, there, "S")
        moved |= first != Gateway(engine, tables(*hashing)).sends(other).dst
    assert moved == (change in counting)


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": 0, "b": 0}])
def test_without_a_backend_that_takes_flows_none_is_chosen(
    engine: MakePlane, scheduler: Scheduler, weights: dict[str, int]
) -> None:
    gateway = Gateway(engine, tables(nat(weights, scheduler)))
    assert gateway.reason(tcp(client(), vip(), "S")) is Reason.NO_BACKEND


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_backend_of_weight_0_takes_no_new_flows(engine: MakePlane, scheduler: Scheduler) -> None:
    gateway = Gateway(engine, tables(nat({"a": 0, "b": 1}, scheduler)))
    assert opened(gateway, *range(20)) == "b" * 20


def test_a_flow_of_another_client_is_another_flow(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(nat({"a": 1, "b": 1})))
    other = client(address="10.0.1.3")
    assert opened(gateway, 4000) == "a"
    sent = gateway.sends(tcp(other, vip(), "S"))
    assert (sent[1].src, sent[1].dst, sent.sport) == ("10.0.1.3", BACKENDS["b"], 4000)
    back = gateway.sends(tcp(backend("b"), via(DMZ, other), "SA"))
    assert back[1].dst == other.address
