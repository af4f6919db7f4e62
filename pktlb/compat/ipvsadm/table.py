"""The table of virtual services as IPVS has it: configuration and counters."""

import tomllib
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from pktlb.compat.ipvsadm import words
from pktlb.compat.ipvsadm.address import ServiceAddress, read_end
from pktlb.compat.ipvsadm.api import Api
from pktlb.config.text import parse_vip
from pktlb.errors import ConfigError, KernelError
from pktlb.model import Proto, Timeouts, Vip

_ALL_PORTS: Final = (0, 65535)


class Counts(NamedTuple):
    """The counters that --stats and --rate show."""

    connections: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def __add__(self, other: object) -> "Counts":
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def since(self, earlier: "Counts", seconds: float) -> "Counts":
        """The counters per second since `earlier`, `seconds` before; 0 if they began anew since."""
        return Counts(
            *(max(0, int((now - then) / seconds)) for now, then in zip(self, earlier, strict=True))
        )


NOTHING: Final = Counts()


@dataclass(frozen=True, slots=True)
class Real:
    """A real server."""

    address: str
    "As pktlb writes it; without a port if packets keep the one that was dialled."
    ip: bytes
    port: int
    mode: str
    weight: int = 1
    upper: int = 0
    lower: int = 0
    active: int = 0
    inactive: int = 0
    counts: Counts = NOTHING


@dataclass(frozen=True, slots=True)
class Virtual:
    """A virtual service with its real servers."""

    vip: str
    parsed: Vip
    proto: str
    "TCP or UDP; ANY for both; another protocol by its name, though IPVS has no such services."
    scheduler: str
    flags: str
    persist_s: int = 0
    prefix: int | None = None
    "Leading bits of an address that are one client to persistence; None: all bits."
    one_packet: bool = False
    reals: tuple[Real, ...] = ()

    @property
    def is_ipvs(self) -> bool:
        """Whether ipvsadm can name it: TCP or UDP, one port or all, a scheduler of IPVS."""
        vip = self.parsed
        is_named = vip.low == vip.high or (vip.low, vip.high) == _ALL_PORTS
        return self.proto in ("TCP", "UDP") and is_named and self.scheduler != "hash"

    @property
    def counts(self) -> Counts:
        return sum((real.counts for real in self.reals), NOTHING)


def read_config(api: Api) -> dict[str, Any]:
    """The running configuration, in the keys of the file. Raises `PktlbError`."""
    text = api.ask("GET", ("config",))
    try:
        return tomllib.loads(text)
    except (TypeError, tomllib.TOMLDecodeError) as error:
        raise KernelError(f"the balancer's configuration cannot be read: {error}") from error


def read_table(api: Api, counted: bool = False) -> list[Virtual]:
    """All services, in the order of the configuration; `counted`: with their counters."""
    table = [
        virtual
        for keys in read_config(api).get("service", [])
        for vip in ([keys["vip"]] if isinstance(keys["vip"], str) else keys["vip"])
        for virtual in [_virtual(keys, vip)]
    ]
    return _with_counts(table, api.ask("GET", ("status",))) if counted else table


def read_timeouts(api: Api) -> Timeouts:
    """The timeouts that are in force."""
    told = read_config(api).get("balancer", {}).get("timeouts", {})
    return replace(Timeouts(), **{name: float(seconds) for name, seconds in told.items()})


def find(table: list[Virtual], service: ServiceAddress) -> list[Virtual]:
    """The service that a command names, or nothing."""
    return [virtual for virtual in table if virtual.vip == service.vip]


def _virtual(keys: words.Keys, text: str) -> Virtual:
    vip = parse_vip(text)
    mode = keys.get("mode", "nat")
    reals = tuple(_real(backend, vip, mode) for backend in keys.get("backend", []))
    scheduler, flags = words.scheduler_name(keys, [real.weight for real in reals])
    is_ipv6 = len(vip.address) == 16
    whole = 128 if is_ipv6 else 32
    prefix = keys.get("persist_prefix6" if is_ipv6 else "persist_prefix4", whole)
    return Virtual(
        vip=str(vip),
        parsed=vip,
        proto=_proto(vip),
        scheduler=scheduler,
        flags=flags,
        persist_s=keys.get("persist", 0),
        prefix=prefix if prefix != whole else None,
        one_packet=keys.get("one_packet", False),
        reals=reals,
    )


def _real(keys: words.Keys, vip: Vip, mode: str) -> Real:
    """A backend as IPVS has it: one that is drained has weight 0."""
    try:
        endpoint = read_end(keys["address"], vip.low if vip.low == vip.high else 0)
    except ConfigError as error:
        raise KernelError(f"the balancer's configuration cannot be read: {error}") from error
    return Real(
        address=str(endpoint),
        ip=endpoint.address,
        port=endpoint.port,
        mode=keys.get("mode", mode),
        weight=0 if keys.get("drain") else keys.get("weight", 1),
        upper=keys.get("max_connections", 0),
        lower=keys.get("resume_connections", 0),
    )


def _proto(vip: Vip) -> str:
    if vip.protos == (Proto.TCP, Proto.UDP):
        return "ANY"
    if len(vip.protos) == 1 and vip.protos[0] in set(Proto):
        return Proto(vip.protos[0]).name
    return str(vip.protos[0]) if vip.protos else "ALL"


def _with_counts(table: list[Virtual], status: dict[str, Any]) -> list[Virtual]:
    counted = {
        (service["vip"], backend["address"]): backend
        for service in status["services"]
        for backend in service["backends"]
    }
    return [
        replace(
            virtual,
            reals=tuple(
                _counted(real, counted.get((virtual.vip, real.address), {}))
                for real in virtual.reals
            ),
        )
        for virtual in table
    ]


def _counted(real: Real, status: dict[str, Any]) -> Real:
    """The server with its counters; a backend that is not in the status yet has none."""
    counts = Counts(*(status.get(name, 0) for name in Counts._fields))
    active, inactive = status.get("active", 0), status.get("inactive", 0)
    return replace(real, active=active, inactive=inactive, counts=counts)
