"""Sockets that listen here are found, with the process that holds them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pktlb.host.listeners import Listeners
from pktlb.host.machine import Listener
from pktlb.model import Proto


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(
    stack: ExitStack, address: str, kind: socket.SocketKind = socket.SOCK_STREAM,
    ipv6_only: bool = False,
) -> int:  # fmt: skip
    """A listening socket; returns its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = stack.enter_context(closing(socket.socket(family, kind)))
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(ipv6_only))
    sock.bind((address, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return int(sock.getsockname()[1])


def at(port: int) -> Listener:
    (found,) = (each for each in Listeners().read() if each.port == port)
    return found


CASES = [
    ("127.0.0.1", socket.SOCK_STREAM, bytes([127, 0, 0, 1]), False),
    ("0.0.0.0", socket.SOCK_DGRAM, bytes(4), False),
    ("::1", socket.SOCK_STREAM, bytes([*bytes(15), 1]), False),
    ("::", socket.SOCK_DGRAM, bytes(16), True),
    ("::ffff:127.0.0.1", socket.SOCK_STREAM, bytes([127, 0, 0, 1]), False),
]


@pytest.mark.parametrize(("text", "kind", "address", "takes_ipv4"), CASES)
def test_a_listener_is_found(
    stack: ExitStack, text: str, kind: socket.SocketKind, address: bytes, takes_ipv4: bool
) -> None:
    port = opened(stack, text, kind)
    proto = Proto.TCP if kind == socket.SOCK_STREAM else Proto.UDP
    name = Path("/proc/self/comm").read_text().strip()
    assert at(port) == Listener(proto, address, port, takes_ipv4, f"{name}, pid {os.getpid()}")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_of_ipv6_alone_takes_no_ipv4(stack: ExitStack, kind: socket.SocketKind) -> None:
    assert not at(opened(stack, "::", kind, ipv6_only=True)).takes_ipv4


def test_a_connection_is_no_listener(stack: ExitStack) -> None:
    port = opened(stack, "127.0.0.1")
    client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
    mine = client.getsockname()[1]
    assert all(each.port != mine for each in Listeners().read())


def test_more_listeners_than_one_message_holds_are_all_found(stack: ExitStack) -> None:
    ports = {opened(stack, "127.0.0.1") for _ in range(800)}
    assert ports <= {each.port for each in Listeners().read()}


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_holder_that_is_not_to_be_seen_is_told_by_its_user(stack: ExitStack) -> None:
    """The socket is root's; another user may not look at root's processes."""
    port = opened(stack, "127.0.0.1")
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "from pktlb.host.listeners import Listeners\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"print([each.holder for each in Listeners().read() if each.port == {port}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['uid 0']\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving up takes something to give up")
def test_a_holder_that_was_seen_keeps_its_name(stack: ExitStack) -> None:
    """The capabilities to see it are given up after the first look."""
    port = opened(stack, "127.0.0.1")
    code = (
        "import socket\n"
        "from pktlb.host.listeners import Listeners\n"
        "from pktlb.host.privilege import Needs, give_up\n"
        "listeners = Listeners()\n"
        "listeners.read()\n"
        "give_up(Needs(()))\n"
        f"print(*(each.holder for each in listeners.read() if each.port == {port}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f", pid {os.getpid()}\n")
