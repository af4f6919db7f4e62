"""The lock of one pktlb a namespace: what holds it, what lets it go, and what cannot hold it up."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pktlb.errors import KernelError
from pktlb.host import lock
from pktlb.host.lock import claim


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run"


def test_a_second_claim_is_refused_and_names_the_holder() -> None:
    with claim("run"), pytest.raises(KernelError) as caught:
        claim("run")
    text = f"another `pktlb run` runs in this network namespace: process {os.getpid()}"
    assert str(caught.value) == text


def test_each_kind_of_pktlb_has_a_lock_of_its_own() -> None:
    with claim("run"), claim("decap"):
        pass


def test_a_released_lock_leaves_no_file_and_can_be_claimed_again(directory: Path) -> None:
    for _ in range(3):
        with claim("run"):
            assert len(list(directory.iterdir())) == 1
        assert not list(directory.iterdir())


def test_the_lock_of_a_killed_process_is_free(directory: Path) -> None:
    code = (
        "import os, pktlb.host.lock as lock\n"
        f"lock.DIRECTORY = {str(directory)!r}\n"
        "lock.claim('run'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(directory.iterdir())) == 1, "it could not clean up"
    with claim("run"):
        pass


def test_the_next_process_goes_on_with_an_inherited_lock() -> None:
    first = claim("run")
    with claim("run", os.dup(first.fileno())):
        os.close(first.fileno())
        with pytest.raises(KernelError):
            claim("run")


def test_a_lock_of_another_kind_that_was_inherited_is_replaced() -> None:
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()
    with claim("run", other), pytest.raises(KernelError):
        claim("run")


def test_a_file_that_was_removed_in_between_is_no_lock(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(lock, "_is_at", lambda path, descriptor: next(answers))
    with claim("run"):
        assert next(answers, None) is None


def test_a_link_in_the_place_of_the_file_is_not_followed(directory: Path, tmp_path: Path) -> None:
    with claim("run"):
        (path,) = directory.iterdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KernelError, match="cannot lock"):
        claim("run")
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_every_user_can_write_to_is_refused(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(KernelError, match="expected a directory that not every user can write to"):
        claim("run")
