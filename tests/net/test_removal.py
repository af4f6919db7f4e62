"""Clients of a backend that is drained, removed, or comes back."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netns.process import Process
from netns.waiting import wait_until
from tests.net.sockets import opened
from tests.net.test_operating import KEEP, rewrite, service, start
from tests.net.world import HELD, World, ask

ENDED_BY_RESET = 56
"curl: failure in receiving network data."


def states(world: World) -> dict[str, str]:
    """Weights by the name of the backend."""
    (web,) = ask(world.balancer, "status")["services"]
    names = {end.partition(":")[0]: name for name, end in world.topology.backends.items()}
    addresses = {backend["address"]: backend["state"] for backend in web["backends"]}
    return {names[end.partition(":")[0]]: state for end, state in addresses.items()}


def begun(
    world: World, file: Path, seconds: int, more: str = ""
) -> tuple[Process, str, str]:  # fmt: skip
    """A download that ends after so many seconds, its server and the server's address."""
    start(world, file, service(world, {"a": 1, "b": 1, "c": 1}, more=more))
    curl, server = world.hold(seconds)
    return curl, server, world.topology.backends[server]


@contextmanager
def talking(world: World, file: Path) -> Iterator[tuple[socket.socket, str, str]]:
    """A client that could say more, its server, which waits for that, and the server's address."""
    start(world, file, service(world, {"a": 1, "b": 1, "c": 1}))
    with opened(world.client, world.vip[0], socket.SOCK_STREAM) as client:
        client.connect(world.vip)
        client.sendall(b"GET /slow/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = ""
        while "\r\n\r\n." not in answer:
            answer += client.recv(4096).decode()
        (server,) = HELD.findall(answer)
        yield client, server, world.topology.backends[server]


def goes_on_and_is_reset(client: socket.socket, world: World) -> None:
    """The client, as soon as it says something, and its server at the same time."""
    assert client.send(b"?") == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    world.hang_up()


def test_a_removed_backend_resets_its_connections(world: World, file: Path) -> None:
    """An idle connection is reset with its next packet; connections of other backends go on."""
    with talking(world, file) as (client, server, address):
        said = world.balancer.ask("backend", "remove", "web", address, "--dry-run").stdout
        assert "1 would end" in said
        world.balancer.ask("backend", "remove", "web", address)
        assert server not in world.answers(4)
        goes_on_and_is_reset(client, world)


def test_connections_of_a_removed_backend_go_on_if_its_service_keeps_them(
    world: World, file: Path
) -> None:
    curl, server, address = begun(world, file, 4, KEEP)
    world.balancer.ask("backend", "remove", "web", address)
    assert states(world)[server] == "removed"
    assert server not in world.answers(4)
    wait_until(lambda: curl.status is not None, 20, "the download ends")
    assert curl.status == 0


def test_the_command_that_removes_a_backend_decides_about_its_connections(
    world: World, file: Path
) -> None:
    """The flag counts for more than the setting of the service."""
    curl, server, address = begun(world, file, 4)
    keep = ("--on-remove", "keep")
    assert (
        "would end"
        not in world.balancer.ask("backend", "remove", "web", address, *keep, "--dry-run").stdout
    )
    world.balancer.ask("backend", "remove", "web", address, *keep)
    assert states(world)[server] == "removed"
    wait_until(lambda: curl.status is not None, 20, "the download ends")
    assert curl.status == 0


def test_a_drained_backend_is_removed_when_its_last_connection_is_over(
    world: World, file: Path
) -> None:
    curl, server, address = begun(world, file, 4)
    remove = ("backend", "remove", "web", address, "--drain", "--within")
    said = world.balancer.ask(*remove, "20s").stdout
    assert "no flow was cut" in said
    assert curl.status == 0 or wait_until(lambda: curl.status is not None, 2, "it ends")
    assert server not in world.answers(4)
    assert curl.status == 0


def test_a_removal_tells_how_many_connections_were_cut_at_the_end_of_its_time(
    nat_world: World, file: Path
) -> None:
    world = nat_world
    curl, _, address = begun(world, file, 4)
    remove = ("backend", "remove", "web", address, "--drain", "--within", "1s")
    assert "1 flow" in world.balancer.ask(*remove).stdout
    wait_until(lambda: curl.status is not None, 8, "the connection is reset")
    assert curl.status == ENDED_BY_RESET


def test_a_flow_that_is_killed_is_reset(world: World, file: Path) -> None:
    with talking(world, file) as (client, _, address):
        kill = ("flow", "kill", "--backend", address, "--client", "10.0.1.2")
        assert ask(world.balancer, *kill)["killed"] == 1
        goes_on_and_is_reset(client, world)


def test_a_client_that_only_listens_hears_of_a_reset(nat_world: World, file: Path) -> None:
    curl, _, _ = begun(nat_world, file, 3)
    assert ask(nat_world.balancer, "flow", "kill", "--all")["killed"] == 1
    wait_until(lambda: curl.status is not None, 8, "the connection is reset")
    assert curl.status == ENDED_BY_RESET
    nat_world.hang_up()


def test_what_pktlb_did_for_a_backend_goes_with_its_last_flow(nat_world: World, file: Path) -> None:
    """The guard is as if there had been no such backend."""
    world = nat_world
    start(world, file, "[balancer.timeouts]\nfin = 1\n" + service(world, {"a": 1}, more=KEEP))
    table = ("nft", "--stateless", "list", "table", "netdev", "pktlb")
    before = sorted(world.balancer.run(*table).stdout.split())
    rewrite(file, service(world, {"a": 1, "b": 100}, more=KEEP))
    world.balancer.ask("reload")
    curl, server = world.hold(3)
    assert server == "b"
    rewrite(file, service(world, {"a": 1}, more=KEEP))
    world.balancer.ask("reload")
    assert sorted(world.balancer.run(*table).stdout.split()) != before
    wait_until(lambda: curl.status == 0, 20, "the download ends")
    wait_until(lambda: sorted(world.balancer.run(*table).stdout.split()) == before, 20, "the guard")


def test_a_client_stays_with_its_backend_over_a_reload(world: World, file: Path) -> None:
    start(world, file, service(world, {"a": 1, "b": 1, "c": 1}, more="persist = 300"))
    (server,) = world.answers(6)
    rewrite(file, service(world, {"a": 2, "b": 3, "c": 5}, more="persist = 300"))
    world.balancer.ask("reload")
    assert set(world.answers(6)) == {server}
    world.balancer.ask("restart")
    assert set(world.answers(6)) == {server}
    world.balancer.ask("backend", "drain", "web", world.topology.backends[server])
    (other,) = world.answers(6)
    assert other != server


def test_a_backend_that_returns_comes_to_its_weight_little_by_little(
    nat_world: World, file: Path
) -> None:
    world = nat_world
    start(world, file, service(world, {"a": 10, "b": 10, "c": 10}, more="slow_start = 5"))
    assert set(states(world).values()) == {"up"}
    c = world.topology.backends["c"]
    world.balancer.ask("backend", "drain", "web", c)
    world.balancer.ask("backend", "undrain", "web", c)
    assert states(world)["c"] == "starting"
    assert world.answers(20)["c"] <= 3
    wait_until(lambda: states(world)["c"] == "up", 20, "it has its full weight")
    assert world.answers(9) == {"a": 3, "b": 3, "c": 3}


def test_a_full_backend_gets_no_more_connections(nat_world: World, file: Path) -> None:
    world = nat_world
    text = service(world, {"a": 1, "b": 1})
    start(world, file, text.replace("weight = 1", "weight = 1\nmax_connections = 1", 1))
    held = [world.hold(20) for _ in range(2)]
    assert {server for _, server in held} == {"a", "b"}
    assert states(world)["a"] == "full"
    assert set(world.answers(4)) == {"b"}
