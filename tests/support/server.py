"""A server of the control socket in a thread of its own, and clients of it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from pktlb.control.client import Client
from pktlb.control.server import Server, serving
from tests.support.operator import FakeOperator

Result = TypeVar("Result")

TIMEOUT_S = 20.0


class Running:
    """The server, its operator, and ways to reach both from outside its loop."""

    def __init__(self, path: str, operator: FakeOperator) -> None:
        self.path = path
        self.operator = operator
        self.client = Client(path)
        self.server: Server
        self.loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` in the server's loop; its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT_S)

    def call(self, work: Callable[[], Result]) -> Result:
        async def run() -> Result:
            return work()

        return self.do(run())

    def connect(self) -> socket.socket:
        """A connection to the socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(TIMEOUT_S)
        sock.connect(self.path)
        return sock

    def talk(self, *pieces: bytes) -> bytes:
        """Send pieces; all that comes back until the server closes, which may be b""."""
        with self.connect() as sock:
            try:
                for piece in pieces:
                    sock.sendall(piece)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has closed before it has read everything
            return read_all(sock)

    def curl(self, *arguments: str) -> tuple[int, str]:
        """Run curl; the status of HTTP and the body."""
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "20", "--unix-socket", self.path, "-w", "\n%{http_code}",
             *arguments],
            capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def ask(self, method: str, target: str, body: bytes = b"", extra: bytes = b"") -> Any:
        """Send one request; its status, and the JSON of the answer."""
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
        raw = self.talk(head + extra + b"\r\n", body)
        head, _, rest = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(rest)

    def command(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """`pktlb ...` as an operator types it."""
        return subprocess.run(
            [sys.executable, "-m", "pktlb", *arguments], capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "PKTLB_SOCKET": self.path, **env},
        )  # fmt: skip


def read_all(sock: socket.socket) -> bytes:
    """All that comes until the end, or until the connection is reset."""
    found = b""
    try:
        while piece := sock.recv(65536):
            found += piece
    except ConnectionError:
        pass
    return found


@contextmanager
def running(
    path: str, operator: FakeOperator | None = None, fd: int | None = None, **config: Any
) -> Iterator[Running]:
    """Serve at `path` until the end of the block."""
    found = Running(path, operator or FakeOperator())
    started: Future[None] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        wanted = replace(found.operator.config, control=path, **config)
        async with serving(found.operator, wanted, fd) as found.server:
            found.loop = asyncio.get_running_loop()
            found.stop = lambda: found.loop.call_soon_threadsafe(stop.set)  # type: ignore[attr-defined]
            started.set_result(None)
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        started.result(TIMEOUT_S)
        yield found
    finally:
        if hasattr(found, "stop"):
            found.stop()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
