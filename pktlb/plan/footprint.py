"""What a service needs of the machine around it, worked out once for as long as the service lives.

Services are frozen, and a change makes few of them anew: so with a thousand of them, what is asked
about all is a union of sets that are there already.
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeVar

from pktlb.config.service import Service
from pktlb.engine.datapath.keys import EndpointKey, endpoint_key
from pktlb.engine.datapath.tables import Ends, is_single
from pktlb.model import Endpoint, Mode, Vip

Found = TypeVar("Found")


class Footprint(NamedTuple):
    """What guard, filters and routes have to know of a service's backends."""

    addresses: tuple[bytes, ...]
    "Address of each backend, once."
    bridged: frozenset[bytes]
    "Addresses of backends that must be on a link of this machine (mode dsr)."
    replies: frozenset[Vip]
    "Ends of backends in mode nat: packets from there may be replies to be translated."
    reply_keys: frozenset[EndpointKey]
    "`replies` of one port each, packed."
    reply_spans: frozenset[Vip]
    "`replies` of several ports or protocols."
    is_direct: bool
    "Whether a backend answers clients itself."


class Remembered(Generic[Found]):
    """A pure function of a service that is called once for each.

    Services are told apart by identity: to compare them takes as long as the call that is saved.
    """

    def __init__(self, of: Callable[[Service], Found]) -> None:
        self._of: Final = of
        self._known: Final[dict[int, tuple[weakref.ref[Service], Found]]] = {}

    def __call__(self, service: Service) -> Found:
        number = id(service)
        known = self._known.get(number)
        if known and known[0]() is service:
            return known[1]
        found = self._of(service)
        forget = self._known
        self._known[number] = weakref.ref(service, lambda _: forget.pop(number, None)), found
        return found

    def __len__(self) -> int:
        return len(self._known)


def _footprint(service: Service) -> Footprint:
    modes = [(backend.endpoint, service.mode_of(backend)) for backend in service.backends]
    protos = service.vip.protos
    replies = [
        Vip(end.address, *((end.port, end.port) if end.port else service.vip[1:3]), protos)
        for end, mode in modes
        if mode is Mode.NAT
    ]
    return Footprint(
        addresses=tuple(dict.fromkeys(end.address for end, _ in modes)),
        bridged=frozenset(end.address for end, mode in modes if mode is Mode.DSR),
        replies=frozenset(replies),
        reply_keys=frozenset(
            endpoint_key(proto, Endpoint(vip.address, vip.low))
            for vip in replies
            for proto in protos
            if is_single(vip, proto)
        ),
        reply_spans=frozenset(
            vip._replace(protos=(proto,) if proto else ())
            for vip in replies
            for proto in protos or (0,)
            if not is_single(vip, proto)
        ),
        is_direct=any(mode is not Mode.NAT for _, mode in modes),
    )


footprint: Final = Remembered(_footprint)


def is_direct(service: Service) -> bool:
    """Whether a backend of this service answers clients itself."""
    return footprint(service).is_direct


def alike(before: Sequence[Service], after: Sequence[Service]) -> bool:
    """Whether these need the same of the machine, one by one."""
    return len(before) == len(after) and all(
        old is new or (old.vip == new.vip and footprint(old) == footprint(new))
        for old, new in zip(before, after, strict=True)
    )


def backend_addresses(services: Iterable[Service]) -> list[bytes]:
    """Each backend's address once."""
    return list(dict.fromkeys(chain.from_iterable(footprint(s).addresses for s in services)))


def bridged_addresses(services: Iterable[Service]) -> frozenset[bytes]:
    """Addresses of backends in mode dsr: only a MAC is written, so they must be on a link."""
    return frozenset[bytes]().union(*(footprint(service).bridged for service in services))


def reply_ends(services: Iterable[Service]) -> frozenset[Vip]:
    """Ends of backends in mode nat: packets from there may be replies to be translated."""
    return frozenset[Vip]().union(*(footprint(service).replies for service in services))


class Replies:
    """`reply_ends` as a table of the datapath: the same object while its content is the same."""

    def __init__(self) -> None:
        self._keys: frozenset[EndpointKey] = frozenset()
        self._spans: frozenset[Vip] = frozenset()
        self._table: Ends[bool] = Ends(())

    def table(self, services: Sequence[Service]) -> Ends[bool]:
        keys = frozenset[EndpointKey]().union(*(footprint(s).reply_keys for s in services))
        spans = frozenset[Vip]().union(*(footprint(s).reply_spans for s in services))
        if (keys, spans) != (self._keys, self._spans):
            given = ((vip, True) for vip in sorted(spans))
            self._table = Ends(given, dict.fromkeys(keys, True))
            self._keys, self._spans = keys, spans
        return self._table


def return_ends(services: Iterable[Service]) -> frozenset[Vip]:
    """VIPs whose backends answer clients themselves (modes dsr and tunnel).

    Where this machine is their gateway it has to send such answers on, for the kernel takes a
    packet from its own address for forged.
    """
    return frozenset(s.vip for s in services if is_direct(s) and not s.vip.any)


def dialled(services: Iterable[Service]) -> frozenset[Vip]:
    """VIPs that are addresses of this machine."""
    return frozenset(service.vip for service in services if not service.vip.any)
