"""The listening Unix socket and its file. A file whose process is dead is replaced."""

import contextlib
import os
import socket
import stat
from typing import Final

from pktlb.control.place import DIRECTORY
from pktlb.errors import KernelError, refused

MODE: Final = 0o660
_BACKLOG: Final = 128
_NEEDS: Final = "a directory that this user may write to"


class Listener:
    """A listening socket with a file of its own."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        self.socket: Final = sock
        self.path: Final = path
        self._identity: Final = _identity(path)

    def remove(self) -> None:
        """Take the file away, unless another process has put its own in the place."""
        with contextlib.suppress(OSError):
            if self._identity and _identity(self.path) == self._identity:
                os.unlink(self.path)


def listen(path: str, gid: int | None) -> Listener:
    """Listen at `path`; the file has mode 0660 and the group `gid` before a client can connect.
    Raises `KernelError`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if os.path.dirname(os.path.abspath(path)) == DIRECTORY:
            _make(DIRECTORY)
        _make_way(path)
        os.fchmod(sock.fileno(), 0)  # Linux gives the file the mode of the socket
        sock.bind(path)
        listener = Listener(sock, path)
        try:
            if gid is not None:
                os.chown(path, -1, gid)
            os.chmod(path, MODE)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
        except BaseException:
            listener.remove()
            raise
    except OSError as error:
        sock.close()
        raise refused(f"control socket {path}", error, _NEEDS) from error
    except BaseException:
        sock.close()
        raise
    return listener


def adopt(descriptor: int, path: str) -> Listener:
    """Go on with a listening socket that an earlier process has made. Raises `KernelError` if the
    descriptor is none."""
    sock = socket.socket(fileno=descriptor)
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family != socket.AF_UNIX or not listening:
        raise KernelError(f"descriptor {descriptor}: expected a listening Unix socket")
    sock.setblocking(False)
    return Listener(sock, path)


def _make(directory: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
        os.chmod(directory, 0o755)  # whatever the umask says


def _make_way(path: str) -> None:
    """Take the socket of a dead process away. Raises `KernelError` if anything else is there."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise KernelError(f"control socket {path}: something that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # alive, and busy
    raise KernelError(f"control socket {path}: another pktlb answers there (see --name)")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
