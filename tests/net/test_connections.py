"""TCP connections that go on over a crash of pktlb, and ports that clients use again at once."""

import errno
import fcntl
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from netns.server import blocks, sha256_of_bytes
from netns.waiting import wait_until
from tests.net.sockets import PATIENCE, End, opened
from tests.net.topologies import BOTH
from tests.net.world import World, serving, with_flags

SIZE, BEFORE, AFTER = 3_000_000, 1_500_000, 1_510_000
AGAIN = 21
AT_ONCE = 0.5
"Seconds; a lost SYN is sent again after one."
PORT = 40_000
SIOCOUTQ = 0x5411
RESET = struct.pack("ii", 1, 0)
NAME = re.compile(rb"^Server: (\w+)", re.MULTILINE)
PUT = b"PUT /upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: %b\r\n\r\n"


@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        ("nat", ["--scheduler", "maglev"]),
        ("dsr", ["--scheduler", "source"]),
        ("tunnel", ["--scheduler", "maglev"]),
        ("tunnel", ["--pick-up"]),
    ],
    ids=["nat-maglev", "dsr-source", "tunnel-maglev", "tunnel-pick-up"],
)
def test_uploads_go_on_after_a_crash(mode: str, flags: list[str]) -> None:
    """The next pktlb sends a connection to the same backend as the last one, without being told.

    A hash gives the same backend again; rr does not, but --pick-up with one backend does.
    """
    weights = {"a": 1, "b": 0, "c": 0} if "--pick-up" in flags else None
    body = memoryview(b"".join(blocks(SIZE)))
    with serving(BOTH[mode]) as world, ExitStack() as stack:
        arguments = with_flags(world.arguments(weights=weights), flags)
        crashed = world.balancer.pktlb(*arguments)
        for url in world.topology.urls:
            world.ask(1, url)  # so that rr would not begin with the same backend
        clients = [stack.enter_context(connected(world, vip)) for vip in world.vips]
        for client in clients:
            client.sendall(PUT % SIZE)
            client.sendall(body[:BEFORE])
            wait_until(partial(all_arrived, client), PATIENCE, "half of it has arrived")
        crashed.kill()
        for client in clients:
            client.sendall(body[BEFORE:AFTER])  # lost on the way
        balancer = world.balancer.pktlb(*arguments)
        for client in clients:
            client.sendall(body[AFTER:])
            assert sha256_of_bytes(SIZE).encode() in read_all(client)
        assert balancer.stop() == 0
        assert " picked_up=2" in balancer.stderr


@pytest.mark.parametrize("mode", BOTH)
def test_a_port_that_is_used_again_at_once_gets_a_new_connection(mode: str) -> None:
    """Whether the server closes first, or the client, or the client resets: none waits for a SYN
    to be sent again."""
    with serving(BOTH[mode]) as world:
        world.client.sysctl("net.ipv4.tcp_max_tw_buckets", "0")  # so that it uses ports again
        world.balance()
        for vip in world.vips:
            for how in ("server", "client", "reset"):
                names, longest = ask_from_one_port(world, vip, how)
                assert names == [b"a", b"b", b"c"] * (AGAIN // 3)
                assert longest < AT_ONCE


def ask_from_one_port(world: World, vip: End, closer: str) -> tuple[list[bytes], float]:
    """Connections one after the other from the same port: the servers, and the longest wait."""
    names, longest = [], 0.0
    for _ in range(AGAIN):
        begun = time.monotonic()
        with connected(world, vip, PORT) as client:
            client.sendall(GET % (b"keep-alive" if closer == "client" else b"close"))
            names += NAME.findall(client.recv(2000))
            if closer == "client":
                client.shutdown(socket.SHUT_WR)
            read_all(client)
            longest = max(longest, time.monotonic() - begun)
            if closer == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return names, longest


@contextmanager
def connected(world: World, vip: End, port: int = 0) -> Iterator[socket.socket]:
    """A TCP connection of the client, from this port unless it is 0."""
    with opened(world.client, vip[0], socket.SOCK_STREAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("", port))

        def usable() -> bool:
            """Bind the port, which works when the last connection's end is acknowledged."""
            error = client.connect_ex(vip)
            assert error in (0, errno.EADDRNOTAVAIL), os.strerror(error)
            return not error

        wait_until(usable, PATIENCE, f"port {port} can be used again")
        yield client


def all_arrived(client: socket.socket) -> bool:
    """Whether the other end has acknowledged everything."""
    return fcntl.ioctl(client, SIOCOUTQ, bytes(4)) == bytes(4)


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes."""
    with client.makefile("rb") as lines:
        return lines.read()
