"""The filters of a query, as one test that tells whether a flow is selected."""

from collections.abc import Callable, Mapping
from typing import Final

from netaddr import INET_PTON, AddrFormatError, IPAddress, IPNetwork

from pktlb.config.text import parse_number, parse_vip, split_port
from pktlb.control.operator import FlowView
from pktlb.control.refusal import BadRequestError
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, Proto

Select = Callable[[FlowView], bool]

FILTERS: Final = ("client", "vip", "backend", "service", "state", "proto", "min_idle")
STATES: Final = (
    "syn_sent", "syn_received", "established", "client_fin", "backend_fin", "closed", "datagrams",
    "killed",
)  # fmt: skip
"States of a flow by their names in listings."
_MAX_IDLE_S: Final = 1_000_000_000


def make_selection(query: Mapping[str, str]) -> Select:
    """The test that all filters of the query fit a flow. Raises `BadRequestError`."""
    tests = [_make(name, query[name]) for name in FILTERS if name in query]
    return lambda flow: all(test(flow) for test in tests)


def _make(name: str, text: str) -> Select:
    try:
        return _MAKERS[name](text)
    except ConfigError as error:
        raise BadRequestError(f"{name} {text}: {error}") from error


def _client(text: str) -> Select:
    if "/" not in text:
        return _at(text, lambda flow: flow.client)
    network = _network(text)
    low, high, size = network.first, network.last, len(network.ip.packed)
    return lambda flow: (
        len(flow.client.address) == size
        and low <= int.from_bytes(flow.client.address, "big") <= high
    )


def _vip(text: str) -> Select:
    """A VIP with a protocol or a range, or the address, with or without port, that was dialled."""
    if not set(text) & set("/-"):
        return _at(text, lambda flow: flow.vip)
    vip = parse_vip(text)
    return lambda flow: (
        flow.vip.address == vip.address
        and vip.low <= flow.vip.port <= vip.high
        and (not vip.protos or flow.proto in vip.protos)
    )


def _service(text: str) -> Select:
    """The label or the VIP of a service. The dialled address is not looked at: a VIP may lie within
    the VIP of another service."""
    try:
        vip = parse_vip(text)
    except ConfigError:
        return lambda flow: flow.service == text
    return lambda flow: text == flow.service or vip == flow.service_vip


def _state(text: str) -> Select:
    if text not in STATES:
        raise ConfigError(f"expected one of {', '.join(STATES)}")
    return lambda flow: flow.state == text


def _at(text: str, end: Callable[[FlowView], Endpoint]) -> Select:
    host, port = split_port(text)
    address = _address(host)
    if port is None:
        return lambda flow: end(flow).address == address
    whole = Endpoint(address, parse_number(port, 1, 65535, "a port"))
    return lambda flow: end(flow) == whole


def _address(text: str) -> bytes:
    """Any address: packets may come from addresses that no host can have."""
    try:
        return IPAddress(_bare(text), flags=INET_PTON).packed
    except (AddrFormatError, ValueError) as error:
        raise ConfigError("expected an address such as 10.0.0.1 or 2001:db8::1") from error


def _network(text: str) -> IPNetwork:
    try:
        return IPNetwork(_bare(text))
    except (AddrFormatError, ValueError) as error:
        raise ConfigError("expected a network such as 10.0.0.0/8 or 2001:db8::/32") from error


def _bare(text: str) -> str:
    return text[1:].replace("]", "", 1) if text[:1] == "[" and "]" in text else text


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
    "vip": _vip,
    "backend": lambda text: _at(text, lambda flow: flow.backend),
    "service": _service,
    "state": _state,
    "proto": _proto,
    "min_idle": _idle,
}
