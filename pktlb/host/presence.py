"""What a running pktlb tells the process that started it, and what ends it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"What asks a pktlb to undo its doings and end; a terminal that is closed is one of them."


def notify(message: str) -> None:
    """Send a message to the service manager, if there is one: sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message.encode(), "\0" + path[1:] if path[0] == "@" else path)


def watchdog_interval() -> float | None:
    """Seconds from one `notify("WATCHDOG=1")` to the next: half of what the service manager grants
    (sd_watchdog_enabled(3)). None where it does not watch this process."""
    granted, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not _is_number(granted) or int(granted) == 0:
        return None
    if pid is not None and (not _is_number(pid) or int(pid) != os.getpid()):
        return None
    return int(granted) / 2e6


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def run_until_stopped(main: Coroutine[None, None, None]) -> None:
    """Run `main` until it ends, or until a signal of `STOPPING` cancels it. Raises what it raises.

    Only the first signal cancels `main`: what it undoes on its way out is not disturbed by others.
    """
    supervised = _supervise(main)
    try:
        asyncio.run(supervised)
    finally:
        supervised.close()  # without an event loop, neither of the two has begun
        main.close()


async def _supervise(main: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(main)
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:
            asked = True
            notify("STOPPING=1")
            task.cancel()

    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # see `pktlb.daemon.restart.successor`
    with contextlib.suppress(asyncio.CancelledError):
        await task


def ready(what: str) -> None:
    """Say that `what` serves from now on: one line on standard output, and to the service
    manager."""
    # A closed pipe must not end the service, now or when Python flushes its buffers.
    if sys.stdout is not None:
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), f"pktlb: ready {what}\n".encode())
    notify("READY=1")
