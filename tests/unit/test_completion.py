"""Completions as the shells themselves use them."""

import argparse
import subprocess
from pathlib import Path

import pytest
import shtab

from pktlb.cli.arguments import Parser
from pktlb.cli.completion import SHELLS, complete
from pktlb.cli.main import main, make_parser


def commands() -> set[str]:
    (found,) = (it for it in make_parser()._actions if isinstance(it, argparse._SubParsersAction))
    return set(found.choices)


def offered(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    line = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_pktlb; '
    line += 'printf "%s\\n" "${COMPREPLY[@]}"'
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


def test_bash_offers_files_and_what_runs_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever command takes a FILE, a SERVICE or a backend's address."""
    parser = Parser(prog="pktlb")
    drain = parser.add_subparsers().add_parser("drain", help="take no more")
    drain.add_argument("service", metavar="SERVICE")
    drain.add_argument("address", metavar="ADDR[:PORT]")
    drain.add_argument("--config", metavar="FILE")
    script, balancer = tmp_path / "completions", tmp_path / "pktlb"
    script.write_text(complete(parser, "bash"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert not offered(script, "pktlb", "drain", "w")
    status = '{"services": [{"name": "web", "backends": [{"address": "10.0.2.11:8080"}]}]}'
    balancer.write_text(f"#!/bin/sh\necho '{status}'\n")
    balancer.chmod(0o755)
    assert offered(script, "pktlb", "drain", "w") == {"web"}
    assert offered(script, "pktlb", "drain", "web", "10") == {"10.0.2.11:8080"}
    assert str(script) in offered(script, "pktlb", "drain", "--config", str(tmp_path / "comp"))


@pytest.mark.parametrize("shell", SHELLS)
def test_there_are_some_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in commands())


def test_each_shell_that_can_be_is_served() -> None:
    assert set(shtab.SUPPORTED_SHELLS) - {"powershell"} == set(SHELLS)
