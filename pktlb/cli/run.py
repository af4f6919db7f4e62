"""`pktlb run`: a file, or flags, to a `Config`."""

import argparse
import os
from dataclasses import replace
from typing import Any, Final

from pktlb.cli import logs
from pktlb.cli.arguments import Parser
from pktlb.cli.flags import BALANCER, Flags
from pktlb.config.collector import uncollected
from pktlb.config.config import (
    ENGINES,
    Config,
    parse_balancer_name,
    parse_group,
    parse_path,
    with_flag,
)
from pktlb.errors import ConfigError
from pktlb.model import Mode, OnRemove, Scheduler, Timeouts

SOCKET: Final = "PKTLB_SOCKET"
"The environment's path of the control socket."
_BESIDE: Final = {
    "name": parse_balancer_name,
    "control": parse_path,
    "control_group": parse_group,
}
"Keys of `[balancer]` whose flags may stand beside --config, and how they are checked."

_EXAMPLE = """\
example:
  pktlb run --mode nat --vip 203.0.113.10:80 --backend 10.0.2.11:8080 \\
            --backend 10.0.2.12:8080,weight=2 --scheduler lc
  pktlb run -c /etc/pktlb/pktlb.toml
"""


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
        description="Balance services over backends until SIGTERM or SIGINT, then undo everything. "
        "What to balance is in a file, or in flags; with neither, it waits for commands.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command, in_order=None)
    _add_file(parser)
    _add_services(parser)
    _add_policy(parser)
    _add_host(parser)
    _add_limits(parser)
    _add_engine(parser)


def _add_file(parser: Parser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE",
        help="do what this file says (see pktlb check and pktlb schema); of the flags below, only "
        "--name, --control and --control-group may be beside it",
    )  # fmt: skip
    parser.add_argument(
        "--name", metavar="NAME",
        help="of this balancer, among several on one machine (default: default)",
    )  # fmt: skip
    parser.add_argument(
        "--control", metavar="PATH",
        help=f"path of the control socket (default: that in {SOCKET}, or /run/pktlb/NAME.sock)",
    )  # fmt: skip
    parser.add_argument(
        "--control-group", metavar="GROUP",
        help="a group whose members may change things, as root may (default: root alone)",
    )  # fmt: skip


def _add_services(parser: Parser) -> None:
    parser.add_argument(
        "--mode", action=_InOrder, choices=[mode.value for mode in Mode],
        help="nat: rewrite addresses and ports; dsr: rewrite the MAC, the backend answers the "
        "client; tunnel: IP-in-IP, the backend answers the client. Given once, it is that of all "
        "services; more often, each is of the --vip before it",
    )  # fmt: skip
    parser.add_argument(
        "--vip", action=_InOrder, metavar="ADDR[:PORT[-PORT]][/PROTO]",
        help="a service that clients dial; may be repeated, each with its own backends behind it, "
        "the most specific one counts. With ports: /tcp (default), /udp, or /any for both; "
        "without: all but ICMP, or one protocol by name or number. IPv6 with ports in brackets. "
        "'any': all that is forwarded from --interface, spread over the backends by MAC (mode dsr)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", action=_InOrder, metavar="ADDR[:PORT][,weight=N][,OPTION...]",
        help="a server of the --vip before it, on the port that was dialled unless it says "
        "another; weight 0..65535 (1), 0 takes no new flows; name=NAME: what hashes know it by "
        "(its address); mode=MODE: its own mode; max=N: no more open flows than this; resume=N: "
        "new ones again below this (three quarters of max); drain: takes no new flows",
    )  # fmt: skip
    parser.add_argument(
        "--scheduler", action=_InOrder, choices=[scheduler.value for scheduler in Scheduler],
        help="rr: smooth weighted round robin (default); lc: least connections; sed: shortest "
        "expected delay; nq: an idle one first, else sed; p2c: the better of two at random; "
        "source: by the client's address; maglev: by the 5-tuple; hash: see --hash. "
        "This and all up to --on-remove: of the --vip before it; before the first one, of all",
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


def _add_policy(parser: Parser) -> None:
    parser.add_argument(
        "--persist", action=_InOrder, metavar="SECONDS[/BITS[/BITS]]",
        help="so long after its last flow a client comes to the same backend again; so many bits "
        "of an IPv4 address, of an IPv6 one, are one client (all)",
    )  # fmt: skip
    parser.add_argument(
        "--slow-start", action=_InOrder, metavar="SECONDS",
        help="time in which a backend that joins or returns comes to its full weight (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--on-remove", action=_InOrder, choices=[each.value for each in OnRemove],
        help="what becomes of the open TCP connections of a backend that is removed: reset "
        "(default) answers them with RST, drop drops their packets, keep lets them end",
    )  # fmt: skip
    parser.add_argument(
        "--service-name", action=_InOrder, metavar="NAME",
        help="what commands call the service (default: its VIP)",
    )  # fmt: skip
    parser.add_argument(
        "--snat", metavar="ADDR[-ADDR]", action="append",
        help="mode nat: also replace the client's address, for backends whose way back is not "
        "through this machine; may be repeated, for IPv4 and IPv6",
    )  # fmt: skip


def _add_host(parser: Parser) -> None:
    parser.add_argument(
        "--interface", action="append", dest="interfaces", metavar="IF",
        help="read this interface; may be repeated (default: where the VIPs live and where the "
        "backends are reached)",
    )  # fmt: skip
    parser.add_argument(
        "--vip-interface", metavar="IF",
        help="the interface that gets the VIPs (default: the one in whose network they are)",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true",
        help="take VIPs and --snat addresses without asking whether another machine on the link "
        "uses them",
    )  # fmt: skip


def _add_limits(parser: Parser) -> None:
    names = ",".join(f"{name}={seconds:.0f}" for name, seconds in _fields(Timeouts()))
    parser.add_argument(
        "--timeout", dest="timeouts", metavar="NAME=S,...",
        help=f"seconds after which an idle flow is forgotten (default: {names})",
    )  # fmt: skip
    parser.add_argument(
        "--max-flows", metavar="N",
        help=f"most flows that are remembered at a time (default: {Config(()).max_flows})",
    )  # fmt: skip


def _add_engine(parser: Parser) -> None:
    parser.add_argument(
        "--engine", choices=ENGINES,
        help="what moves the packets: native, in C; python, the reference engine, slow; auto "
        "(default): native where it is built",
    )  # fmt: skip
    parser.add_argument(
        "--workers", metavar="N",
        help="native: threads that move packets (default: one a core, but no more than the "
        "interfaces have receive queues)",
    )  # fmt: skip
    parser.add_argument(
        "--busy-poll", dest="busy_poll_us", metavar="US",
        help="native: microseconds that a worker goes on looking for packets before it sleeps: "
        "less latency for more CPU (default: 0)",
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
    """The configuration that the flags describe, or the file that they name; the environment's
    path of the control socket counts for more than the file's."""
    config = _from_flags(options) if options.config is None else _from_file(options)
    return replace(config, **_beside(options))


def _beside(options: argparse.Namespace) -> dict[str, Any]:
    """What counts for more than a file."""
    said: dict[str, Any] = {}
    for key, check in _BESIDE.items():
        if (text := getattr(options, key)) is not None:
            with with_flag(BALANCER[key], text):
                said[key] = check(text)
    path = os.environ.get(SOCKET)
    if path and options.control is None:
        with with_flag(SOCKET, path):
            said["control"] = parse_path(path)
    return said


def _from_flags(options: argparse.Namespace) -> Config:
    from pktlb.config.document import understand  # noqa: PLC0415 - pydantic, which --help does not need

    flags = Flags(options)
    config, problems = understand(flags.document())
    if problems:
        raise ConfigError(flags.tell(problems[0]))
    return config


def _from_file(options: argparse.Namespace) -> Config:
    """No flags beside it: which of the two would be true is not to be guessed."""
    from pktlb.config import file  # noqa: PLC0415 - as above

    given = [flag for flag, _ in options.in_order or ()]
    given += [key for key in BALANCER if key not in _BESIDE and getattr(options, key) is not None]
    if given:
        flag = BALANCER.get(given[0], "--" + given[0].replace("_", "-"))
        raise ConfigError(f"{flag}: expected in the file, for there is --config {options.config}")
    return file.load(options.config)


def _possible(options: argparse.Namespace) -> Config | ConfigError:
    """What is asked for, or why it cannot be: who has taken over flows goes on all the same."""
    try:
        return make_config(options)
    except ConfigError as error:
        from pktlb.daemon.restart.successor import is_expected  # noqa: PLC0415

        if not is_expected():
            raise
        return error


def command(options: argparse.Namespace) -> None:
    """Check what is asked for, then work until told to stop."""
    with uncollected():  # a fifth of the time that a start takes
        config = _possible(options)
        logs.to_stderr()
        from pktlb.daemon import run as daemon  # noqa: PLC0415 - loads netlink, which bad flags do not need
        from pktlb.daemon.restart.successor import is_trial, pass_trial  # noqa: PLC0415
        from pktlb.host.presence import run_until_stopped  # noqa: PLC0415 - asyncio

    if is_trial():
        daemon.load_server()
        pass_trial()
    else:
        beside = _beside(options)
        run_until_stopped(daemon.run(config, options.config, beside, options.force))
