"""Sockets in hosts, for tests that need more than curl."""

import errno
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import Final

from netns.host import Host

PATIENCE: Final = 5.0
"Seconds; answers take milliseconds."

IP_TTL, IPV6_UNICAST_HOPS = 2, 16
IP_RECVERR, IPV6_RECVERR = 11, 25
TIME_EXCEEDED: Final = {socket.AF_INET: (11, 0), socket.AF_INET6: (3, 0)}
"Type and code of an ICMP message."

End = tuple[str, int]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bracketed(address: str) -> str:
    """The text of an address in front of a port."""
    return f"[{address}]" if ":" in address else address


@contextmanager
def opened(
    host: Host, address: str, kind: int = socket.SOCK_DGRAM, proto: int = 0
) -> Iterator[socket.socket]:
    """A socket of the family of an address."""
    with host.enter():
        made = socket.socket(family_of(address), kind, proto)
    with closing(made):
        made.settimeout(PATIENCE)
        yield made


@contextmanager
def dialled(host: Host, end: End, source: str = "") -> Iterator[socket.socket]:
    """A UDP socket that is connected: it takes answers from this end only."""
    with opened(host, end[0]) as client:
        if source:
            client.bind((source, 0))
        client.connect(end)
        yield client


@contextmanager
def listening(host: Host, end: End) -> Iterator[socket.socket]:
    """A UDP socket bound to an end."""
    with opened(host, end[0]) as server:
        server.bind(end)
        yield server


def exchange(client: socket.socket, size: int) -> None:
    """A datagram as long as that, and its answer. An IPv6 client may have to learn first what fits
    a tunnel, at the cost of a datagram."""
    client.settimeout(0.5)
    for number in range(8):
        word = bytes([number]) * size
        try:
            client.send(word)
            answer = client.recv(65535)
        except OSError as error:
            if isinstance(error, TimeoutError) or error.errno == errno.EMSGSIZE:
                continue
            raise
        assert answer.endswith(b" " + word)
        return
    raise AssertionError(f"{size} bytes are not answered")


def trace(host: Host, address: str, hops: int, port: int) -> str:
    """The address that says that a packet may not go further than so many hops."""
    with dialled(host, (address, port)) as client:
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_IP, IP_TTL, hops)
            client.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        else:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops)
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        client.send(b"how far?")
        poll = select.poll()
        poll.register(client, select.POLLERR)
        assert poll.poll(PATIENCE * 1000), "no error comes back"
        said, ((_, _, told),), *_ = client.recvmsg(2000, 512, socket.MSG_ERRQUEUE)
        assert said == b"how far?"
        _, _, kind, code = struct.unpack_from("=IBBB", told)
        assert (kind, code) == TIME_EXCEEDED[client.family]
    offender = told[16:]
    at, size = (4, 4) if client.family == socket.AF_INET else (8, 16)
    return str(ip_address(offender[at : at + size]))
