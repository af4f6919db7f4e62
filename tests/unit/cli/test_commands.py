"""Commands over the control socket: what they ask, print and exit with."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pktlb.cli import display
from pktlb.cli.arguments import Parser, seconds
from pktlb.cli.main import COMMANDS, main, make_parser
from pktlb.cli.stats import rates
from pktlb.control import views
from pktlb.model import Endpoint, Mode
from tests.support.operator import FakeOperator, packed
from tests.support.server import Running, running

MODULES_OF_A_HELP = 70
"Beside argparse; each takes about half a millisecond."


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with running(str(tmp_path / "pktlb.sock")) as found:
        monkeypatch.setenv("PKTLB_SOCKET", found.path)
        yield found


def typed(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str, str]:
    """Status, output and errors of `pktlb LINE`."""
    status = main(line.split())
    out, err = capsys.readouterr()
    return status, out, err


CHANGE = [
    "version", "dry_run", "lines", "items", "flows_total", "flows_moved", "flows_broken",
    "clients_share", "restart",
]  # fmt: skip
JSON: list[tuple[str, list[str]]] = [
    ("status", ["version", "services", "flows", "reasons"]),
    ("service list", ["version", "services"]),
    ("service add mail --vip 10.0.1.100:25 --mode nat", CHANGE),
    ("service set web --scheduler rr", CHANGE),
    ("service remove web", CHANGE),
    ("backend add web 10.0.2.20:8080 --weight 2", CHANGE),
    ("backend set web 10.0.2.11 --weight 2", CHANGE),
    ("backend drain web 10.0.2.11", CHANGE),
    ("backend undrain web 10.0.2.11", CHANGE),
    ("backend remove web 10.0.2.11", CHANGE),
    ("backend remove web 10.0.2.11 --drain", ["version", "dry_run", "flows_cut", "waited_s"]),
    ("flow list", ["version", "total", "flows"]),
    ("flow count", ["version", "total"]),
    ("flow kill --all", ["version", "dry_run", "killed"]),
    ("stats", ["version", "time", "uptime_s", "totals", "services", "flows", "reasons", "trouble"]),
    ("reload", CHANGE),
    ("snapshot", ["version", "toml"]),
    ("restart", ["version", "dry_run"]),
]


@pytest.mark.parametrize(("line", "keys"), JSON, ids=[line for line, _ in JSON])
def test_json_has_keys_that_stay(
    server: Running, capsys: pytest.CaptureFixture[str], line: str, keys: list[str]
) -> None:
    status, out, err = typed(capsys, f"{line} --json")
    assert (status, err) == (0, "")
    assert list(json.loads(out))[: len(keys)] == keys
    assert typed(capsys, "status")[0] == 0


def test_commands_change_what_runs(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    backend = "10.0.2.20:8080"
    for line in (
        f"backend add web {backend} --weight 2 --max-connections 9 --backend-name c",
        f"backend set web {backend} --weight 5",
        f"backend drain web {backend}",
        "service set web --scheduler sed --persist 60 --service-name shop",
        "service add --vip 10.0.1.101:53/udp --vip 10.0.1.102:53/udp --mode nat --one-packet "
        "--backend 10.0.2.13,weight=4,max=7,drain",
        "service remove 10.0.1.100:53/udp",
    ):
        assert typed(capsys, line)[0] == 0
    shop, first, second = server.operator.config.services
    added = shop.backends[-1]
    assert (shop.name, shop.scheduler.value, shop.persist_s) == ("shop", "sed", 60)
    assert added.endpoint == Endpoint(packed("10.0.2.20"), 8080)
    assert (added.weight, added.max_connections, added.name, added.drain) == (5, 9, "c", True)
    assert first.backends == second.backends
    assert (first.one_packet, first.backends[0].max_connections) == (True, 7)


@pytest.mark.parametrize(
    ("flags", "persist"),
    [
        ("--persist 60", (60, 32, 128)),
        ("--persist 60/24/56", (60, 24, 56)),
        ("--persist 60/24", (60, 24, 128)),
        ("--persist 60/24 --persist-prefix4 20", (60, 20, 128)),
        ("--persist-prefix6 56", (0, 32, 56)),
    ],
)
def test_persistence_is_set_as_run_takes_it(
    server: Running, capsys: pytest.CaptureFixture[str], flags: str, persist: tuple[int, int, int]
) -> None:
    assert typed(capsys, f"service set web {flags}")[0] == 0
    six = "--vip [2001:db8::1]:25 --mode nat"
    assert typed(capsys, f"service add mail --vip 10.0.1.9:25 {six} {flags}")[0] == 0
    web, _, mail, mail6 = server.operator.config.services
    assert (web.persist_s, web.persist4, web.persist6) == persist
    assert (mail.persist_s, mail.persist4) == persist[:2]
    bits = 24 if flags.endswith("60/24") or "prefix4" in flags else persist[2]
    assert mail6.persist6 == bits
    assert typed(capsys, "service set mail --persist 9/28")[0] == 0
    *_, mail, mail6 = server.operator.config.services
    assert (mail.persist4, mail6.persist6) == (28, 28)


def test_a_backend_of_a_new_service_is_said_as_run_takes_it(
    server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "service add mail --vip 10.0.1.9:25 --mode nat --backend 10.0.2.9"
    assert typed(capsys, f"{line},max=9,resume=8,name=a,mode=tunnel,weight=0,drain")[0] == 0
    (made,) = server.operator.config.services[-1].backends
    assert (made.max_connections, made.resume_connections, made.name) == (9, 8, "a")
    assert (made.mode, made.weight, made.drain) == (Mode.TUNNEL, 0, True)
    refused = typed(capsys, f"{line},wait=1")
    assert refused[:2] == (2, "")
    assert "got the option 'wait=1'" in refused[2]


def test_a_dry_run_changes_nothing(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    before = server.operator.config
    for line in ("service remove web", "backend remove web 10.0.2.11 --drain", "flow kill --all",
                 "restart", "reload", "backend drain web 10.0.2.11"):  # fmt: skip
        status, out, _ = typed(capsys, f"{line} --dry-run")
        assert status == 0
        assert out
    assert server.operator.config is before
    assert (server.operator.removing, server.operator.restarted) == ([], 0)
    assert len(server.operator.table) == 5


def test_force_is_passed_on(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    server.operator.forced.clear()
    for line in ("reload", "reload --force", "service add x --mode nat --vip 10.0.1.7:80 --force"):
        assert typed(capsys, f"{line} --dry-run")[0] == 0
    assert server.operator.forced == [False, True, True]


def test_tables_are_for_people(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = typed(capsys, "status")
    assert out.splitlines()[:3] == [
        "web  10.0.1.100:80/tcp  nat  lc",
        "  BACKEND         WEIGHT  STATE  ACTIVE  INACTIVE  CONNECTIONS      IN    OUT",
        "  10.0.2.11:8080       3  up          2         1           40  61.0kB  8.1MB",
    ]
    _, out, _ = typed(capsys, "flow list --client 198.51.100.2 --limit 5")
    assert out.splitlines()[1].split() == [
        "tcp", "198.51.100.2:40002", "10.0.1.100:80", "10.0.2.11:8080", "nat", "established", "3s",
    ]  # fmt: skip
    assert typed(capsys, "flow list --limit 1")[1].splitlines()[-1].startswith("1 of 5 flows")
    assert typed(capsys, "flow kill --min-idle 4")[1] == "3 flows ended\n"
    assert typed(capsys, "backend remove web 10.0.2.11 --drain --within 5m")[1] == (
        "backend 10.0.2.11 removed after 0s, no flow was cut\n"
    )
    assert "flows would move" not in typed(capsys, "service remove web")[1]
    assert typed(capsys, "snapshot")[1].startswith("# Configuration of pktlb")
    assert typed(capsys, "reload")[0] == 0


WRONG = [
    ("backend remove web 10.9.9.9", 1, "pktlb: backend 10.9.9.9: service web has none"),
    ("service remove nobody", 1, "pktlb: service nobody: there is none of this name or VIP"),
    ("service add --vip 10.0.1.100:80 --mode nat", 1, "pktlb: service 10.0.1.100:80/tcp: there is"),
    ("service set web --scheduler xx", 2, "pktlb: scheduler: expected"),
    ("service set web", 2, "pktlb: expected something to change"),
    ("service add --vip 10.0.1.100:81 --backend 10.0.2.1,wieght=3", 2, "pktlb: --backend 10.0.2.1"),
    ("backend set web 10.0.2.11 --weight many", 2, "pktlb: --weight: invalid int value"),
    ("backend remove web 10.0.2.11 --within 5m", 2, "pktlb: --within: expected --drain"),
    ("backend remove web 10.0.2.11 --drain --within soon", 2, "pktlb: --within: expected a time"),
    ("flow kill", 2, "pktlb: expected a filter, or --all"),
    ("flow list --proto tpc", 2, "pktlb: proto tpc: expected a protocol"),
    ("plan /nonexistent", 2, "pktlb: /nonexistent: cannot be read: No such file"),
    ("status --jsno", 2, "pktlb: unrecognized arguments: --jsno (see `pktlb status --help`)"),
    ("service list x", 2, "pktlb: unrecognized arguments: x (see `pktlb service list --help`)"),
    ("flow list --state open", 2, "pktlb: state open: expected one of syn_sent, syn_received"),
    ("statsu", 2, "pktlb: COMMAND: invalid choice: 'statsu'"),
    ("service", 2, "pktlb: the following arguments are required: ACTION"),
    ("", 2, "pktlb: the following arguments are required: COMMAND"),
]


@pytest.mark.parametrize(("line", "status", "said"), WRONG, ids=[line for line, *_ in WRONG])
def test_errors_are_one_line(
    server: Running, capsys: pytest.CaptureFixture[str], line: str, status: int, said: str
) -> None:
    found, out, err = typed(capsys, line)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert err.startswith(said)


def test_a_bad_file_is_told_line_by_line(
    server: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[balancer]\nx = 1\ny = 2\n")
    status, out, err = typed(capsys, f"plan {bad}")
    assert (status, out) == (2, "")
    assert [line.partition(" balancer")[0] for line in err.splitlines()] == [
        f"{bad}:2:", f"{bad}:3:",
    ]  # fmt: skip


def test_where_nobody_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "x.sock"
    monkeypatch.setenv("PKTLB_SOCKET", str(place))
    status, _, err = typed(capsys, "status")
    assert (status, err.startswith(f"pktlb: no pktlb runs here: {place} ")) == (1, True)
    place.write_text("no socket")
    assert typed(capsys, "status")[0] == 1
    monkeypatch.delenv("PKTLB_SOCKET")
    assert "/run/pktlb/no-such.sock" in typed(capsys, "status --name no-such")[2]
    assert typed(capsys, "status --name a/b")[0] == 2


def test_monitor_shows_events_until_ctrl_c(server: Running) -> None:
    command = [sys.executable, "-m", "pktlb", "monitor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not server.call(lambda: server.operator.events.count):
            assert process.poll() is None
            time.sleep(0.01)
        server.call(lambda: server.operator.events.publish("trouble", "tab\there"))
        assert process.stdout is not None
        assert b"trouble  tab\\there" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == (b"", b"")


def test_a_closed_pipe_ends_it_quietly(server: Running) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for line in (
        ["status"],
        ["flow", "list", "--json"],
        ["schema"],
        ["completion", "bash"],
        ["--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pktlb", *line],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    os.close(writer)


def test_colours_are_for_terminals(server: Running) -> None:
    def on_terminal(**env: str) -> bytes:
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "rb", buffering=0) as terminal, subprocess.Popen(
            [sys.executable, "-m", "pktlb", "status"], stdout=theirs,
            env={**os.environ, "TERM": "xterm", **env},
        ) as process:  # fmt: skip
            os.close(theirs)
            found = b""
            try:
                while piece := terminal.read(65536):
                    found += piece
            except OSError:
                pass  # the terminal's way to say that it is over
            assert process.wait(10) == 0
        return found

    assert b"\x1b[32mup" in on_terminal(NO_COLOR="")
    assert b"\x1b" not in on_terminal(NO_COLOR="1")
    assert "\x1b" not in server.command("status").stdout


def test_rates_are_differences_by_time() -> None:
    fake = FakeOperator()
    before: Any = views.stats(fake.status(), fake.counts(), 100.0)
    after: Any = views.stats(fake.status(), fake.counts(), 102.0)
    after["services"][0]["backends"][0]["packets_in"] += 30
    after["services"][1]["packets_in"] = 8  # set to 0 in between
    found = rates(before, after)
    assert found["services"][0]["backends"][0]["packets_in"] == 15.0
    assert found["services"][1]["packets_in"] == 4.0
    assert (found["interval_s"], found["totals"]["bytes_in"]) == (2.0, 0.0)


def test_numbers_for_people() -> None:
    assert [display.count(n) for n in (0, 999, 1000, 61000, 999_999, 8_100_000, 0.25)] == [
        "0", "999", "1.0k", "61.0k", "1.0M", "8.1M", "0.2",
    ]  # fmt: skip
    assert [display.span(n) for n in (0, 59.9, 61, 3600, 90000.5)] == [
        "0s", "59s", "1m 1s", "1h", "1d 1h",
    ]  # fmt: skip
    assert [seconds(text) for text in ("7", "7s", "5m", "1h", "2d")] == [7, 7, 300, 3600, 172800]
    assert display.clean("a\x1b[31m\nb") == "a\\x1b[31m\\nb"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_few_modules_and_none_that_takes_long(command: str) -> None:
    """Loading is most of the time that a help takes."""
    shown = ["-X", "importtime", "-m", "pktlb", command, "--help"]
    bare = ["-X", "importtime", "-c", "import argparse"]
    loads, known = (
        subprocess.run([sys.executable, *each], capture_output=True, text=True, check=True)
        for each in (shown, bare)
    )
    assert loads.stdout.startswith(f"usage: pktlb {command}")
    assert loads.stderr.count("\n") < known.stderr.count("\n") + MODULES_OF_A_HELP
    for heavy in ("aiohttp", "pydantic", "pyroute2", "asyncio", "http.client"):
        assert f" {heavy}\n" not in loads.stderr


def test_the_parser_of_all_commands_is_whole() -> None:
    parser = make_parser()
    assert isinstance(parser, Parser)
    for command in COMMANDS:
        assert command in parser.format_help()
