"""One pktlb of a kind in a network namespace: a file that only it may have locked.

The file is in a directory that only root and the user of the service may write to, so no other user
can hold up a start. The lock (flock(2)) goes with the process, and the next process can inherit it
with the descriptor. The file is named after the namespace, for namespaces share /run.
"""

import contextlib
import fcntl
import os
import stat
from typing import Final, Self

from pktlb.errors import KernelError, refused

DIRECTORY: Final = "/run/pktlb"
_NAMESPACE: Final = "/proc/self/ns/net"
_NEEDS: Final = f"root, or {DIRECTORY} to be this user's own"


class Lock:
    """A lock that is held until `release`; the descriptor may be left to the next process."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor: Final = descriptor
        self._path: Final = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def fileno(self) -> int:
        return self._descriptor

    def release(self) -> None:
        """Let another pktlb start. The file goes first: a lock on a file that is gone is none."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._descriptor)


def claim(what: str, inherited: int | None = None) -> Lock:
    """Hold the lock `what`, or go on with the one that an earlier process has left.

    `KernelError` where another process holds it, or where the file cannot be made.
    """
    path = f"{DIRECTORY}/{what}-{os.stat(_NAMESPACE).st_ino}.lock"
    if inherited is not None:
        if stat.S_ISREG(os.fstat(inherited).st_mode):
            _write_pid(inherited)
            return Lock(inherited, path)
        os.close(inherited)  # of a version that had another kind of lock
    try:
        _make_directory()
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, descriptor):
                    _write_pid(descriptor)
                    return Lock(descriptor, path)
                os.close(descriptor)  # it was released, and its file removed, in between
            except BlockingIOError:
                holder = _read_pid(descriptor)
                os.close(descriptor)
                raise KernelError(
                    f"another `pktlb {what}` runs in this network namespace{holder}"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
    except OSError as error:
        raise refused(f"cannot lock {path}", error, _NEEDS) from error


def _make_directory() -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(DIRECTORY, 0o755)
        os.chmod(DIRECTORY, 0o755)  # whatever the umask says
    if os.stat(DIRECTORY).st_mode & stat.S_IWOTH:
        raise KernelError(f"{DIRECTORY}: expected a directory that not every user can write to")


def _is_at(path: str, descriptor: int) -> bool:
    """Whether the locked file is still the one that others would lock."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _write_pid(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _read_pid(descriptor: int) -> str:
    """The holder's process number as a part of the message; the file may be empty for a moment."""
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return f": process {text}" if text.isdigit() else ""
