"""The documentation says what is true: help texts, reasons and targets are those of the code."""

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from pktlb.cli.main import make_parser
from pktlb.model import Reason

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def help_of(command: str) -> str:
    """`pktlb COMMAND --help` as on a terminal of 80 columns."""
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            parser = action.choices[command]
            assert isinstance(parser, argparse.ArgumentParser)
            return parser.format_help()
    raise AssertionError("no commands")


@pytest.mark.parametrize("command", ["run", "decap"])
def test_readme_shows_the_help_of_each_command(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = re.search(
        rf"<!-- pktlb {command} --help -->\n```\n(.*?)```\n<!-- end -->", README, re.S
    )
    assert shown, f"README.md has no section for pktlb {command}"
    assert shown[1].split() == help_of(command).split()


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_each_reason_is_explained(reason: Reason) -> None:
    row = f"| `{reason.name}` | {reason.verdict.name} | {reason.sentence} |"
    assert row in (ROOT / "docs" / "reasons.md").read_text()


def test_make_help_lists_what_the_readme_promises() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"setup", "demo", "test", "unit", "lint", "bench", "nat", "dsr", "tunnel"} <= listed
    assert {"fuzz", "soak", "test-asan"} <= listed


def test_each_file_that_the_documents_link_to_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
