"""The client of the control socket against servers that are no pktlb, or refuse."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pktlb.control import client
from pktlb.control.client import Client, DaemonError, RejectedError
from tests.support.server import running

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@contextmanager
def saying(path: str, answer: bytes) -> Iterator[Client]:
    """A server at `path` that sends this to the first client, and closes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Client(path)
        thread.join(10)


STRANGE = [
    (b"", "not the answer of a pktlb"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not the answer of a pktlb"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", "not the answer of a pktlb"),
    (OK + b"\r\n{", "expected JSON"),
    (OK + b"\r\n\xff\xfe", "expected JSON"),
    (OK + b"A: b\r\n" * 300 + b"\r\n{}", "not the answer of a pktlb"),
    (b"HTTP/1.1 500 Oh\r\n\r\n", "pktlb answers 500 Oh"),
    (b"HTTP/1.1 404 No\r\nContent-Type: application/json\r\n\r\n[]", "pktlb answers 404 No"),
]


@pytest.mark.parametrize(("answer", "said"), STRANGE, ids=[repr(a[:40]) for a, _ in STRANGE])
def test_an_answer_of_another_program_is_an_error_in_one_line(
    tmp_path: Path, answer: bytes, said: str
) -> None:
    with (
        saying(str(tmp_path / "s"), answer) as asked,
        pytest.raises(DaemonError, match=said) as found,
    ):
        asked.get("status")
    assert "\n" not in str(found.value)


def test_refusals_keep_their_status_and_all_their_lines(tmp_path: Path) -> None:
    with running(str(tmp_path / "s")) as server:
        with pytest.raises(DaemonError) as refused:
            server.client.get("services", "no/body")
        assert refused.value.status == 404
        with pytest.raises(RejectedError) as rejected:
            server.client.ask("POST", ("services",), {}, {"vip": "x", "mode": "y"})
        assert rejected.value.status == 400
        assert len(rejected.value.lines) == 2
        assert rejected.value.exit_status == 2
        with pytest.raises(RejectedError, match="16777216 bytes"):
            server.client.ask("POST", ("plan",), {}, "#" * (17 << 20))
    with pytest.raises(DaemonError, match="no pktlb runs here") as silent:
        server.client.get("status")
    assert (silent.value.status, silent.value.exit_status) == (0, 1)


def test_a_server_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(DaemonError, match="did not answer within"):
            Client(str(tmp_path / "s")).ask("GET", ("status",), timeout_s=0.1)


def test_a_user_who_may_not_connect_is_told_which_group_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    found = list(os.stat(path))
    found[stat.ST_GID] = 1
    monkeypatch.setattr(os, "stat", lambda _: os.stat_result(found))
    assert client._explain(path, PermissionError()) == (
        f"{path}: permission denied (needs root, or to be in the group daemon)"
    )
