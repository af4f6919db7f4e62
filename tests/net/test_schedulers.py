"""The server of the next connection: by turns, by load or by the client's address."""

import signal
from collections import Counter, defaultdict

from netns.waiting import wait_until
from tests.net.world import World

CLIENTS = [f"10.0.1.{number}" for number in range(21, 45)]


def test_weighted_turns_are_spread_and_weight_zero_gets_none(world: World) -> None:
    world.balance(weights={"a": 3, "b": 1, "c": 0})
    order = "".join(answer.server for answer in world.ask(12))
    assert order == "aaba" * 3


def test_new_connections_go_where_the_fewest_are_open(world: World) -> None:
    world.balance(scheduler="lc")
    (_, first), (_, second) = world.hold(), world.hold()
    assert first != second
    (idle,) = {"a", "b", "c"} - {first, second}
    assert world.answers(9) == {idle: 9}


def test_a_connection_that_ends_counts_no_longer(world: World) -> None:
    """The client closes it or is killed: its kernel sends FIN or RST."""
    world.balance(scheduler="lc", weights={"a": 1, "b": 1, "c": 0})
    (held, busy), other = world.hold(), {"a": "b", "b": "a"}
    assert world.answers(6) == {other[busy]: 6}
    held.stop(signal.SIGKILL)
    wait_until(lambda: world.answers(2) == {"a": 1, "b": 1}, 5, "both servers take turns again")


def test_least_connections_are_counted_in_proportion_to_the_weights(world: World) -> None:
    world.balance(scheduler="lc", weights={"a": 3, "b": 2, "c": 0})
    held = Counter(server for _, server in (world.hold() for _ in range(10)))
    assert held == {"a": 6, "b": 4}


def test_a_client_address_stays_with_its_server_and_addresses_spread(world: World) -> None:
    add_clients(world)
    world.balance(scheduler="source")
    homes = find_homes(world, 3)
    assert {len(names) for names in homes.values()} == {1}
    assert len(set.union(*homes.values())) == 3


def test_only_clients_of_a_missing_backend_move(world: World) -> None:
    """Without a server, clients of the two others hardly move, also after a new start of pktlb."""
    add_clients(world)
    balancer = world.balance(scheduler="source")
    before = find_homes(world)
    assert balancer.stop() == 0
    world.balance(scheduler="source", weights={"a": 1, "b": 1, "c": 0})
    after = find_homes(world)
    moved = [client for client in CLIENTS if before[client] != after[client]]
    orphans = [client for client in CLIENTS if before[client] == {"c"}]
    assert orphans
    assert set(orphans) <= set(moved)
    assert len(moved) <= len(orphans) + 2


def add_clients(world: World) -> None:
    for address in CLIENTS:
        world.client.address("eth0", f"{address}/24")


def find_homes(world: World, requests: int = 1) -> dict[str, set[str]]:
    """The servers that each client address was sent to."""
    homes = defaultdict(set)
    for address in CLIENTS:
        for answer in world.ask(requests, "", "--interface", address):
            assert answer.client == address
            homes[address].add(answer.server)
    return homes
