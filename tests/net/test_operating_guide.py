"""The commands of docs/operating.md, one after the other, as they stand there."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from netns.host import Host
from netns.process import ROOT, Process
from netns.waiting import wait_until
from pktlb.plan.change import AT_START
from tests.net.world import World

PAGE: Final = (ROOT / "docs" / "operating.md").read_text()
BLOCK: Final = re.compile(
    r"^(?:<!-- (file|output)(?:: (\S+))? -->\n)?```(?:toml|sh (\w+))?\n(.*?)^```$", re.M | re.S
)
WHERE: Final = "/etc/pktlb/"
PLACE: Final = """
mount -t tmpfs none /run
mkdir -p /run/pktlb
mount --bind "$0" /run/pktlb
unset PKTLB_SOCKET
PATH=$1:$PATH
exec sh -ec "$2"
"""
"Control sockets where the page has them, in a directory that only this host mounts."


class Reader:
    """Follows the page, block by block."""

    def __init__(self, world: World, place: Path) -> None:
        self.world, self.place, self.said = world, place, ""
        self.going_on: list[Process] = []
        self.sockets, self.programs = place / "sockets", place / "bin"
        self.sockets.mkdir()
        self.programs.mkdir()
        pktlb = self.programs / "pktlb"
        pktlb.write_text(f'#!/bin/sh\nexec {sys.executable} -m pktlb "$@"\n')
        pktlb.chmod(0o755)

    def follow(self, kind: str, name: str, role: str, text: str) -> None:
        if kind == "file":
            (self.place / Path(name).name).write_text(text)
        elif kind == "output":
            assert self.said == text
        elif role == "watch":
            process = self.host.start(*self.line(text))
            self.going_on.append(process)
            if "stats" in text:  # prints every second; the other one prints events
                wait_until(lambda: "SERVICE" in process.stdout, 10, text)
        elif "pktlb run" in text:
            self.going_on.append(self.host.start(*self.line(text), ready="pktlb: ready"))
        elif role == "balancer":
            self.said = self.host.run(*self.line(text)).stdout
        else:
            self.world.client.run("sh", "-ec", text)

    @property
    def host(self) -> Host:
        return self.world.balancer

    def line(self, commands: str) -> list[str]:
        commands = commands.replace(WHERE, f"{self.place}/")
        return ["sh", "-ec", PLACE, str(self.sockets), str(self.programs), commands]


@pytest.fixture
def reader(nat_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    reader = Reader(nat_world, tmp_path)
    yield reader
    for process in reader.going_on:  # one is in a namespace that is not of the laboratory
        process.stop()


def test_each_command_works_as_it_stands(reader: Reader) -> None:
    blocks = BLOCK.findall(PAGE)
    assert {role for _, _, role, _ in blocks} == {"", "balancer", "client", "watch"}
    assert len(blocks) == PAGE.count("\n```") // 2
    for block in blocks:
        reader.follow(*block)
    first, monitor, _, second = reader.going_on
    assert first.status is second.status is None
    assert "service web, backend 10.0.2.13:8080: added weight 10" in monitor.stdout
    assert "flows taken over" in first.stderr
    assert reader.world.ask(4)


def test_the_page_names_the_settings_that_only_a_restart_takes_over() -> None:
    (sentence,) = re.findall(r"^\*\*What a reload cannot change\*\*.*?\. ", PAGE, re.M | re.S)
    assert set(re.findall(r"`(\w+)`", sentence)) == set(AT_START)
