"""The commands of docs/systemd.md work as they stand there."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from netns.process import ROOT
from pktlb.host.unit import CAPABILITIES, Unit

PAGE = (ROOT / "docs" / "systemd.md").read_text()
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.M | re.S)
STAND_IN = """
set -eu
mount --make-rprivate /
mount -t tmpfs none /etc/systemd/system
mount -t tmpfs none /opt
mkdir -p /opt/bin /opt/python
mount --bind "$0" /opt/python
printf '#!/bin/sh\\nexec /opt/python/bin/python3 -m pktlb "$@"\\n' >/opt/bin/pktlb
chmod +x /opt/bin/pktlb
PATH=/opt/bin:$PATH
cd "$1"
eval "$2"
cp /etc/systemd/system/* . 2>/dev/null || true
"""
"""Mounts of its own for all that these commands change, with Python outside of home directories.
$0: where it is really, $1: where to run, $2: the commands."""


@pytest.mark.parametrize(("kind", "commands"), BLOCK.findall(PAGE))
def test_a_command_works_as_it_stands(kind: str, commands: str, tmp_path: Path) -> None:
    line = ["unshare", "--mount", "bash", "-c", STAND_IN, sys.base_prefix, str(tmp_path), commands]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}
    done = subprocess.run(line, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    made = {file.name for file in tmp_path.iterdir()}
    if "--print" in commands:
        assert "User=balancer" in done.stdout
        assert not made
    elif kind == "unit":
        (name,) = re.findall("--name (.*)", commands) or ["default"]
        assert made == {f"{Unit('/opt/bin/pktlb', name).service}.service"}
    elif ">" in commands:
        assert made == {"_pktlb", "pktlb.fish"}


def test_the_page_gives_a_reason_for_each_capability() -> None:
    assert all(f"| `{name}` |" in PAGE for name in CAPABILITIES)
