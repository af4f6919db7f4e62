"""`pktlb service`: list, add, change and remove services."""

import argparse
from collections.abc import Iterable
from typing import Any

from pktlb.cli.arguments import Commands, Parser
from pktlb.cli.asking import View, adds_force, adds_policy, ask, asks, change, changes, given, tell
from pktlb.cli.display import table
from pktlb.errors import ConfigError

_KEYS = (
    "mode", "scheduler", "hash", "one_packet", "pick_up", "persist", "persist_prefix4",
    "persist_prefix6", "slow_start", "on_remove",
)  # fmt: skip
_NUMBERS = {"weight": "weight", "max": "max_connections", "resume": "resume_connections"}
"Options of --backend and their keys in the file."


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "service",
        help="list, add, change and remove services",
        description="List, add, change and remove services of a running balancer.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_list(actions)
    _add_add(actions)
    _add_set(actions)
    _add_remove(actions)


def _add_list(actions: Commands) -> None:
    parser = actions.add_parser(
        "list", help="list them", description="List the services.", allow_abbrev=False
    )
    asks(parser, list_services)


def _add_add(actions: Commands) -> None:
    parser = actions.add_parser(
        "add", help="add one", allow_abbrev=False,
        description="Add a service. Keys and values are those of [[service]] in the file.",
    )  # fmt: skip
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="its name (default: its VIP)")
    parser.add_argument(
        "--vip", action="append", required=True, metavar="ADDR[:PORT[-PORT]][/PROTO]",
        help="what clients dial; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--backend", action="append", default=[], metavar="ADDR[:PORT][,weight=N][,...]",
        help="a server of it; may be repeated; with options as in `pktlb run`",
    )  # fmt: skip
    _add_keys(parser)
    adds_force(parser)
    changes(parser, add_service)


def _add_set(actions: Commands) -> None:
    parser = actions.add_parser(
        "set", help="change one", allow_abbrev=False,
        description="Change a service; what is not named stays as it is.",
    )  # fmt: skip
    _add_service(parser)
    parser.add_argument("--service-name", metavar="NAME", help="another name")
    _add_keys(parser)
    changes(parser, set_service)


def _add_remove(actions: Commands) -> None:
    parser = actions.add_parser(
        "remove", help="remove one", allow_abbrev=False,
        description="Remove a service with its backends. Its flows end as --on-remove says, or "
        "else its on_remove.",
    )  # fmt: skip
    adds_policy(parser)
    _add_service(parser)
    changes(parser, remove_service)


def _add_service(parser: Parser) -> None:
    parser.add_argument("service", metavar="SERVICE", help="its name, or a VIP")


def _add_keys(parser: Parser) -> None:
    parser.add_argument("--mode", metavar="MODE", help="nat, dsr or tunnel")
    parser.add_argument("--scheduler", metavar="RULE", help="as in `pktlb run`")
    parser.add_argument("--hash", metavar="FIELDS", help="what --scheduler hash goes by")
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--one-packet", action=switch, help="UDP: each datagram is a flow")
    parser.add_argument("--pick-up", action=switch, help="take up connections under way")
    parser.add_argument(
        "--persist", type=int, metavar="S", help="seconds a client stays with its backend"
    )
    parser.add_argument(
        "--persist-prefix4", type=int, metavar="BITS", help="of IPv4 that are one client"
    )
    parser.add_argument(
        "--persist-prefix6", type=int, metavar="BITS", help="of IPv6 that are one client"
    )
    parser.add_argument(
        "--slow-start", type=int, metavar="S", help="seconds to the full weight of a backend"
    )
    parser.add_argument(
        "--on-remove", metavar="WHAT",
        help="what becomes of TCP connections of a backend that is removed: reset, drop or keep",
    )  # fmt: skip


def list_services(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "services")
    tell(options, answer, lambda: _lines(answer))


def _lines(answer: View) -> Iterable[str]:
    rows = [
        (s.get("name", "-"), s["vip"], s["mode"], s["scheduler"], len(s.get("backend", [])))
        for s in answer["services"]
    ]
    return table(("NAME", "VIP", "MODE", "SCHEDULER", ">BACKENDS"), rows)


def add_service(options: argparse.Namespace) -> None:
    body = given(options, _KEYS)
    if options.service is not None:
        body["name"] = options.service
    body["vip"] = options.vip if len(options.vip) > 1 else options.vip[0]
    if options.backend:
        body["backend"] = [_backend(text) for text in options.backend]
    change(options, "POST", "services", body=body)


def _backend(text: str) -> View:
    address, *items = text.split(",")
    found: dict[str, Any] = {"address": address}
    for item in items:
        key, equals, value = item.partition("=")
        if key == "drain" and not equals:
            found[key] = True
        elif key in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 20:
            found[_NUMBERS[key]] = int(value)
        elif key in ("name", "mode") and value:
            found[key] = value
        else:
            raise ConfigError(
                f"--backend {text}: expected weight=N, name=NAME, mode=MODE, max=N, resume=N or "
                f"drain, got {item!r}"
            )
    return found


def set_service(options: argparse.Namespace) -> None:
    body = given(options, _KEYS)
    if options.service_name is not None:
        body["name"] = options.service_name
    if not body:
        raise ConfigError("expected something to change (see `pktlb service set --help`)")
    change(options, "PATCH", "services", options.service, body=body)


def remove_service(options: argparse.Namespace) -> None:
    change(options, "DELETE", "services", options.service, on_remove=options.on_remove)
