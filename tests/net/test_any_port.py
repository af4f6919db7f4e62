"""Services of whole addresses, of ranges of ports, and of protocols that have none."""

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from netns.topology import address_of
from tests.net.sockets import bracketed, opened
from tests.net.topologies import BOTH, sides_of
from tests.net.world import World, serving

TCP, UDP, GRE, EXPERIMENTAL = 6, 17, 47, 253
KINDS = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}

EXPECTED = {
    (TCP, 7000): "a",
    (UDP, 7000): "a",
    (GRE, 0): "a",
    (TCP, 8010): "b",
    (UDP, 8000): "b",
    (UDP, 8005): "b",
    (TCP, 8005): "c",
}
"The backend of a protocol and a port."

SOURCES = [("10.0.1.2", "10.0.1.21", "10.0.1.22"), ("fd01::2", "fd01::21", "fd01::22")]


@pytest.mark.parametrize("mode", BOTH)
def test_the_most_specific_service_counts_and_each_port_is_kept(mode: str) -> None:
    with serving(BOTH[mode]) as world:
        arguments = ["run", "--mode", mode]
        for side in range(2):
            vip, backends = ends(world, side)
            whole = bracketed(vip)
            arguments += ["--vip", vip, "--backend", backends["a"]]
            arguments += ["--vip", f"{whole}:8000-8010/any", "--backend", backends["b"]]
            arguments += ["--vip", f"{whole}:8005", "--backend", backends["c"]]
            arguments += ["--vip", f"{vip}/{EXPERIMENTAL}"]
            arguments += [word for it in backends.values() for word in ("--backend", it)]
        balancer = world.balancer.pktlb(*arguments)
        for side in range(2):
            vip, _ = ends(world, side)
            for (proto, port), name in EXPECTED.items():
                reach(world, side, name, proto, port)
            by_address(world, side)
            world.client.run("ping", "-q", "-c", "1", "-W", "2", vip)
        assert balancer.stop() == 0


def reach(world: World, side: int, name: str, proto: int, port: int) -> None:
    """Ask, and expect an answer; only this backend would give one."""
    with at_backend(world, side, name, proto, port) as server, a_client(world, side, proto) as it:
        it.connect((world.vips[side][0], port))
        it.send(b"question")
        with server.accept()[0] if proto == TCP else server as served:
            converse(it, served, SOURCES[side][0])


def by_address(world: World, side: int) -> None:
    """A protocol without ports: clients take turns, and each keeps its backend."""
    for source in SOURCES[side][1:]:
        world.client.address("eth0", f"{source}/{(24, 64)[side]}")
    for _ in range(2):
        for source, name in zip(SOURCES[side], "abc", strict=True):
            with (
                at_backend(world, side, name, EXPERIMENTAL, 0) as server,
                a_client(world, side, EXPERIMENTAL) as client,
            ):
                client.bind((source, 0))
                client.connect((world.vips[side][0], 0))
                client.send(b"question")
                converse(client, server, source)


def converse(client: socket.socket, server: socket.socket, source: str) -> None:
    """The question arrives from the client's own address, and the answer from the VIP."""
    question, sender = server.recvfrom(2000)
    assert question.endswith(b"question")
    if sender:
        server.connect(sender)
    assert (sender or server.getpeername())[0] == source
    server.send(b"answer")
    assert client.recv(2000).endswith(b"answer")


def a_client(world: World, side: int, proto: int) -> AbstractContextManager[socket.socket]:
    """A socket of the client."""
    return opened(world.client, world.vips[side][0], *kind_of(proto))


@contextmanager
def at_backend(
    world: World, side: int, name: str, proto: int, port: int
) -> Iterator[socket.socket]:
    """The end at which a backend gets packets to this port of the VIP."""
    vip, backends = ends(world, side)
    own = backends[name] if world.topology.mode == "nat" else vip
    with opened(world.lab.hosts[name], own, *kind_of(proto)) as server:
        server.bind((own, port))
        if proto == TCP:
            server.listen()
        yield server


def kind_of(proto: int) -> tuple[int, int]:
    """The kind of socket of a protocol."""
    return (KINDS[proto], 0) if proto in KINDS else (socket.SOCK_RAW, proto)


def ends(world: World, side: int) -> tuple[str, dict[str, str]]:
    """The addresses of the VIP and of the backends, of one family."""
    backends = sides_of(world.topology)[side].backends
    return world.vips[side][0], {name: address_of(end) for name, end in backends.items()}
