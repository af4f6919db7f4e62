"""The tables of a configuration file as pydantic models: keys, their values, and a sentence each.

The values of a validated table are those of the model already: a VIP is a `Vip`, not its text. What
is wrong with one is said by the parsers that everything else uses. The same models make the JSON
Schema that editors read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from pktlb.config import config as parse
from pktlb.config.problem import did_you_mean, show
from pktlb.config.text import MAX_BACKENDS, MAX_VIPS, MAX_WEIGHT, parse_end, parse_hash, parse_vip
from pktlb.errors import ConfigError
from pktlb.model import Mode, OnRemove, Scheduler, Timeouts, Vip

_LONGEST: Final = 256
"Characters of a text that is looked into at all."


def wrong(what: str) -> PydanticCustomError:
    """What the errors of pydantic carry, when they are ours: one sentence."""
    return PydanticCustomError("setting", "{what}", {"what": what})


class Setting:
    """How a value is checked, and what editors are told of it."""

    def check(self, value: Any) -> Any:
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.schema()


@dataclass(frozen=True)
class Whole(Setting):
    """A whole number."""

    what: str
    low: int
    high: int

    def check(self, value: Any) -> int:
        if type(value) is int and self.low <= value <= self.high:
            return value
        raise wrong(f"expected {self.what} in {self.low}..{self.high}, got {show(value)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Text(Setting):
    """A text with a meaning, which `parse` knows."""

    what: str
    parse: Callable[[str], Any]

    def check(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise wrong(f"expected {self.what}, in quotes, got {show(value)}")
        if len(value) > _LONGEST:
            raise wrong(f"expected {self.what}, got {show(value)}")
        try:
            return self.parse(value)
        except ConfigError as error:
            raise wrong(str(error)) from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": _LONGEST}


@dataclass(frozen=True, eq=False)
class OneOf(Setting):
    """One of some words."""

    words: dict[str, Any]

    def check(self, value: Any) -> Any:
        if isinstance(value, str) and value in self.words:
            return self.words[value]
        *most, last = self.words
        expected = f"expected {', '.join(most)} or {last}, got {show(value)}"
        raise wrong(expected + did_you_mean(value, self.words))

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


class Switch(Setting):
    """True or false."""

    def check(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise wrong(f"expected true or false, got {show(value)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


def _words(enum: type[Enum]) -> OneOf:
    return OneOf({each.value: each for each in enum})


def _listed(value: Any) -> Any:
    """One text stands for a list of one."""
    return [value] if isinstance(value, str) else value


def _hash_text(text: str) -> str:
    """Checked for all but the width of an address, which depends on the VIP."""
    parse_hash(text, Vip(bytes(16)))
    return text


Seconds = Annotated[int, Whole("seconds", 0, parse.MAX_SECONDS)]
Idle = Annotated[int, Whole("seconds", 1, parse.MAX_SECONDS)]
Connections = Annotated[int, Whole("a number of connections", 0, parse.MAX_FLOWS)]
MODES: Final = _words(Mode)
Boolean = Annotated[bool, Switch()]
INTERFACE: Final = Text("the name of an interface", parse.parse_interface)
Name = Annotated[str, Text("a name", parse.parse_name)]
OneVip = Annotated[
    Vip, Text("what clients dial, such as 203.0.113.10:80 or [2001:db8::10]:53/udp", parse_vip)
]
OneOrMore = BeforeValidator(_listed, json_schema_input_type=str | list[str])


class Table(BaseModel):
    """What all tables have in common: there are no keys but those named here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BackendTable(Table):
    """A machine that serves."""

    address: Annotated[
        tuple[bytes, int | None], Text("an address such as 10.0.2.11 or 10.0.2.11:8080", parse_end)
    ] = Field(
        description="ADDR or ADDR:PORT, IPv6 with a port in brackets; without a port, the one that "
        "was dialled"
    )
    weight: Annotated[int, Whole("a weight", 0, MAX_WEIGHT)] = Field(
        default=1, description="share of new flows relative to the other backends; 0 takes none"
    )
    name: Name = Field(
        default="", description="what schedulers that hash know it by, instead of its address"
    )
    mode: Annotated[Mode | None, MODES] = Field(
        default=None,
        description="how frames are sent on to this one, where not as its service says",
    )
    drain: Boolean = Field(
        default=False, description="it takes no new flows, whatever its weight; those it has finish"
    )
    max_connections: Connections = Field(
        default=0, description="with so many open flows it takes no more; 0: any number"
    )
    resume_connections: Connections = Field(
        default=0,
        description="it takes new ones again when there are fewer than this; 0: three quarters of "
        "max_connections",
    )


class ServiceTable(Table):
    """What clients dial, and who serves it."""

    name: Name = Field(
        default="",
        description="what commands call it; none: its VIP. Services of the same name are changed "
        "together",
    )
    vip: Annotated[list[OneVip], OneOrMore] = Field(
        min_length=1, max_length=MAX_VIPS,
        description="what clients dial, or a list of it: ADDR:PORT or ADDR:LOW-HIGH with /tcp (if "
        "nothing is said), /udp or /any for both; ADDR for all but ICMP; ADDR/PROTO; IPv6 with "
        "ports in brackets; any: all that is forwarded from the interfaces, by MAC (mode dsr)",
    )  # fmt: skip
    mode: Annotated[Mode, MODES] = Field(
        description="nat: rewrite addresses and ports; dsr: rewrite the MAC, the backend answers "
        "the client; tunnel: IP-in-IP, the backend answers the client"
    )
    scheduler: Annotated[Scheduler, _words(Scheduler)] = Field(
        default=Scheduler.RR,
        description="rr: smooth weighted round robin; lc: least connections; sed: shortest "
        "expected delay; nq: an idle one first, else sed; p2c: the better of two at random; "
        "source: by the client's address; maglev: by the 5-tuple; hash: see hash",
    )
    hash: Annotated[str | None, Text("what is hashed", _hash_text)] = Field(
        default=None,
        description="what scheduler hash goes by: mac, source[/N[/M]] (so many bits of an IPv4 "
        "address, of an IPv6 one), addresses or 5-tuple (if nothing is said), the last two with "
        ",symmetric the same for both directions",
    )
    one_packet: Boolean = Field(
        default=False, description="UDP: choose a backend for each datagram, as for DNS"
    )
    pick_up: Annotated[bool | None, Switch()] = Field(
        default=None,
        description="take up TCP connections that are under way; if nothing is said, where the "
        "scheduler knows where they went before (source, maglev, hash) and there is no snat",
    )
    persist: Seconds = Field(
        default=0,
        description="seconds for which a client stays with its backend after its last flow there "
        "has ended; 0: it does not",
    )
    persist_prefix4: Annotated[int, Whole("bits of an IPv4 address", 1, 32)] = Field(
        default=32, description="so many bits of an IPv4 address are one client to persist"
    )
    persist_prefix6: Annotated[int, Whole("bits of an IPv6 address", 1, 128)] = Field(
        default=128, description="the same of an IPv6 address"
    )
    slow_start: Seconds = Field(
        default=0,
        description="seconds in which a backend that joins or returns comes to its full weight",
    )
    on_remove: Annotated[OnRemove, _words(OnRemove)] = Field(
        default=OnRemove.RESET,
        description="what becomes of the open TCP connections of a backend that is removed: reset "
        "ends them at both ends with RST when their next packet comes, drop drops their packets, "
        "keep lets them end",
    )
    backend: list[BackendTable] = Field(
        default=[], max_length=MAX_BACKENDS, description="the machines that serve"
    )


class TimeoutsTable(Table):
    """Seconds without a packet after which a flow is forgotten, by what it is doing."""

    syn: Idle = Field(
        default=int(Timeouts().syn), description="a TCP handshake that has not completed"
    )
    tcp: Idle = Field(default=int(Timeouts().tcp), description="an open TCP connection")
    fin: Idle = Field(default=int(Timeouts().fin), description="a TCP connection that was closed")
    udp: Idle = Field(
        default=int(Timeouts().udp), description="a flow of UDP, or of another protocol"
    )


class BalancerTable(Table):
    """What is the same for all services."""

    name: Annotated[str, Text("a name", parse.parse_balancer_name)] = Field(
        default="default", description="of this balancer, among several on one machine"
    )
    interfaces: Annotated[list[Annotated[str, INTERFACE]], OneOrMore] = Field(
        default=[],
        description="interfaces to read; none: where the VIPs live and where the backends are "
        "reached",
    )
    vip_interface: Annotated[str | None, INTERFACE] = Field(
        default=None,
        description="the interface that gets the VIPs; none: the one in whose network they are",
    )
    snat: Annotated[
        list[Annotated[tuple[bytes, ...], Text("ADDR or ADDR-ADDR", parse.parse_snat)]], OneOrMore
    ] = Field(
        default=[], max_length=parse.MAX_SNAT_ADDRESSES,
        description="mode nat: ADDR or ADDR-ADDR, which replace the clients' addresses, for "
        "backends whose way back is not through this machine",
    )  # fmt: skip
    max_flows: Annotated[int, Whole("a number of flows", 1, parse.MAX_FLOWS)] = Field(
        default=parse.Config(()).max_flows, description="most flows that are remembered at a time"
    )
    timeouts: TimeoutsTable = Field(
        default=TimeoutsTable(), description="seconds after which an idle flow is forgotten"
    )
    engine: Annotated[str, OneOf({word: word for word in parse.ENGINES})] = Field(
        default="auto",
        description="what moves the packets: native, in C; python, the reference engine, slow; "
        "auto: native where it is built",
    )
    workers: Annotated[int | None, Whole("workers", 1, parse.MAX_WORKERS)] = Field(
        default=None,
        description="native: threads that move packets; none: one a core, but no more than the "
        "interfaces have receive queues",
    )
    busy_poll_us: Annotated[int, Whole("microseconds", 0, parse.MAX_BUSY_POLL_US)] = Field(
        default=0,
        description="native: microseconds that a worker goes on looking for packets before it "
        "sleeps: less latency for more CPU",
    )
    realtime: Annotated[bool | None, Switch()] = Field(
        default=None,
        description="native: workers run before all ordinary threads (SCHED_FIFO); if nothing is "
        "said, where it is allowed and there is no busy polling",
    )
    control: Annotated[str | None, Text("the path of a socket", parse.parse_path)] = Field(
        default=None, description="path of the control socket; none: /run/pktlb/NAME.sock"
    )
    control_group: Annotated[str | None, Text("the name of a group", parse.parse_group)] = Field(
        default=None,
        description="a group whose members may change things as root may; none: root alone",
    )


class Document(Table):
    """Configuration of pktlb, a packet-level load balancer."""

    balancer: BalancerTable = Field(
        default=BalancerTable(), description="what is the same for all services"
    )
    service: list[ServiceTable] = Field(
        default=[],
        max_length=parse.MAX_SERVICES,
        description="what clients dial, and who serves it",
    )
