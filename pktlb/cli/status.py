"""`pktlb status`: how everything stands."""

import argparse
from collections.abc import Iterable

from pktlb.cli.arguments import Commands
from pktlb.cli.asking import View, ask, asks, tell
from pktlb.cli.display import clean, count, counted, size, span, table

_HEAD = (
    "BACKEND", ">WEIGHT", "STATE", ">ACTIVE", ">INACTIVE", ">CONNECTIONS", ">IN", ">OUT",
)  # fmt: skip


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "status",
        help="show services, backends and flows",
        description="Show how the services of a running balancer and their backends stand.",
        allow_abbrev=False,
    )
    asks(parser, command)


def command(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "status")
    tell(options, answer, lambda: lines(answer))


def lines(status: View) -> Iterable[str]:
    """A line for each service, and below it the table of its backends."""
    for service in status["services"]:
        named = [service["name"]] if service["name"] != service["vip"] else []
        yield clean("  ".join([*named, service["vip"], service["mode"], service["scheduler"]]))
        rows = [_row(backend) for backend in service["backends"]]
        yield from table(_HEAD, rows, indent="  ", state=2) if rows else ["  no backends"]
        yield ""
    yield (
        f"{counted(status['flows'], 'flow')} of at most {status['max_flows']}, "
        f"engine {status['engine']} on {', '.join(map(clean, status['interfaces']))}, "
        f"up {span(status['uptime_s'])}"
    )
    # a process of an earlier version does not say what it holds
    if "capabilities" in status:
        yield f"holds {', '.join(status['capabilities']) or 'no capability'}"


def _row(backend: View) -> tuple[object, ...]:
    weight = backend["weight"]
    if backend["state"] == "starting":
        weight = f"{backend['weight_now']:g}/{weight}"
    return (
        backend["address"], weight, backend["state"], backend["active"], backend["inactive"],
        count(backend["connections"]), size(backend["bytes_in"]), size(backend["bytes_out"]),
    )  # fmt: skip
