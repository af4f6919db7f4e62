"""What commands over the control socket share: which balancer they ask, and how they answer."""

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any

from pktlb.cli.arguments import Parser
from pktlb.cli.display import clean, counted, emit
from pktlb.control.place import DEFAULT_NAME, socket_path

View = dict[str, Any]


def asks(parser: Parser, command: Callable[[argparse.Namespace], None]) -> None:
    """The command asks a balancer that runs."""
    parser.set_defaults(command=command)
    parser.add_argument(
        "--name", default=DEFAULT_NAME, metavar="NAME",
        help="which balancer: the one whose control socket is /run/pktlb/NAME.sock (default: "
        "%(default)s; PKTLB_SOCKET names another path)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="answer in JSON, with keys that stay and raw numbers"
    )


def changes(parser: Parser, command: Callable[[argparse.Namespace], None]) -> None:
    """The command changes something."""
    asks(parser, command)
    parser.add_argument(
        "--dry-run", action="store_true",
        help="say what would change, and which flows that would touch, and leave it at that",
    )  # fmt: skip


def adds_force(parser: Parser) -> None:
    """The command may bring addresses."""
    parser.add_argument(
        "--force", action="store_true",
        help="take VIPs that another machine on the link uses; its clients are cut off from it",
    )  # fmt: skip


def ask(
    options: argparse.Namespace,
    method: str,
    *path: str,
    body: object = None,
    timeout_s: float | None = 60.0,
    **query: object,
) -> Any:
    """The balancer's answer."""
    from pktlb.control.client import Client  # noqa: PLC0415 - not for --help

    client = Client(socket_path(options.name))
    return client.ask(method, path, query, body, timeout_s)


def tell(options: argparse.Namespace, answer: Any, lines: Callable[[], Iterable[str]]) -> None:
    """The answer in JSON, or as lines for people."""
    emit(json.dumps(answer) if options.json else "\n".join(lines()))


def change(
    options: argparse.Namespace, method: str, *path: str, body: object = None,
    on_remove: str | None = None,
) -> None:  # fmt: skip
    """Ask for a change, and say what it does."""
    dry, force = options.dry_run or None, getattr(options, "force", False) or None
    answer = ask(
        options, method, *path, body=body, dry_run=dry, on_remove=on_remove, force=force
    )  # fmt: skip
    tell(options, answer, lambda: describe(answer))


def describe(change: View) -> Iterable[str]:
    """A change in words."""
    if not change["lines"]:
        yield "nothing changes"
    for line in change["lines"]:
        yield clean(line)
    moved, broken = change["flows_moved"], change["flows_broken"]
    if moved or broken:
        move, end = ("would move", "would end") if change["dry_run"] else ("moved", "ended")
        yield (
            f"of {counted(change['flows_total'], 'flow')}, {moved} {move} to another backend "
            f"and {broken} {end} ({change['clients_share']:.1%} of the clients)"
        )
    if change["restart"]:
        yield f"only a restart takes over: {', '.join(change['restart'])}"
    # a process of an earlier version has no warnings
    yield from (f"warning: {clean(text)}" for text in change.get("warnings", ()))


def given(options: argparse.Namespace, keys: Iterable[str]) -> View:
    """Those of some options that stand on the command line."""
    found = {key: getattr(options, key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}
