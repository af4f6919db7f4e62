"""The command `ipvsadm`: one command line, or all that -R reads, and what it prints.

The exit status is that of ipvsadm: 0, 1 if the balancer refuses, 2 if the command line is wrong.

    syntax ─► Command ─► actions ─► the control API                    (commands that change)
                         table   ◄─ the control API ─► listing, save   (commands that show)

`words` translates names of IPVS into names of pktlb and back. The importer reads saved rules by the
same `syntax` and `words`.
"""

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TextIO

import pktlb
from pktlb.compat.ipvsadm import actions, listing
from pktlb.compat.ipvsadm.api import Api
from pktlb.compat.ipvsadm.names import Names
from pktlb.compat.ipvsadm.syntax import Command, parse
from pktlb.compat.ipvsadm.table import Virtual, find, read_config, read_table, read_timeouts
from pktlb.compat.ipvsadm.usage import USAGE
from pktlb.config.config import Config
from pktlb.errors import ConfigError, PktlbError

MAX_FLOWS: Final = 100_000
"The most connections that -c lists."
MAX_RULES: Final = 1_000_000
"The most lines that -R reads."
_MAX_LINE: Final = 4096
RATE_S: Final = 1.0
"Seconds between the two readings of the counters for --rate."


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The balancer, the files and the clock that the command uses."""

    connect: Callable[[], Api]
    stdin: Iterable[str]
    stdout: TextIO
    stderr: TextIO
    sleep: Callable[[float], None] = time.sleep


def run(words: Sequence[str], around: Surroundings) -> int:
    """Run one command line, given without the word ipvsadm; the exit status."""
    try:
        command = parse(words)
        if command.verb == "h":
            around.stdout.write(USAGE)
        elif command.verb == "v":
            around.stdout.write(f"ipvsadm v1.31 as pktlb {pktlb.__version__} speaks it\n")
        elif command.verb == "R":
            return _restore(around)
        elif command.verb in actions.CHANGES:
            actions.perform(command, around.connect())
        else:
            for line in _shown(command, around):
                around.stdout.write(f"{line}\n")
    except PktlbError as error:
        return _complain(str(error), _status(error), around)
    return 0


def _status(error: PktlbError) -> int:
    return 2 if isinstance(error, ConfigError) else 1


def _complain(text: str, status: int, around: Surroundings) -> int:
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    around.stderr.write(f"{line}\n")
    return status


def _restore(around: Surroundings) -> int:
    """Run each line as a command. A refused one does not stop the others. The worst exit status."""
    api, worst = around.connect(), 0
    for number, command in read_rules(around.stdin):
        try:
            if isinstance(command, ConfigError):
                raise command
            actions.perform(command, api)
        except PktlbError as error:
            text = f"standard input:{number}: {error}"
            worst = max(worst, _complain(text, _status(error), around))
    return worst


def read_rules(lines: Iterable[str]) -> Iterator[tuple[int, Command | ConfigError]]:
    """The commands of a saved table with the numbers of their lines, from 1. A line that is wrong
    gives the error in the place of a command."""
    for number, line in enumerate(lines, 1):
        if number > MAX_RULES:
            yield number, ConfigError(f"expected {MAX_RULES} lines at most")
            return
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            if len(line) > _MAX_LINE:
                raise ConfigError(f"expected {_MAX_LINE} characters at most")
            words = shlex.split(line)
            if words and words[0].rpartition("/")[2] == "ipvsadm":
                del words[0]
            command = parse(words)
            if command.verb not in actions.CHANGES:
                raise ConfigError(f"-{command.verb}: does not go into a saved table")
            yield number, command
        except ConfigError as error:
            yield number, error
        except ValueError as error:
            yield number, ConfigError(f"{error}".lower())


def _shown(command: Command, around: Surroundings) -> Iterator[str]:
    """The lines of -L and -S."""
    api = around.connect()
    options = command.options
    names = Names("n" in options)
    if command.verb == "S":
        table = _sorted(read_table(api), options)
        for virtual in table:
            if not virtual.is_ipvs:
                text = f"{virtual.vip}: left out, ipvsadm cannot name it (see `pktlb snapshot`)"
                _complain(text, 0, around)
        yield from listing.saved([virtual for virtual in table if virtual.is_ipvs], names)
    elif "daemon" in options:
        return  # the daemons of connection synchronisation: pktlb has none
    elif "timeout" in options and "c" not in options:
        yield listing.timeouts(read_timeouts(api))
    elif "c" in options:
        answer = api.ask("GET", ("flows",), {"limit": MAX_FLOWS, **_filters(command)})
        yield from listing.connections(answer["flows"], read_timeouts(api), names)
        if (more := answer["total"] - len(answer["flows"])) > 0:
            _complain(f"{more} more connections (see `pktlb flow list`)", 0, around)
    else:
        yield from _table(command, api, names, around)


def _filters(command: Command) -> dict[str, object]:
    """The query for the connections of the command's service, or of all services."""
    if command.service is None:
        return {}
    vip, _, proto = command.service.vip.rpartition("/")
    return {"vip": vip, "proto": proto}


def _table(command: Command, api: Api, names: Names, around: Surroundings) -> Iterator[str]:
    options = command.options
    if "persistent-conn" in options:
        raise ConfigError(
            "--persistent-conn: pktlb lists no clients that stay, `pktlb status --json` has their "
            "number (pins)"
        )
    kind = next((name for name in ("stats", "rate", "thresholds") if name in options), "")
    table = _chosen(command, read_table(api, counted=True))
    if kind == "rate":
        around.sleep(RATE_S)
        table = rates(table, _chosen(command, read_table(api, counted=True)), RATE_S)
    size = read_config(api).get("balancer", {}).get("max_flows", Config(()).max_flows)
    yield listing.heading(size, kind)
    table = _sorted(table, options)
    if kind in ("stats", "rate"):
        yield from listing.counters(table, names, "exact" in options)
    elif kind == "thresholds":
        yield from listing.thresholds(table, names)
    else:
        yield from listing.services(table, names)


def _chosen(command: Command, table: list[Virtual]) -> list[Virtual]:
    if command.service is None:
        return table
    if not (chosen := find(table, command.service)):
        raise actions.RefusedError("No such service")
    return chosen


def rates(before: list[Virtual], after: list[Virtual], seconds: float) -> list[Virtual]:
    """The later table with counters per second: what came between the two tables, `seconds`
    apart."""
    earlier = {
        (virtual.vip, real.address): real.counts for virtual in before for real in virtual.reals
    }
    return [
        replace(
            virtual,
            reals=tuple(
                replace(
                    real,
                    counts=real.counts.since(
                        earlier.get((virtual.vip, real.address), real.counts), seconds
                    ),
                )
                for real in virtual.reals
            ),
        )
        for virtual in after
    ]


def _sorted(table: list[Virtual], options: dict[str, str]) -> list[Virtual]:
    """The table by protocol, address and port, unless an option forbids it."""
    if "nosort" in options:
        return table
    return [
        replace(
            virtual,
            reals=tuple(sorted(virtual.reals, key=lambda real: (len(real.ip), real.ip, real.port))),
        )
        for virtual in sorted(
            table,
            key=lambda virtual: (
                virtual.proto,
                len(virtual.parsed.address),
                virtual.parsed.address,
                virtual.parsed.low,
            ),
        )
    ]
