"""Named network namespaces and the processes that live in them.

The namespaces are the ones that `ip netns` knows (files in /run/netns), so that a person can look
into a laboratory with the tools at hand. Standard library only: the janitor starts with this
module and has to be there quickly.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path("/run/netns")
CLONE_NEWNET: Final = 0x40000000
MNT_DETACH: Final = 2

libc: Final = ctypes.CDLL(None, use_errno=True)


def names(run: str) -> list[str]:
    """The namespaces of one laboratory: all whose names begin with `run`-."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(path.name for path in DIRECTORY.iterdir() if path.name.startswith(f"{run}-"))


def set_namespace(fd: int) -> None:
    """Move the current thread, and only it, into the network namespace open as `fd`."""
    if libc.setns(fd, CLONE_NEWNET) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"setns: {os.strerror(errno)}")


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Let the current thread live in namespace `name` for the length of a `with` block.

    A socket or a child process that is made in the block belongs to the namespace for ever. Other
    threads of this process stay where they are.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            set_namespace(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            set_namespace(home)
    finally:
        os.close(home)


def remove(name: str) -> None:
    """Remove the name of a namespace. The kernel removes the namespace with its last user."""
    path = DIRECTORY / name
    libc.umount2(os.fsencode(path), MNT_DETACH)
    path.unlink(missing_ok=True)


def identity(path: str | Path) -> tuple[int, int] | None:
    """Two numbers that tell a namespace from others; None if there is nothing at `path`."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_processes(namespaces: list[str]) -> dict[int, int]:
    """The processes that live in these namespaces: process id to pidfd, for the caller to close.

    The caller itself and its parent do not count, wherever they are. A pidfd is opened first and
    the namespace looked up after: so it surely belongs to the process that was looked at, even if
    the number is taken by another one a moment later.
    """
    wanted = {identity(DIRECTORY / name) for name in namespaces} - {None}
    found = {}
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        if pid in (os.getpid(), os.getppid()):
            continue
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if identity(f"/proc/{pid}/ns/net") in wanted:
            found[pid] = pidfd
        else:
            os.close(pidfd)
    return found
