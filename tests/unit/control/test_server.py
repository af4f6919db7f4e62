"""The server of the control socket: its file, its limits, and clients that hold or flood it."""

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pktlb.control import connection, server
from pktlb.control.connection import MAX_CONNECTIONS
from pktlb.control.routes.events import MAX_LISTENERS
from pktlb.errors import KernelError
from tests.support.operator import FakeOperator
from tests.support.server import Running, read_all, running

SOON_S = 10.0
GET = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
EVENTS = b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "pktlb.sock")


@pytest.fixture
def live(path: str) -> Iterator[Running]:
    with running(path) as found:
        yield found


def eventually(what: Callable[[], object], seconds: float = SOON_S) -> None:
    """Poll until `what` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def works(server: Running) -> bool:
    """A new client is served soon."""
    begin = time.monotonic()
    assert server.client.get("status")["version"] == 1
    return time.monotonic() - begin < SOON_S


def sends(sock: socket.socket, data: bytes) -> bool:
    """Whether the other end reads all of it."""
    try:
        sock.sendall(data)
    except ConnectionError:
        return False
    return True


def test_the_file_is_there_while_the_server_runs_and_only_its_users_may_connect(path: str) -> None:
    before = os.umask(0)
    try:
        with running(path) as server:
            found = os.stat(path)
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o660
            assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
            assert works(server)
    finally:
        os.umask(before)
    assert not os.path.lexists(path)


def test_the_socket_of_a_dead_process_is_replaced(path: str) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    with running(path) as server:
        assert works(server)


def test_the_socket_of_a_live_process_is_not_replaced(live: Running) -> None:
    with pytest.raises(KernelError, match="another pktlb answers there"), running(live.path):
        pass
    assert works(live)


def test_a_file_that_is_no_socket_is_not_replaced(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(KernelError, match="no socket"), running(path):
        pass
    assert Path(path).read_text() == "precious"


def test_a_missing_directory_is_an_error_in_one_line(tmp_path: Path) -> None:
    place = str(tmp_path / "nosuch" / "x.sock")
    with pytest.raises(KernelError, match=f"control socket {place}: No such file"), running(place):
        pass


def test_the_file_of_another_process_stays(path: str) -> None:
    with running(path):
        os.unlink(path)
        Path(path).write_text("theirs")
    assert Path(path).read_text() == "theirs"


def test_a_next_process_goes_on_with_the_same_socket(path: str) -> None:
    """A client that connects while neither accepts waits, and the next process answers it."""
    zero = b"POST /v1/zero HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as first, ExitStack() as second:
        old = first.enter_context(running(path))
        early = second.enter_context(old.connect())
        descriptor = os.dup(old.call(old.server.hand_over))
        late = second.enter_context(old.connect())
        early.sendall(zero)
        late.sendall(zero)
        new = second.enter_context(running(path, FakeOperator(), fd=descriptor))
        assert read_all(early).startswith(b"HTTP/1.1 200")
        assert read_all(late).startswith(b"HTTP/1.1 200")
        assert new.operator.zeroed >= 1
        assert new.operator.zeroed + old.operator.zeroed == 2
        first.close()
        assert works(new)
    assert not os.path.lexists(path)


def test_a_server_without_a_successor_takes_the_socket_back(live: Running) -> None:
    live.call(live.server.hand_over)
    with live.connect() as waiting:
        waiting.sendall(GET)
        live.call(live.server.take_back)
        assert read_all(waiting).startswith(b"HTTP/1.1 200")


def test_many_silent_clients_lock_no_other_client_out(live: Running) -> None:
    """Some send nothing; some begin a request and do not end it."""
    held = []
    try:
        for number in range(3 * MAX_CONNECTIONS):
            sock = live.connect()
            held.append(sock)
            sock.sendall(GET[: number % 20])
            assert number % 16 or works(live)
        assert works(live)
        assert len(live.call(lambda: list(live.server.connections))) <= MAX_CONNECTIONS + 2
    finally:
        for sock in held:
            sock.close()


def test_a_slow_request_ends_its_connection(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.05)
    monkeypatch.setattr(connection, "BODY_S", 0.05)
    body = b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    for begun in (b"", b"GET /v1/st", GET[:-2], body):
        with live.connect() as sock:
            sock.sendall(begun)
            assert read_all(sock) == b""


def test_an_answer_that_is_not_read_ends_its_connection(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 0.05)
    live.operator.table *= 20_000
    with live.connect() as sock:
        sock.sendall(b"GET /v1/flows?limit=100000 HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: live.call(lambda: len(live.server.connections)) == 1)
        eventually(lambda: live.call(lambda: len(live.server.connections)) == 0)
        assert len(read_all(sock)) < 2_000_000
    assert works(live)


def test_a_flood_of_requests_on_one_connection_ends_it(live: Running) -> None:
    with live.connect() as sock:
        assert not sends(sock, GET * 1_000_000)
        assert read_all(sock).count(b"HTTP/1.1 200") <= 1
    with live.connect() as sock:
        sock.sendall(EVENTS)
        eventually(lambda: live.call(lambda: live.operator.events.count) == 1)
        sends(sock, GET)
        eventually(lambda: live.call(lambda: live.operator.events.count) == 0)
    assert works(live)


def test_floods_disturb_neither_the_loop_nor_other_clients(live: Running) -> None:
    """The loop, which moves the traffic as well, goes on, and other clients are served."""
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            live.talk(GET)
            live.talk(b"\0garbage\r\n\r\n")
            live.connect().close()

    async def longest_turn() -> float:
        loop, longest = asyncio.get_running_loop(), 0.0
        for _ in range(100):
            begin = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - begin)
        return longest

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert all(works(live) for _ in range(10))
        assert live.do(longest_turn()) < 1.0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_listeners_are_bounded_and_leave_their_place(live: Running) -> None:
    listening = []
    for _ in range(MAX_LISTENERS):
        listening.append(live.connect())
        listening[-1].sendall(EVENTS)
    eventually(lambda: live.call(lambda: live.operator.events.count) == MAX_LISTENERS)
    assert live.talk(EVENTS).startswith(b"HTTP/1.1 503")
    for sock in listening:
        sock.close()
    eventually(lambda: live.call(lambda: live.operator.events.count) == 0)
    with live.connect() as sock:
        sock.sendall(EVENTS)
        eventually(lambda: live.call(lambda: live.operator.events.count) == 1)


def test_a_listener_that_does_not_read_loses_its_connection(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 0.1)
    with live.connect() as sock:
        sock.sendall(EVENTS)
        eventually(lambda: live.call(lambda: live.operator.events.count) == 1)

        def publish() -> int:
            for _ in range(100):
                live.operator.events.publish("trouble", "x" * 10_000)
            return live.operator.events.count

        eventually(lambda: live.call(publish) == 0)


def test_a_client_that_waits_for_a_drain_can_leave(live: Running) -> None:
    live.call(live.operator.idle.clear)
    target = "/v1/services/web/backends/10.0.2.11?drain=1"
    with live.connect() as sock:
        sock.sendall(f"DELETE {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: live.operator.removing)
    live.do(asyncio.wait_for(live.operator.was_cancelled.wait(), SOON_S))
    service = live.operator.config.services[0]
    assert live.operator.removing == [(str(service.vip), service.backends[0].endpoint)]


def test_the_server_ends_soon_though_clients_stay(path: str) -> None:
    drain = b"DELETE /v1/services/web/backends/10.0.2.11?drain=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as held:
        with running(path) as server:
            server.call(server.operator.idle.clear)
            for said in (b"", GET[:9], EVENTS, drain):
                held.enter_context(server.connect()).sendall(said)
            eventually(lambda: server.operator.removing)
            begin = time.monotonic()
        assert time.monotonic() - begin < SOON_S / 2
        assert server.operator.was_cancelled.is_set()


def test_a_change_is_made_though_its_client_has_left(live: Running) -> None:
    live.do(live.operator.changing.acquire())
    with live.connect() as sock:
        sock.sendall(b"DELETE /v1/services/web HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: live.call(lambda: any(c.body == b"" and c.heard for c in
                                                 live.server.connections)))  # fmt: skip
    live.call(live.operator.changing.release)
    eventually(lambda: len(live.operator.config.services) == 1)


def test_no_change_of_many_at_the_same_time_is_lost(live: Running) -> None:

    def add(number: int) -> None:
        live.client.ask(
            "POST", ("services", "web", "backends"), {}, {"address": f"10.0.2.{number}"}
        )

    threads = [threading.Thread(target=add, args=(number,)) for number in range(100, 130)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(live.operator.config.services[0].backends) == 32


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_members_of_the_group_may_change_things_and_others_only_look() -> None:
    directory = tempfile.mkdtemp()
    os.chmod(directory, 0o755)
    try:
        for group, gid, served in ((None, 0, 403), ("daemon", 1, 200)):
            place = f"{directory}/{gid}.sock"
            with running(place, control_group=group):
                assert os.stat(place).st_gid == gid
                assert as_nobody(place, gid, "GET", "/v1/status") == 200
                assert as_nobody(place, gid, "POST", "/v1/zero") == served
                assert as_nobody(place, 65534, "GET", "/v1/status") == 0
    finally:
        shutil.rmtree(directory)


def as_nobody(place: str, gid: int, method: str, target: str) -> int:
    """The status; 0: no connection."""
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--groups", str(gid), "curl", "-sS",
         "-X", method, "--unix-socket", place, "-o", "/dev/null", "-w", "%{http_code}",
         f"http://x{target}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return int(done.stdout)


def test_the_server_goes_on_after_it_had_no_descriptors(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = live.server._listener.socket
    failures = iter(range(3))

    class Failing:
        def accept(self) -> object:
            if next(failures, None) is not None:
                raise OSError(24, "Too many open files")
            return real.accept()

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(server, "_REST_S", 0.01)
    monkeypatch.setattr(live.server._listener, "socket", Failing())
    assert works(live)
    assert json.loads(live.curl("http://x/v1/status")[1])["flows"] == 5
