"""Capabilities that a process gives up are gone: for itself, and for what it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pktlb.host import privilege

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving up takes something to give up")
NAMED = ("CAP_NET_ADMIN", "CAP_NET_RAW")
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
PROGRAM = """
import os, subprocess
from pktlb.host.privilege import Needs, give_up, held
give_up({needs})
print(*held())
print(open("/proc/self/status").read())
print("---")
subprocess.run(["cat", "/proc/self/status"], check=True)
"""


def mask(*names: str) -> int:
    return sum(1 << privilege.NAMES.index(name) for name in names)


def after(needs: str, *before: str) -> tuple[list[str], list[dict[str, str]], str]:
    """What a process says that it holds, its status and its child's, and what it has logged."""
    code = "import logging; logging.basicConfig(level=20)\n" + PROGRAM.format(needs=needs)
    done = subprocess.run([*before, sys.executable, "-c", code], capture_output=True, text=True,
                          check=True)  # fmt: skip
    said, _, rest = done.stdout.partition("\n")
    pages = [
        dict(line.split(":\t", 1) for line in page.strip().splitlines() if ":\t" in line)
        for page in rest.split("---")
    ]
    return said.split(), pages, done.stderr


def sets(page: dict[str, str]) -> set[int]:
    return {int(page[key], 16) for key in SETS}


@needs_root
def test_all_five_sets_are_what_is_needed_in_the_process_and_its_child() -> None:
    said, pages, log = after('Needs(("CAP_NET_RAW", "CAP_NET_ADMIN"))')
    assert said == [*NAMED]
    assert [sets(page) for page in pages] == [{mask(*NAMED)}] * 2
    assert [page["NoNewPrivs"] for page in pages] == ["1", "1"]
    assert not log


@needs_root
def test_giving_up_twice_is_the_same_as_once() -> None:
    """As after a restart: the next process has nothing to give up."""
    needs = 'Needs(("CAP_NET_ADMIN", "CAP_NET_RAW"))'
    _, pages, log = after(f"{needs})\ngive_up({needs}")
    assert [sets(page) for page in pages] == [{mask(*NAMED)}] * 2
    assert not log


@needs_root
def test_a_missing_capability_is_no_error() -> None:
    less = ("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-all")
    said, pages, log = after('Needs(("CAP_NET_ADMIN", "CAP_NET_RAW"))', *less)
    assert said == ["CAP_NET_ADMIN"]
    assert [sets(page) for page in pages] == [{mask("CAP_NET_ADMIN")}] * 2
    assert not log


@needs_root
def test_a_user_with_the_capabilities_keeps_them_and_so_does_its_child() -> None:
    more = "+net_admin,+net_raw,+sys_time"
    user = (*AS_NOBODY, "--inh-caps", more, "--ambient-caps", more)
    _, pages, log = after('Needs(("CAP_NET_ADMIN", "CAP_NET_RAW"))', *user)
    for page in pages:
        assert {int(page[key], 16) for key in SETS if key != "CapBnd"} == {mask(*NAMED)}
    assert not log


def test_a_user_without_any_goes_on_with_none() -> None:
    _, pages, log = after('Needs(("CAP_NET_RAW",))', *(AS_NOBODY if os.geteuid() == 0 else ()))
    assert [page["NoNewPrivs"] for page in pages] == ["1", "1"]
    assert {int(page["CapEff"], 16) for page in pages} == {0}
    assert not log


@needs_root
def test_real_time_is_granted_by_a_limit_or_by_the_capability() -> None:
    raised = ("prlimit", "--rtprio=1:1", "true")
    can_raise = subprocess.run(raised, check=False, capture_output=True).returncode == 0
    said, _, _ = after('Needs(("CAP_NET_RAW",), realtime=True))\n'
                       "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)")  # fmt: skip
    assert said == ["CAP_NET_RAW", *([] if can_raise else ["CAP_SYS_NICE"])]


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A directory that root may use only as it may use everything."""
    place = tmp_path / "private"
    place.mkdir(0o700)
    (place / "file").write_text("text")
    for path in (place / "file", place):
        os.chown(path, 12345, 12345)
    return place


@needs_root
@pytest.mark.parametrize(
    ("mode", "kept"),
    [("os.R_OK", ["CAP_DAC_READ_SEARCH"]), ("os.W_OK", ["CAP_DAC_OVERRIDE"])],
)
def test_another_user_s_file_stays_usable(private: Path, mode: str, kept: list[str]) -> None:
    file = str(private / "file")
    said, _, log = after(f"Needs((), (({file!r}, {mode}), ('/etc/passwd', os.R_OK)))")
    assert said == kept
    assert log.endswith(f"{kept[0]} is kept for {file}\n")


@needs_root
def test_a_file_that_is_open_to_root_or_missing_keeps_no_capability(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    files = (str(tmp_path / "file"), str(tmp_path / "missing"))
    said, _, log = after(f"Needs((), tuple((file, os.R_OK) for file in {files!r}))")
    assert (said, log) == ([], "")


@needs_root
def test_a_file_can_be_given_to_the_group_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    said, _, log = after(f"Needs((), group=12345))\nos.chown({str(file)!r}, -1, 12345")
    assert (said, log, file.stat().st_gid) == ([], "", 12345)


def test_each_name_has_its_number() -> None:
    """linux/capability.h."""
    wanted = {"CAP_CHOWN": 0, "CAP_SETPCAP": 8, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13,
              "CAP_SYS_PTRACE": 19, "CAP_SYS_NICE": 23, "CAP_SETFCAP": 31, "CAP_BPF": 39,
              "CAP_CHECKPOINT_RESTORE": 40}  # fmt: skip
    assert {name: privilege.NAMES.index(name) for name in wanted} == wanted
