"""Which flows a request is about: the filters of its query, as one test of a flow."""

import socket
from collections.abc import Callable, Mapping
from typing import Final

from pktlb.config import parse_number
from pktlb.control.operator import FlowView
from pktlb.control.refusal import BadRequestError
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, Proto
from pktlb.service import split_port

Select = Callable[[FlowView], bool]

FILTERS: Final = ("client", "vip", "backend", "service", "state", "proto", "min_idle")
_MAX_IDLE_S: Final = 1_000_000_000


def make_selection(query: Mapping[str, str]) -> Select:
    """A flow is selected when all filters of the query fit it."""
    tests = [_make(name, query[name]) for name in FILTERS if name in query]
    return lambda flow: all(test(flow) for test in tests)


def _make(name: str, text: str) -> Select:
    try:
        return _MAKERS[name](text)
    except ConfigError as error:
        raise BadRequestError(f"{name} {text}: {error}") from error


def _client(text: str) -> Select:
    network, slash, bits = text.partition("/")
    if not slash:
        return _at(text, lambda flow: flow.client)
    address = _address(network)
    width = 8 * len(address)
    shift = width - parse_number(bits, 0, width, "bits of an address")
    wanted = int.from_bytes(address, "big") >> shift
    return lambda flow: (
        len(flow.client.address) == len(address)
        and int.from_bytes(flow.client.address, "big") >> shift == wanted
    )


def _at(text: str, end: Callable[[FlowView], Endpoint]) -> Select:
    host, port = split_port(text)
    address = _address(host)
    if port is None:
        return lambda flow: end(flow).address == address
    whole = Endpoint(address, parse_number(port, 1, 65535, "a port"))
    return lambda flow: end(flow) == whole


def _address(text: str) -> bytes:
    """Any address: packets have come from whichever."""
    bare = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in bare else socket.AF_INET, bare)
    except (OSError, ValueError) as error:
        raise ConfigError("expected an address such as 10.0.0.1 or 2001:db8::1") from error


def _proto(text: str) -> Select:
    names = {proto.name.lower(): int(proto) for proto in Proto}
    number = names.get(text)
    wanted = parse_number(text, 0, 255, "a protocol") if number is None else number
    return lambda flow: flow.proto == wanted


def _idle(text: str) -> Select:
    seconds = parse_number(text, 0, _MAX_IDLE_S, "seconds")
    return lambda flow: flow.idle_s >= seconds


_MAKERS: Final[dict[str, Callable[[str], Select]]] = {
    "client": _client,
    "vip": lambda text: _at(text, lambda flow: flow.vip),
    "backend": lambda text: _at(text, lambda flow: flow.backend),
    "service": lambda text: lambda flow: flow.service == text,
    "state": lambda text: lambda flow: flow.state == text,
    "proto": _proto,
    "min_idle": _idle,
}
