"""`pktlb backend`: add, change, drain and remove the backends of a service."""

import argparse
from collections.abc import Iterable

from pktlb.cli.arguments import Commands, Parser, seconds
from pktlb.cli.asking import View, ask, change, changes, tell
from pktlb.cli.display import counted, span
from pktlb.cli.options import BACKEND, add_on_remove, add_options, keys_given
from pktlb.errors import ConfigError


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "backend",
        help="add, change, drain and remove backends",
        description="Add, change, drain and remove the backends of a service.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add = _action(actions, "add", "add one", "Add a backend to a service.")
    add_options(add, BACKEND.values())
    changes(add, add_backend)
    update = _action(
        actions, "set", "change one", "Change a backend; what is not named stays as it is."
    )
    add_options(update, BACKEND.values())
    changes(update, set_backend)
    drain = _action(
        actions, "drain", "give it no new flows",
        "Give a backend no new flows, whatever its weight; its open flows go on.",
    )  # fmt: skip
    changes(drain, drain_backend)
    undrain = _action(actions, "undrain", "give it new flows again", "The end of a drain.")
    changes(undrain, undrain_backend)
    _add_remove(actions)


def _action(actions: Commands, name: str, what: str, sentence: str) -> Parser:
    parser: Parser = actions.add_parser(name, help=what, description=sentence, allow_abbrev=False)
    parser.add_argument("service", metavar="SERVICE", help="name of the service, or a VIP")
    parser.add_argument("address", metavar="ADDR[:PORT]", help="the backend")
    return parser


def _add_remove(actions: Commands) -> None:
    parser = _action(
        actions, "remove", "remove one",
        "Remove a backend. Its flows end as --on-remove says, or else its service's on_remove; "
        "with --drain they may end by themselves before.",
    )  # fmt: skip
    add_on_remove(parser)
    parser.add_argument(
        "--drain", action="store_true",
        help="drain it, and remove it when its last flow has ended; Ctrl-C leaves it drained",
    )  # fmt: skip
    parser.add_argument(
        "--within", type=seconds, metavar="TIME",
        help="with --drain: wait for so long at most (300, 300s, 5m, 1h), then cut what is left",
    )  # fmt: skip
    changes(parser, remove_backend)


def add_backend(options: argparse.Namespace) -> None:
    body = {"address": options.address, **keys_given(options, BACKEND.values())}
    change(options, "POST", "services", options.service, "backends", body=body)


def set_backend(options: argparse.Namespace) -> None:
    body = keys_given(options, BACKEND.values())
    if not body:
        raise ConfigError("expected something to change (see `pktlb backend set --help`)")
    _update(options, body)


def drain_backend(options: argparse.Namespace) -> None:
    _update(options, {"drain": True})


def undrain_backend(options: argparse.Namespace) -> None:
    _update(options, {"drain": False})


def _update(options: argparse.Namespace, body: View) -> None:
    change(options, "PATCH", "services", options.service, "backends", options.address, body=body)


def remove_backend(options: argparse.Namespace) -> None:
    path = ("services", options.service, "backends", options.address)
    if options.within is not None and not options.drain:
        raise ConfigError("--within: expected --drain before it")
    if not options.drain or options.dry_run:
        change(options, "DELETE", *path, on_remove=options.on_remove)
        return
    answer = ask(
        options, "DELETE", *path, timeout_s=None, drain=True, within=options.within,
        on_remove=options.on_remove,
    )  # fmt: skip
    tell(options, answer, lambda: _removal(options.address, answer))


def _removal(address: str, answer: View) -> Iterable[str]:
    waited, cut = span(answer["waited_s"]), answer["flows_cut"]
    end = f"{counted(cut, 'flow')} cut" if cut else "no flow was cut"
    yield f"backend {address} removed after {waited}, {end}"
