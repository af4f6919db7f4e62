"""docs/migrating.md: its files are right, and its commands have the outputs that it shows."""

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from pktlb.__main__ import LINKS
from pktlb.compat.ipvsadm import program
from pktlb.compat.ipvsadm.words import REFUSED, SCHEDULERS
from tests.support.fake_api import FakeApi

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "migrating.md").read_text()
BLOCK = re.compile(r"^<!-- ([a-z ]+)(?:: (\S+))? -->\n```\w*\n(.*?)^```$", re.M | re.S)


def test_each_block_of_the_page_is_of_a_known_kind() -> None:
    kinds = {kind for kind, _, _ in BLOCK.findall(PAGE)}
    assert kinds == {"file", "run", "output", "balancer", "links"}
    assert PAGE.count("\n```\n") == len(BLOCK.findall(PAGE)) + len(re.findall(r"-->\n```\n", PAGE))


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    api = FakeApi()
    printed = ""
    for kind, name, text in BLOCK.findall(PAGE):
        if kind == "file" and (tmp_path / name).exists():
            assert (tmp_path / name).read_text() == text
        elif kind == "file":
            (tmp_path / name).write_text(text)
        elif kind == "run":
            printed = run(text, tmp_path)
        elif kind == "balancer":
            printed = ask(text, api)
        elif kind == "links":
            check_links(text, tmp_path)
        elif kind == "output":
            assert trimmed(printed) == text


def run(commands: str, folder: Path) -> str:
    """Run commands with the `pktlb` of this tree; their output."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "pktlb").write_text(f'#!/bin/sh\nexec {sys.executable} -m pktlb "$@"\n')
    (tools / "pktlb").chmod(0o755)
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-ec", commands], cwd=folder, env=env, check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


def check_links(commands: str, folder: Path) -> None:
    """They are links to pktlb, with names that pktlb knows. The machine's own directory stays."""
    place = folder / "sbin"
    place.mkdir()
    run(commands.replace("/usr/local/sbin", str(place)), folder)
    assert {link.name for link in place.iterdir()} == set(LINKS)
    assert {link.readlink() for link in place.iterdir()} == {folder / "bin" / "pktlb"}


def ask(commands: str, api: FakeApi) -> str:
    out = io.StringIO()
    around = program.Surroundings(lambda: api, (), out, out)
    for command in commands.splitlines():
        name, *words = shlex.split(command)
        assert name == "ipvsadm"
        assert program.run(words, around) == 0
    return out.getvalue()


def trimmed(text: str) -> str:
    """The text without blanks at the ends of lines, which the page does not have."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_the_page_names_each_scheduler_of_ipvs() -> None:
    own = {"p2c", "source", "maglev", "hash"}
    for name in {*SCHEDULERS, *REFUSED} - own:
        assert f"`{name}`" in PAGE or f"`-s {name}`" in PAGE, name
