"""`pktlb stats`: what was counted, or how fast it grows."""

import argparse
from collections.abc import Iterable

from pktlb.cli.arguments import Commands, seconds
from pktlb.cli.asking import View, ask, asks, tell
from pktlb.cli.display import clean, count, counted, size, span, table

_COUNTED = ("connections", "packets_in", "bytes_in", "packets_out", "bytes_out")
_HEAD = (
    "SERVICE", "BACKEND", ">CONNECTIONS", ">PACKETS IN", ">BYTES IN", ">PACKETS OUT", ">BYTES OUT",
)  # fmt: skip
_RATES = ("SERVICE", "BACKEND", ">CONN/S", ">PKT IN/S", ">B IN/S", ">PKT OUT/S", ">B OUT/S")


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "stats",
        help="show packets, bytes and connections, or their rates",
        description="Show what services and backends have had, and what became of all frames.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--watch", type=seconds, nargs="?", const=1, metavar="TIME",
        help="show the rates, again and again after so long (default: 1s)",
    )  # fmt: skip
    asks(parser, command)


def command(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "stats")
    if options.watch is None:
        tell(options, answer, lambda: _totals(answer))
        return
    import time  # noqa: PLC0415 - not for --help

    while True:
        time.sleep(max(options.watch, 1))
        before, answer = answer, ask(options, "GET", "stats")
        now = rates(before, answer)
        tell(options, now, lambda now=now: [*_rows(_RATES, now), ""])  # type: ignore[misc]


def rates(before: View, after: View) -> View:
    """Per second, from one answer to the next; what was set to 0 in between counts from there."""
    taken = max(after["time"] - before["time"], 1e-6)
    known = {
        (service["vip"], backend["address"]): backend
        for service in before["services"]
        for backend in service["backends"]
    }

    def rate(new: View, old: View | None) -> View:
        return {
            key: round(_grown(new[key], old[key] if old else new[key]) / taken, 3)
            for key in _COUNTED
        }

    old_services = {service["vip"]: service for service in before["services"]}
    return {
        "version": after["version"],
        "time": after["time"],
        "interval_s": round(taken, 3),
        "totals": rate(after["totals"], before["totals"]),
        "services": [
            {
                "name": s["name"],
                "vip": s["vip"],
                **rate(s, old_services.get(s["vip"])),
                "backends": [
                    {"address": b["address"], **rate(b, known.get((s["vip"], b["address"])))}
                    for b in s["backends"]
                ],
            }
            for s in after["services"]
        ],
        "flows": after["flows"],
        "reasons": {
            name: round(_grown(number, before["reasons"].get(name, 0)) / taken, 3)
            for name, number in after["reasons"].items()
        },
    }


def _grown(new: float, old: float) -> float:
    return new - old if new >= old else new


def _totals(stats: View) -> Iterable[str]:
    yield from _rows(_HEAD, stats)
    reasons = [(name, count(number)) for name, number in stats["reasons"].items() if number]
    if reasons:
        yield ""
        yield from table(("FRAMES", ">"), reasons)
    if stats["trouble"]:
        yield ""
        for sentence, number in stats["trouble"].items():
            yield f"{number} frames: {clean(sentence)}"
    yield ""
    yield f"{counted(stats['flows'], 'flow')}, up {span(stats['uptime_s'])}"


def _rows(head: tuple[str, ...], stats: View) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for service in stats["services"]:
        rows.append((service["name"], "", *_numbers(service)))
        rows += [("", b["address"], *_numbers(b)) for b in service["backends"]]
    rows.append(("all", "", *_numbers(stats["totals"])))
    return table(head, rows)


def _numbers(row: View) -> tuple[str, ...]:
    return tuple((size if "bytes" in key else count)(row[key]) for key in _COUNTED)
