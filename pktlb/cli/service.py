"""`pktlb service`: list, add, change and remove services."""

import argparse
from collections.abc import Callable, Collection, Iterable

from pktlb.cli.arguments import Commands, Parser
from pktlb.cli.asking import View, adds_force, ask, asks, change, changes, tell
from pktlb.cli.display import table
from pktlb.cli.options import (
    BACKEND_METAVAR,
    SERVICE,
    VIP,
    add_on_remove,
    add_options,
    backend_help,
    backend_keys,
    family,
    keys_given,
    meaning,
    persisting,
)
from pktlb.errors import ConfigError


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
        "--vip", action="append", required=True, metavar=VIP.kind.metavar,
        help=f"{meaning(VIP)}; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--backend", action="append", default=[], metavar=BACKEND_METAVAR,
        help=f"a server of it; may be repeated. {backend_help()}",
    )  # fmt: skip
    add_options(parser, (each for key, each in SERVICE.items() if key != "name"))
    adds_force(parser)
    changes(parser, add_service)


def _add_set(actions: Commands) -> None:
    parser = actions.add_parser(
        "set", help="change one", allow_abbrev=False,
        description="Change a service; what is not named stays as it is.",
    )  # fmt: skip
    _add_service(parser)
    add_options(parser, SERVICE.values())
    changes(parser, set_service)


def _add_remove(actions: Commands) -> None:
    parser = actions.add_parser(
        "remove", help="remove one", allow_abbrev=False,
        description="Remove a service with its backends. Its flows end as --on-remove says, or "
        "else its on_remove.",
    )  # fmt: skip
    add_on_remove(parser)
    _add_service(parser)
    changes(parser, remove_service)


def _add_service(parser: Parser) -> None:
    parser.add_argument("service", metavar="SERVICE", help="its name, or a VIP")


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
    body = _body(options, lambda: set(map(family, options.vip)))
    if options.service is not None:
        body["name"] = options.service
    body["vip"] = options.vip if len(options.vip) > 1 else options.vip[0]
    if options.backend:
        body["backend"] = [backend_keys(text) for text in options.backend]
    change(options, "POST", "services", body=body)


def set_service(options: argparse.Namespace) -> None:
    body = _body(options, lambda: _families(options))
    if not body:
        raise ConfigError("expected something to change (see `pktlb service set --help`)")
    change(options, "PATCH", "services", options.service, body=body)


def _body(options: argparse.Namespace, families: Callable[[], Collection[int]]) -> View:
    """The keys that change; `families` are asked for where bits of --persist depend on them."""
    body = keys_given(options, SERVICE.values())
    if "persist" in body:
        is_bare = str(body["persist"]).count("/") == 1
        body = persisting(body, families() if is_bare else ())
    return body


def _families(options: argparse.Namespace) -> Collection[int]:
    """The lengths (4, 16) of the addresses of a service that runs."""
    listed = ask(options, "GET", "services")["services"]
    named = [each["vip"] for each in listed if each.get("name") == options.service]
    return set(map(family, named or [options.service]))


def remove_service(options: argparse.Namespace) -> None:
    change(options, "DELETE", "services", options.service, on_remove=options.on_remove)
