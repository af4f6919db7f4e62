"""Services and servers as ipvsadm's command line writes them: by numbers or by names."""

import socket
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from pktlb.config.text import parse_address, split_port
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, format_address


class ServiceAddress(NamedTuple):
    """The service that -t or -u names; port 0 stands for all ports."""

    proto: str
    address: bytes
    port: int

    @property
    def vip(self) -> str:
        """The VIP as pktlb writes it."""
        text = str(Endpoint(self.address, self.port))
        return f"{text}/{self.proto}"

    @property
    def is_ipv6(self) -> bool:
        return len(self.address) == 16


class ServerAddress(NamedTuple):
    """The server that -r names; port 0: packets keep the one that was dialled."""

    address: bytes
    port: int


def parse_service(text: str, proto: str) -> ServiceAddress:
    """`ADDR:PORT`, an IPv6 address in brackets; no port, or port 0: all ports. Raises
    `ConfigError`."""
    host, port = split_port(text)
    return ServiceAddress(proto, _host(host), _port(port or "0", proto))


def parse_server(text: str, service: ServiceAddress) -> ServerAddress:
    """`ADDR[:PORT]`; without a port, the port is the service's. Raises `ConfigError`."""
    host, port = split_port(text)
    address = _host(host)
    if port is None:
        return ServerAddress(address, service.port)
    return ServerAddress(address, _port(port, service.proto))


def read_end(text: str, default: int = 0) -> Endpoint:
    """A backend, or an end of a flow, as pktlb writes it; `default` is the port where the text has
    none. Raises `ConfigError`."""
    host, port = split_port(text)
    return Endpoint(parse_address(host), default if port is None else _number(port))


def _host(text: str) -> bytes:
    bare = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    if ":" in bare or bare.replace(".", "").isdigit() or not bare:
        return parse_address(bare)
    if (found := _looked_up(bare)) is None:
        raise ConfigError(f"{text}: expected an address, or a host's name that can be looked up")
    return parse_address(found)


@lru_cache(1024)
def _looked_up(name: str) -> str | None:
    """The address of a name; None: there is none. Each name is looked up once, because a saved
    table repeats names and a resolver is slow."""
    try:
        return str(socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)[0][4][0])
    except (OSError, UnicodeError):
        return None


def _port(text: str, proto: str) -> int:
    """A port by its number, or by its name in /etc/services."""
    with suppress(ConfigError):
        return _number(text)
    if text.isprintable():
        with suppress(OSError, ValueError):
            return socket.getservbyname(text, proto)
    raise ConfigError(f"{text!r}: expected a port in 0..65535, or its name in /etc/services")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 65535):
        raise ConfigError(f"{text!r}: expected a port in 0..65535")
    return int(text)


def describe(address: bytes, port: int) -> str:
    """Address and port as ipvsadm prints them: the port is always there, 0 for all ports."""
    text = format_address(address)
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"
