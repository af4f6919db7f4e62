"""Completions as the shells themselves use them."""

import argparse
import json
import os
import pty
import re
import select
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import shtab

from pktlb.cli.completion import SHELLS
from pktlb.cli.main import main, make_parser
from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.control import views
from pktlb.model import Endpoint, Mode, Scheduler, Vip
from tests.support.operator import DNS, WEB, A, B, FakeOperator


def commands() -> set[str]:
    (found,) = (it for it in make_parser()._actions if isinstance(it, argparse._SubParsersAction))
    return set(found.choices)


def offered(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    line = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; '
    line += 'COMP_POINT=${#COMP_LINE}; _pktlb; printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "-c", line, "bash", str(script), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    file = tmp_path / "pktlb"
    file.write_text(capsys.readouterr().out)
    return file


def test_bash_offers_each_command_and_its_flags_and_choices(script: Path) -> None:
    assert commands() <= offered(script, "pktlb", "")
    assert offered(script, "pktlb", "install-u") == {"install-unit"}
    assert offered(script, "pktlb", "install-unit", "--pri") == {"--print"}
    assert offered(script, "pktlb", "completion", "z") == {"zsh"}
    assert offered(script, "pktlb", "run", "--engine", "nat") == {"native"}
    assert offered(script, "pktlb", "service", "set", "web", "--scheduler", "ma") == {"maglev"}
    assert offered(script, "pktlb", "backend", "add", "web", "x", "--mode", "t") == {"tunnel"}


def test_bash_offers_files(script: Path) -> None:
    assert str(script) in offered(script, "pktlb", "run", "--config", str(script)[:-1])


def balancer(directory: Path) -> None:
    """A `pktlb` that has something to tell; west is a backend, no service."""
    web = replace(WEB, backends=(A, replace(B, name="west")))
    low, high = (bytes.fromhex("2001") + bytes(13) + bytes([last]) for last in (1, 5))
    six = Service(
        Vip(low, 80, 80, (6,)), Mode.NAT, Scheduler.RR, (Backend(Endpoint(high, 8080)),)
    )  # fmt: skip
    fake = FakeOperator(Config((web, DNS, six)))
    status = directory / "status.json"
    status.write_text(json.dumps(views.status(fake.status(), fake.counts()), indent=2))
    program = directory / "pktlb"
    program.write_text(f'#!/bin/sh\n[ "$*" = "status --json" ] && cat {status}\n')
    program.chmod(0o755)


@contextmanager
def interactive(shell: list[str], directory: Path, begin: str) -> Iterator[Callable[[str], str]]:
    """A shell at a terminal; what a line has become after a tab."""
    terminal, its_end = pty.openpty()
    environment = {"TERM": "dumb", "PATH": f"{directory}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        ["setsid", "--ctty", *shell],
        stdin=its_end, stdout=its_end, stderr=its_end, env=os.environ | environment,
    )  # fmt: skip
    os.close(its_end)

    def wait(end: str) -> str:
        found = ""
        while not (match := re.search(end, found)):
            assert select.select([terminal], [], [], 20)[0], found
            found += os.read(terminal, 65536).decode()
        return match[1]

    def complete_line(line: str) -> str:
        """The line is turned into a command that prints it. A space at its end may come and go."""
        os.write(terminal, f"{line}\t\x01echo '[\x05]END'\n".encode())
        return wait(r"\[(.*)\]END\s*> ").rstrip()

    try:
        termios.tcsetwinsize(terminal, (50, 1000))
        os.write(terminal, f"{begin}; PS1='> '; echo READY\n".encode())
        wait(r"\s(READY)\s+> ")
        yield complete_line
    finally:
        os.close(terminal)
        process.kill()
        process.wait()


TYPED = [
    ("backend drain w", "backend drain web"),
    ("backend drain web 10.0.2.11", "backend drain web 10.0.2.11:8080"),
    ("backend drain web 10.0.2.11:", "backend drain web 10.0.2.11:8080"),
    ("backend drain web 10.0.2.11:80", "backend drain web 10.0.2.11:8080"),
    ("backend drain web 10.0.2.1", "backend drain web 10.0.2.1"),
    ("backend drain web 10.0.2.13", "backend drain web 10.0.2.13"),
    ("backend drain 10.0.1.100:80/tcp 10.0.2.12", "backend drain 10.0.1.100:80/tcp 10.0.2.12:8080"),
    ("backend drain 10.0.1.100:80 10.0.2.12:", "backend drain 10.0.1.100:80 10.0.2.12:8080"),
    ("backend drain 10.0.1.100:53/udp 1", "backend drain 10.0.1.100:53/udp 10.0.2.13:53"),
    ("backend drain 10.0.1.100:8", "backend drain 10.0.1.100:80/tcp"),
    ("service remove 10.0.1.100:5", "service remove 10.0.1.100:53/udp"),
    ("backend drain [2001::1]:80/tcp [2001:", "backend drain [2001::1]:80/tcp [2001::5]:8080"),
    ("flow list --service w", "flow list --service web"),
    ("flow list --backend 10.0.2.13:", "flow list --backend 10.0.2.13:53"),
    ("flow count --service web --backend 10.0.2.12:8",
     "flow count --service web --backend 10.0.2.12:8080"),
]  # fmt: skip
"A line, and what a tab makes of it."
BEGIN = {
    "bash": "bind 'set enable-bracketed-paste off'; source {script}",
    "zsh": "unset zle_bracketed_paste; unsetopt prompt_sp prompt_cr; autoload -U compinit; "
    'compinit -D -u; eval "$(cat {script})"',
}
START = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


@pytest.mark.parametrize("shell", START)
def test_at_a_terminal_what_runs_is_offered(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "pktlb").symlink_to("/bin/false")
    with interactive(START[shell], tmp_path, BEGIN[shell].format(script=script)) as complete_line:
        assert complete_line("pktlb backend drain w") == "pktlb backend drain w"
        (tmp_path / "pktlb").unlink()
        balancer(tmp_path)
        for line, wanted in TYPED:
            if shell == "bash" or "[" not in line:  # which zsh has quoted
                assert complete_line(f"pktlb {line}") == f"pktlb {wanted}"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_completions(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in commands())


def test_each_shell_that_can_be_is_served() -> None:
    assert set(shtab.SUPPORTED_SHELLS) - {"powershell"} == set(SHELLS)
