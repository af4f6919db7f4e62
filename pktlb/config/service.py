"""A service and its backends, as the operator wants them: frozen values, checked elsewhere.

The fields are the options of `[[service]]` and `[[service.backend]]`, see `pktlb.config.option`.
"""

from dataclasses import dataclass, field
from typing import Final

from pktlb.config.bounds import MAX_FLOWS, MAX_SECONDS, MAX_VIPS
from pktlb.config.kinds import Many, OneOf, Switch, Text, Whole
from pktlb.config.option import Beside, option
from pktlb.config.text import check_hash, hash_text, parse_end, parse_name, parse_vip
from pktlb.model import (
    HASHES,
    WHOLE_FLOW,
    Endpoint,
    HashOn,
    Mode,
    OnRemove,
    Proto,
    Scheduler,
    Vip,
)

_NAME: Final = Text("a name", parse_name, "NAME")
_MODE: Final = OneOf(Mode, "MODE")
_SECONDS: Final = Whole("seconds", 0, MAX_SECONDS, "seconds")
_CONNECTIONS: Final = Whole("a number of connections", 0, MAX_FLOWS)


@dataclass(frozen=True, slots=True)
class Backend:
    """A machine that serves."""

    endpoint: Endpoint = field(
        metadata=option(
            Text("an address such as 10.0.2.11 or 10.0.2.11:8080", parse_end, "ADDR[:PORT]"),
            "ADDR or ADDR:PORT, IPv6 with a port in brackets; without a port, the one that was "
            "dialled",
            key="address", show=str,
        )
    )  # fmt: skip
    weight: int = field(
        default=1,
        metadata=option(
            Whole("a weight", 0, 65535),
            "share of new flows relative to the other backends; 0 takes none",
        ),
    )
    name: str = field(
        default="",
        metadata=option(
            _NAME, "what schedulers that hash know it by, instead of its address",
            flag="--backend-name",
        ),
    )  # fmt: skip
    mode: Mode | None = field(
        default=None,
        metadata=option(_MODE, "how frames are sent on to this one, where not as its service says"),
    )
    drain: bool = field(
        default=False,
        metadata=option(
            Switch(), "it takes no new flows, whatever its weight; its open flows finish"
        ),
    )
    max_connections: int = field(
        default=0,
        metadata=option(
            _CONNECTIONS, "with so many open flows it takes no more; 0: any number", short="max"
        ),
    )
    resume_connections: int = field(
        default=0,
        metadata=option(
            _CONNECTIONS,
            "it takes new ones again when there are fewer than this; 0: three quarters of "
            "max_connections",
            short="resume",
            beside=(
                Beside("max_connections as well", lambda backend: backend.max_connections > 0),
            ),
        ),
    )


def _hashes_as_it_should(service: "Service") -> bool:
    """Whether what is hashed is the scheduler's own choice, or the scheduler takes any."""
    usual = HASHES.get(service.scheduler, WHOLE_FLOW)
    return service.scheduler is Scheduler.HASH or service.hash_on == usual


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Service:
    """What clients dial, and the backends that serve it."""

    name: str = field(
        default="", kw_only=True,
        metadata=option(
            _NAME,
            "what commands call it; none: its VIP. Services of the same name are changed together",
            flag="--service-name",
        ),
    )  # fmt: skip
    vip: Vip = field(
        metadata=option(
            Many(
                Text(
                    "what clients dial, such as 203.0.113.10:80 or [2001:db8::10]:53/udp",
                    parse_vip, "ADDR[:PORT[-PORT]][/PROTO]",
                ),
                list, "what clients dial, such as 203.0.113.10:80", 1, MAX_VIPS,
            ),
            "what clients dial: ADDR:PORT or ADDR:LOW-HIGH with /tcp (if nothing "
            "is said), /udp or /any for both; ADDR for all but ICMP; ADDR/PROTO; IPv6 with ports "
            "in brackets; any: all that is forwarded from the interfaces, by MAC (mode dsr)",
            show=str,
        )
    )  # fmt: skip
    mode: Mode = field(
        metadata=option(
            _MODE,
            "nat: rewrite addresses and ports; dsr: rewrite the MAC, the backend answers the "
            "client; tunnel: IP-in-IP, the backend answers the client",
            beside=(
                Beside(
                    "dsr for the VIP any, whose frames stay as they are",
                    lambda service: service.mode is Mode.DSR or not service.vip.any,
                ),
            ),
        )
    )
    scheduler: Scheduler = field(
        metadata=option(
            OneOf(Scheduler, "RULE"),
            "rr: smooth weighted round robin; lc: least connections; sed: shortest expected delay; "
            "nq: an idle one first, else sed; p2c: the better of two at random; source: by the "
            "client's address; maglev: by the 5-tuple; hash: see hash",
            default=Scheduler.RR,
        )
    )
    backends: tuple[Backend, ...]
    hash_on: HashOn = field(
        default=WHOLE_FLOW,
        metadata=option(
            Text("what is hashed", check_hash, "FIELDS"),
            "what scheduler hash goes by: mac, source[/N[/M]] (so many bits of an IPv4 address, of "
            "an IPv6 one), addresses or 5-tuple (if nothing is said), the last two with "
            ",symmetric the same for both directions",
            key="hash", show=hash_text, default=None,
            beside=(Beside("scheduler hash", _hashes_as_it_should, got="scheduler"),),
        ),
    )  # fmt: skip
    one_packet: bool = field(
        default=False,
        metadata=option(
            Switch(), "UDP: choose a backend for each datagram, as for DNS",
            beside=(Beside("a VIP of UDP alone", lambda s: s.vip.protos == (Proto.UDP,), "vip"),),
        ),
    )  # fmt: skip
    pick_up: bool = field(
        default=False,
        metadata=option(
            Switch(),
            "take up TCP connections that are under way; if nothing is said, where the scheduler "
            "knows where they went before (source, maglev, hash) and there is no snat",
            default=None,
        ),
    )
    persist_s: int = field(
        default=0,
        metadata=option(
            _SECONDS,
            "seconds for which a client stays with its backend after its last flow there has "
            "ended; 0: it does not",
            key="persist",
            beside=(
                Beside("no one_packet, which remembers no client", lambda s: not s.one_packet),
            ),
        ),
    )
    persist4: int = field(
        default=32,
        metadata=option(
            Whole("bits of an IPv4 address", 1, 32, "bits"),
            "so many bits of an IPv4 address are one client to persist", key="persist_prefix4",
        ),
    )  # fmt: skip
    persist6: int = field(
        default=128,
        metadata=option(
            Whole("bits of an IPv6 address", 1, 128, "bits"),
            "so many bits of an IPv6 address are one client to persist", key="persist_prefix6",
        ),
    )  # fmt: skip
    slow_start_s: int = field(
        default=0,
        metadata=option(
            _SECONDS, "seconds in which a backend that joins or returns comes to its full weight",
            key="slow_start",
        ),
    )  # fmt: skip
    on_remove: OnRemove = field(
        default=OnRemove.RESET,
        metadata=option(
            OneOf(OnRemove, "WHAT"),
            "what becomes of the open TCP connections of a backend that is removed: reset ends "
            "them at both ends with RST when their next packet comes, drop drops their packets, "
            "keep lets them end",
        ),
    )

    def __str__(self) -> str:
        return str(self.vip)

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or str(self.vip)

    def mode_of(self, backend: Backend) -> Mode:
        """How frames are sent on to this backend."""
        return backend.mode or self.mode
