"""`pktlb run`: a file, or flags, to a `Config`."""

import argparse
import os
from dataclasses import replace
from typing import Any, Final

from pktlb.cli import logs
from pktlb.cli.arguments import Parser, with_flag
from pktlb.cli.options import (
    BACKEND_METAVAR,
    SERVICE,
    VIP,
    add_option,
    backend_help,
    meaning,
    plain,
)
from pktlb.config.collector import uncollected
from pktlb.config.config import Config
from pktlb.config.kinds import Switch
from pktlb.config.option import options
from pktlb.config.text import parse_path
from pktlb.control.place import ENVIRONMENT
from pktlb.errors import ConfigError

SOCKET: Final = ENVIRONMENT
_OVER_FILE: Final = [each for each in options(Config) if each.over_file]
_IN_FILE: Final = [each for each in options(Config) if not each.over_file]

_FILE: Final = """\
PKTLB_SOCKET in the environment is another path of the control socket: it counts
for more than the file, and for less than --control."""
_SERVICES: Final = """\
Each --vip makes a service. The flags of this group that stand behind it belong
to it; before the first --vip, they belong to all services. A --mode that is
given once is that of all services, wherever it stands."""
_THE_SAME: Final = "What is the same for all services."
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
        if self.nargs == 0:
            value = flag == self.option_strings[0]  # the other one is its --no-...
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
    _add_balancer(parser)


def _add_file(parser: Parser) -> None:
    flags = ", ".join((*(each.flag for each in _OVER_FILE), "--force"))
    group = parser.add_argument_group("a file, and what may stand beside it", _FILE)
    group.add_argument(
        "-c", "--config", metavar="FILE",
        help="do what this file says (see pktlb check and pktlb schema); of all other flags, only "
        f"these may be beside it: {flags}",
    )  # fmt: skip
    for each in _OVER_FILE:
        add_option(group, each, dest=each.key)
    group.add_argument(
        "--force", action="store_true",
        help="take VIPs and --snat addresses without asking whether another machine on the link "
        "uses them",
    )  # fmt: skip


def _add_services(parser: Parser) -> None:
    group = parser.add_argument_group("services", _SERVICES)
    group.add_argument(
        "--vip", action=_InOrder, metavar=VIP.kind.metavar,
        help=f"{meaning(VIP)}. May be repeated: the most specific one counts",
    )  # fmt: skip
    group.add_argument(
        "--backend", action=_InOrder, metavar=BACKEND_METAVAR,
        help=f"a server of the --vip before it; may be repeated. {backend_help()}",
    )  # fmt: skip
    for each in SERVICE.values():
        if isinstance(each.kind, Switch):
            opposite = "--no-" + each.flag.removeprefix("--")
            add_option(group, each, opposite, action=_InOrder, nargs=0)
        else:
            add_option(group, each, action=_InOrder, choices=each.kind.words or None)


def _add_balancer(parser: Parser) -> None:
    group = parser.add_argument_group("balancer", _THE_SAME)
    for each in _IN_FILE:
        add_option(group, each, dest=each.key, choices=each.kind.words or None)


def make_config(options: argparse.Namespace) -> Config:
    """The configuration that the flags describe, or the file that they name; the environment's
    path of the control socket counts for more than the file's."""
    config = _from_flags(options) if options.config is None else _from_file(options)
    return replace(config, **_beside(options))


def _beside(options: argparse.Namespace) -> dict[str, Any]:
    """What counts for more than a file."""
    said: dict[str, Any] = {}
    for each in _OVER_FILE:
        if (text := getattr(options, each.key)) is not None:
            with with_flag(each.flag, text):
                said[each.attribute] = each.kind.check(plain(each, text))
    path = os.environ.get(SOCKET)
    if path and options.control is None:
        with with_flag(SOCKET, path):
            said["control"] = parse_path(path)
    return said


def _from_flags(options: argparse.Namespace) -> Config:
    from pktlb.cli.flags import Flags  # noqa: PLC0415 - which --help does not need
    from pktlb.config.document import understand  # noqa: PLC0415 - pydantic, which --help does not need

    flags = Flags(options)
    config, problems = understand(flags.document())
    if problems:
        raise ConfigError(flags.tell(problems[0]))
    return config


def _from_file(options: argparse.Namespace) -> Config:
    """No flags beside it: which of the two would be true is not to be guessed."""
    from pktlb.config import file  # noqa: PLC0415 - as above

    given = ["--" + dest.replace("_", "-") for dest, _ in options.in_order or ()]
    given += [each.flag for each in _IN_FILE if getattr(options, each.key) is not None]
    if given:
        raise ConfigError(
            f"{given[0]}: expected in the file, for there is --config {options.config}"
        )
    return file.load(options.config)


def _possible(options: argparse.Namespace) -> Config | ConfigError:
    """What is asked for, or why it cannot be: a process that takes over flows goes on anyway."""
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
