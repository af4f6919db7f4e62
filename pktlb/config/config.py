"""What the operator asked for: frozen values, checked elsewhere.

The fields of `Config` are the options of `[balancer]`, see `pktlb.config.option`.
`pktlb.config.conflicts` checks what only shows when all is seen, `pktlb.plan.placement` what needs
a look at the machine.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Final

from pktlb.config.bounds import MAX_FLOWS, MAX_SECONDS, MAX_SNAT_ADDRESSES
from pktlb.config.group import Group
from pktlb.config.kinds import Many, OneOf, Switch, Text, Whole, distinct
from pktlb.config.option import Beside, Option, option
from pktlb.config.service import Service
from pktlb.config.text import (
    parse_balancer_name,
    parse_group,
    parse_interface,
    parse_path,
    parse_snat,
    ranges,
)
from pktlb.model import Timeouts

_INTERFACE: Final = Text("the name of an interface", parse_interface, "IF")
_NATIVE: Final = "engine native, python knows no workers"
_IDLE: Final = Whole("seconds", 1, MAX_SECONDS, "seconds")

_SECONDS: Final = Timeouts()
TIMEOUTS: Final = tuple(
    Option(
        attribute=each.name, key=each.name, flag="", short="", kind=_IDLE, show=int, live=False,
        sentence=each.metadata["sentence"],
        usual=getattr(_SECONDS, each.name), default=int(getattr(_SECONDS, each.name)),
    )
    for each in fields(Timeouts)
)  # fmt: skip
"The keys of `[balancer.timeouts]`: whole seconds each."


def _flattened(parts: Iterable[Iterable[bytes]]) -> tuple[bytes, ...]:
    return distinct(address for part in parts for address in part)


def _timeouts(**seconds: int) -> Timeouts:
    return Timeouts(**{key: float(value) for key, value in seconds.items()})


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `pktlb run` is told."""

    services: tuple[Service, ...]
    name: str = field(
        default="default",
        metadata=option(
            Text("a name", parse_balancer_name, "NAME"),
            "of this balancer, among several on one machine", live=False, over_file=True,
        ),
    )  # fmt: skip
    interfaces: tuple[str, ...] = field(
        default=(),
        metadata=option(
            Many(_INTERFACE),
            "interfaces to read; none: where the VIPs live and where the backends are reached",
            flag="--interface",
        ),
    )
    vip_interface: str | None = field(
        default=None,
        metadata=option(
            _INTERFACE, "the interface that gets the VIPs; none: the one in whose network they are"
        ),
    )
    snat: tuple[bytes, ...] = field(
        default=(),
        metadata=option(
            Many(
                Text("ADDR or ADDR-ADDR", parse_snat, "ADDR[-ADDR]"), _flattened,
                high=MAX_SNAT_ADDRESSES,
            ),
            "mode nat: ADDR or ADDR-ADDR, which replace the clients' addresses, for backends whose "
            "way back is not through this machine",
            show=ranges, live=False,
        ),
    )  # fmt: skip
    max_flows: int = field(
        default=262144,
        metadata=option(
            Whole("a number of flows", 1, MAX_FLOWS),
            "most flows that are remembered at a time", live=False,
        ),
    )  # fmt: skip
    timeouts: Timeouts = field(
        default=Timeouts(),
        metadata=option(
            Group(
                Timeouts, TIMEOUTS, "NAME=SECONDS[,...]",
                "Seconds without a packet after which a flow is forgotten, by what it is doing.",
                _timeouts,
            ),
            "seconds after which an idle flow is forgotten", flag="--timeout", live=False,
        ),
    )  # fmt: skip
    engine: str = field(
        default="auto",
        metadata=option(
            OneOf({word: word for word in ("auto", "native", "python")}, "ENGINE"),
            "what moves the packets: native, in C; python, the reference engine, slow; auto: "
            "native where it is built",
            live=False,
        ),
    )
    workers: int | None = field(
        default=None,
        metadata=option(
            Whole("workers", 1, 63),
            "native: threads that move packets; none: one a core, but no more than the interfaces "
            "have receive queues",
            live=False,
            beside=(
                Beside(
                    _NATIVE,
                    lambda config: config.engine != "python" or config.workers == 1,
                ),
            ),
        ),
    )
    busy_poll_us: int = field(
        default=0,
        metadata=option(
            Whole("microseconds", 0, 1_000_000, "us"),
            "native: microseconds that a worker goes on looking for packets before it sleeps: "
            "less latency for more CPU",
            flag="--busy-poll", live=False,
            beside=(
                Beside(
                    _NATIVE,
                    lambda config: config.engine != "python",
                ),
            ),
        ),
    )  # fmt: skip
    realtime: bool | None = field(
        default=None,
        metadata=option(
            Switch(),
            "native: workers run before all ordinary threads (SCHED_FIFO), so that a busy machine "
            "neither delays packets nor loses them; if nothing is said, where it is allowed and "
            "there is no busy polling",
            live=False,
            beside=(
                Beside(
                    _NATIVE,
                    lambda config: config.engine != "python" or not config.realtime,
                ),
                Beside(
                    "no busy polling, for the kernel's threads that bring packets would never run",
                    lambda config: not (config.realtime and config.busy_poll_us),
                ),
            ),
        ),
    )
    control: str | None = field(
        default=None,
        metadata=option(
            Text("the path of a socket", parse_path, "PATH"),
            "path of the control socket; none: /run/pktlb/NAME.sock",
            live=False, over_file=True,
        ),
    )  # fmt: skip
    control_group: str | None = field(
        default=None,
        metadata=option(
            Text("the name of a group", parse_group, "GROUP"),
            "a group whose members may change things as root may; none: root alone",
            live=False, over_file=True,
        ),
    )  # fmt: skip
