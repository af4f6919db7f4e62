"""Services and servers as ipvsadm writes them: numbers or names, ports or services."""

import socket
from contextlib import suppress
from typing import NamedTuple

from pktlb.config import parse_address
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, format_address
from pktlb.service import split_port


class ServiceAddress(NamedTuple):
    """What -t or -u names; port 0 stands for all ports."""

    proto: str
    address: bytes
    port: int

    @property
    def vip(self) -> str:
        """The text of the VIP."""
        text = str(Endpoint(self.address, self.port))
        return f"{text}/{self.proto}"

    @property
    def is_ipv6(self) -> bool:
        return len(self.address) == 16


class ServerAddress(NamedTuple):
    """What -r names; port 0: the one that was dialled."""

    address: bytes
    port: int


def parse_service(text: str, proto: str, names: bool = True) -> ServiceAddress:
    """`ADDR:PORT`, IPv6 in brackets; no port, or port 0: all of them."""
    host, port = split_port(text)
    return ServiceAddress(proto, _host(host, names), _port(port or "0", proto, names))


def parse_server(text: str, service: ServiceAddress, names: bool = True) -> ServerAddress:
    """`ADDR[:PORT]`; without a port, that of the service."""
    host, port = split_port(text)
    address = _host(host, names)
    if port is None:
        return ServerAddress(address, service.port)
    return ServerAddress(address, _port(port, service.proto, names))


def read_end(text: str, default: int = 0) -> Endpoint:
    """A backend, or an end of a flow, as pktlb writes it; `default`: what no port means."""
    host, port = split_port(text)
    return Endpoint(parse_address(host), default if port is None else _port(port, "tcp", False))


def _host(text: str, names: bool) -> bytes:
    bare = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    numeric = ":" in bare or bare.replace(".", "").isdigit() or not bare
    if numeric or not names:
        return parse_address(bare)
    try:
        found = socket.getaddrinfo(bare, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{text}: expected an address or a host's name") from error
    return parse_address(str(found[0][4][0]))


def _port(text: str, proto: str, names: bool) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 65535:
        return int(text)
    if names and text.isprintable():
        with suppress(OSError, ValueError):
            return socket.getservbyname(text, proto)
    raise ConfigError(f"{text!r}: expected a port or a service's name")


def describe(address: bytes, port: int) -> str:
    """As ipvsadm prints it: the port is always there, 0 for all."""
    text = format_address(address)
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"
