"""`pktlb flow`: list, count and forget flows."""

import argparse
from collections.abc import Iterable

from pktlb.cli.arguments import Commands, Parser, seconds
from pktlb.cli.asking import View, ask, asks, changes, given, tell
from pktlb.cli.display import counted, span, table
from pktlb.errors import ConfigError

_FILTERS = ("client", "vip", "backend", "service", "state", "proto", "min_idle")
_HEAD = ("PROTO", "CLIENT", "VIP", "BACKEND", "MODE", "STATE", ">IDLE")


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "flow",
        help="list, count and end flows",
        description="List, count and end the flows that a running balancer remembers.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser(
        "list", help="list them", allow_abbrev=False, description="List flows, all filters given."
    )
    _add_filters(show)
    show.add_argument(
        "--limit", type=int, metavar="N", default=1000,
        help="so many at most (default: %(default)s)",
    )  # fmt: skip
    asks(show, list_flows)
    count = actions.add_parser(
        "count", help="count them", allow_abbrev=False, description="Count flows."
    )
    _add_filters(count)
    asks(count, count_flows)
    kill = actions.add_parser(
        "kill", help="end them", allow_abbrev=False,
        description="Forget flows. Takes a filter, or --all.",
    )  # fmt: skip
    _add_filters(kill)
    kill.add_argument("--all", action="store_true", help="every flow")
    changes(kill, kill_flows)


def _add_filters(parser: Parser) -> None:
    parser.add_argument("--client", metavar="ADDR[:PORT|/BITS]", help="of these clients")
    parser.add_argument("--vip", metavar="ADDR[:PORT]", help="to this end")
    parser.add_argument("--backend", metavar="ADDR[:PORT]", help="with this backend")
    parser.add_argument("--service", metavar="SERVICE", help="of the service of this name or VIP")
    parser.add_argument("--state", metavar="STATE", help="in this state, as the list names it")
    parser.add_argument("--proto", metavar="PROTO", help="of this protocol: tcp, udp, a number")
    parser.add_argument(
        "--min-idle", type=seconds, metavar="TIME", help="without a packet for so long (90, 5m)"
    )


def list_flows(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "flows", limit=options.limit, **given(options, _FILTERS))
    tell(options, answer, lambda: _lines(answer))


def _lines(answer: View) -> Iterable[str]:
    flows = answer["flows"]
    yield from table(
        _HEAD,
        [
            (f["proto"], f["client"], f["vip"], f["backend"], f["mode"], f["state"],
             span(f["idle_s"]))
            for f in flows
        ],
    )  # fmt: skip
    if len(flows) < answer["total"]:
        yield f"{len(flows)} of {counted(answer['total'], 'flow')} (see --limit)"


def count_flows(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "flows", "count", **given(options, _FILTERS))
    tell(options, answer, lambda: [str(answer["total"])])


def kill_flows(options: argparse.Namespace) -> None:
    chosen = given(options, _FILTERS)
    if not chosen and not options.all:
        raise ConfigError("expected a filter, or --all (see `pktlb flow kill --help`)")
    answer = ask(
        options, "DELETE", "flows", dry_run=options.dry_run or None, all=options.all or None,
        **chosen,
    )  # fmt: skip
    would = "would end" if options.dry_run else "ended"
    tell(options, answer, lambda: [f"{counted(answer['killed'], 'flow')} {would}"])
