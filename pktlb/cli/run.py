"""`pktlb run`: flags to a `Config`.

What is about one service belongs to the --vip before it, so these flags are gathered in the order
in which they stand.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pktlb import config as parse
from pktlb.cli.arguments import Parser
from pktlb.config import Config, with_flag
from pktlb.errors import ConfigError
from pktlb.host.presence import run_until_stopped
from pktlb.model import Mode, Scheduler, Service, Timeouts
from pktlb.service import Choice, make_service

_EXAMPLE = """\
example:
  pktlb run --mode nat --vip 203.0.113.10:80 --backend 10.0.2.11:8080 \\
            --backend 10.0.2.12:8080,weight=2 --scheduler lc
"""

_CHOICES: Final = {
    "scheduler": "scheduler",
    "hash": "hash_on",
    "one_packet": "one_packet",
    "pick_up": "pick_up",
}
"Flags of a service and the fields of its `Choice`; before the first --vip, of all services."


class _InOrder(argparse.Action):
    """Append (flag, value) to the one list that the flags of services share."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, value: Any, flag: str | None = None
    ) -> None:
        value = True if self.nargs == 0 else value
        namespace.in_order = [*(namespace.in_order or []), (self.dest, value)]


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "run",
        help="balance",
        description="Balance services over backends until SIGTERM or SIGINT, then undo everything.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command, in_order=None)
    _add_services(parser)
    _add_host(parser)
    _add_limits(parser)
    _add_engine(parser)


def _add_services(parser: Parser) -> None:
    parser.add_argument(
        "--mode", required=True, choices=[mode.value for mode in Mode],
        help="nat: rewrite addresses and ports; dsr: rewrite the MAC, the backend answers the "
        "client; tunnel: IP-in-IP, the backend answers the client",
    )  # fmt: skip
    parser.add_argument(
        "--vip", action=_InOrder, metavar="ADDR[:PORT[-PORT]][/PROTO]",
        help="a service that clients dial; may be repeated, each with its own backends behind it, "
        "the most specific one counts. With ports: /tcp (default), /udp, or /any for both; "
        "without: all but ICMP, or one protocol by name or number. IPv6 with ports in brackets. "
        "'any': all that is forwarded from --interface, spread over the backends by MAC (mode dsr)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", action=_InOrder, metavar="ADDR[:PORT][,weight=N][,name=NAME]",
        help="a server of the --vip before it, on the port that was dialled unless it says "
        "another; weight 0..65535 (1), 0 takes no new flows; name: what hashes know it by (its "
        "address)",
    )  # fmt: skip
    parser.add_argument(
        "--scheduler", action=_InOrder, choices=[scheduler.value for scheduler in Scheduler],
        help="rr: smooth weighted round robin (default); lc: least connections; sed: shortest "
        "expected delay; nq: an idle one first, else sed; p2c: the better of two at random; "
        "source: by the client's address; maglev: by the 5-tuple; hash: see --hash. "
        "This and the next three: of the --vip before it; before the first one, of all",
    )  # fmt: skip
    parser.add_argument(
        "--hash", action=_InOrder, metavar="FIELDS",
        help="what --scheduler hash goes by: mac (the frame's source), source[/N[/M]] (so many "
        "bits of an IPv4 address, of an IPv6 one), addresses, or 5-tuple (default); the last two "
        "with ',symmetric' the same for both directions",
    )  # fmt: skip
    parser.add_argument(
        "--one-packet", action=_InOrder, nargs=0,
        help="UDP: choose a backend for each datagram, as for DNS",
    )  # fmt: skip
    parser.add_argument(
        "--pick-up", action=_InOrder, nargs=0,
        help="take up TCP connections that are under way, as after a restart; source, maglev and "
        "hash do so unasked. Not with --snat: the client would get another port",
    )  # fmt: skip
    parser.add_argument(
        "--snat", metavar="ADDR[-ADDR]", action="append", default=[],
        help="mode nat: also replace the client's address, for backends whose way back is not "
        "through this machine; may be repeated, for IPv4 and IPv6",
    )  # fmt: skip


def _add_host(parser: Parser) -> None:
    parser.add_argument(
        "--interface", action="append", default=[], metavar="IF",
        help="read this interface; may be repeated (default: where the VIPs live and where the "
        "backends are reached)",
    )  # fmt: skip
    parser.add_argument(
        "--vip-interface", metavar="IF",
        help="the interface that gets the VIPs (default: the one in whose network they are)",
    )  # fmt: skip


def _add_limits(parser: Parser) -> None:
    names = ",".join(f"{name}={seconds:.0f}" for name, seconds in _fields(Timeouts()))
    parser.add_argument(
        "--timeout", metavar="NAME=S,...",
        help=f"seconds after which an idle flow is forgotten (default: {names})",
    )  # fmt: skip
    parser.add_argument(
        "--max-flows", metavar="N", default=str(Config(()).max_flows),
        help="most flows that are remembered at a time (default: %(default)s)",
    )  # fmt: skip


def _add_engine(parser: Parser) -> None:
    parser.add_argument(
        "--engine", choices=["auto", "native", "python"], default="auto",
        help="what moves the packets: native, in C; python, the reference engine, slow; auto "
        "(default): native where it is built",
    )  # fmt: skip
    parser.add_argument(
        "--workers", metavar="N",
        help="native: threads that move packets (default: one a core, but no more than the "
        "interfaces have receive queues)",
    )  # fmt: skip
    parser.add_argument(
        "--busy-poll", metavar="US", default="0",
        help="native: microseconds that a worker goes on looking for packets before it sleeps: "
        "less latency for more CPU (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--realtime", action=argparse.BooleanOptionalAction,
        help="native: workers run before all ordinary threads (SCHED_FIFO), so that a busy "
        "machine neither delays packets nor loses them (default: where it is allowed and there is "
        "no --busy-poll)",
    )  # fmt: skip


def _fields(timeouts: Timeouts) -> list[tuple[str, float]]:
    return [(name, getattr(timeouts, name)) for name in Timeouts.__dataclass_fields__]


def make_config(options: argparse.Namespace) -> Config:
    """The configuration that the flags describe."""
    snat: dict[bytes, None] = {}
    for text in options.snat:
        with with_flag("--snat", text):
            snat |= dict.fromkeys(parse.parse_snat(text))
    with with_flag("--interface", " ".join(options.interface)):
        interfaces = tuple(dict.fromkeys(map(parse.parse_interface, options.interface)))
    with with_flag("--vip-interface", options.vip_interface):
        vip_interface = options.vip_interface
        if vip_interface is not None:
            parse.parse_interface(vip_interface)
    with with_flag("--timeout", options.timeout):
        timeouts = Timeouts()
        if options.timeout is not None:
            timeouts = parse.parse_timeouts(options.timeout)
    with with_flag("--max-flows", options.max_flows):
        max_flows = parse.parse_number(options.max_flows, 1, parse.MAX_FLOWS, "a number of flows")
    with with_flag("--workers", options.workers):
        workers = None
        if options.workers is not None:
            workers = parse.parse_number(options.workers, 1, parse.MAX_WORKERS, "workers")
    with with_flag("--busy-poll", options.busy_poll):
        most = parse.MAX_BUSY_POLL_US
        busy_poll_us = parse.parse_number(options.busy_poll, 0, most, "microseconds")
    return parse.check_together(
        Config(
            services=_services(options.in_order or [], Mode(options.mode), bool(snat)),
            snat=tuple(snat),
            interfaces=interfaces,
            vip_interface=vip_interface,
            timeouts=timeouts,
            max_flows=max_flows,
            engine=options.engine,
            workers=workers,
            busy_poll_us=busy_poll_us,
            realtime=options.realtime,
        )
    )


def _services(
    in_order: Sequence[tuple[str, Any]], mode: Mode, moves_ports: bool
) -> tuple[Service, ...]:  # fmt: skip
    default = Choice()
    found: list[tuple[str, Choice, list[str]]] = []
    for flag, value in in_order:
        if flag == "vip":
            found.append((value, default, []))
        elif flag == "backend" and not found:
            raise ConfigError(f"--backend {value}: expected a --vip before it")
        elif flag == "backend":
            found[-1][2].append(value)
        else:
            said: dict[str, Any] = {
                _CHOICES[flag]: Scheduler(value) if flag == "scheduler" else value
            }
            if found:
                vip, choice, backends = found[-1]
                found[-1] = vip, replace(choice, **said), backends
            else:
                default = replace(default, **said)
    return tuple(
        make_service(vip, mode, choice, backends, moves_ports) for vip, choice, backends in found
    )


def command(options: argparse.Namespace) -> None:
    """Check the flags, then work until told to stop."""
    config = make_config(options)
    from pktlb import daemon  # noqa: PLC0415 - loads netlink, which bad flags do not need

    run_until_stopped(daemon.run(config))
