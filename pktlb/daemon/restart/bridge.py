"""A child process that goes on moving frames while the next process starts.

It is a copy of the old process, made when its workers have stopped: it starts them again on its
copy of the flow table and the same sockets. When the next process has done all that can be done
beforehand, it has the child stop. Only then it reads these sockets itself, so no two ever do.

The child ends when the other end of its socket is closed: it never outlives the one it works for.
What it says, after it has stopped its workers, is one message: where they have left their rings, as
JSON, and a file with the flow table.
"""

import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Final, Self

from pktlb.daemon.restart.handover import Handover, in_memory
from pktlb.engine.engine import Engine
from pktlb.engine.wire.port import Port
from pktlb.engine.wire.tun import Tun
from pktlb.errors import KernelError

log: Final = logging.getLogger(__name__)

_FORMAT: Final = 1
_STOP: Final = b"stop"
_LONGEST: Final = 1 << 18
"Bytes of the message: rings of 64 ports with 64 workers, and more."
_ANSWER_S: Final = 2.0
"Seconds that a child has to stop and to answer, besides those for its flow table."
_BYTES_A_SECOND: Final = 20e6
"The rate at which a flow table comes at least; it is usually many times as high."
_KNOWN: Final[dict[type[Exception], str]] = {
    TimeoutError: "no answer in time",
    BrokenPipeError: "it ended",
    ConnectionResetError: "it ended",
}
_MOST_RINGS: Final = 1 << 32
_PR_SET_PDEATHSIG: Final = 1


class Bridge:
    """The child, as seen by the process that it works for."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self._socket: Final = socket.socket(fileno=descriptor)
        self._pid: Final = pid
        self._is_over = False

    @classmethod
    def build(cls, engine: Engine, ports: Sequence[Port], tun: Tun) -> Self | None:
        """Have a child do the work of an engine that has stopped.

        None where the system has no process or socket for it: then frames wait.
        """
        try:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            log.warning("frames wait during the restart: no socket for a bridge: %s", error)
            return None
        with its:
            try:
                pid = _fork()
            except OSError as error:
                ours.close()
                log.warning("frames wait during the restart: no process for a bridge: %s", error)
                return None
            if not pid:
                _be_child(engine, ports, tun, its)
        return cls(ours.detach(), pid)

    @property
    def place(self) -> tuple[int, int]:
        """Descriptor of its socket and process number, for the next process."""
        return self._socket.fileno(), self._pid

    def end(self, bytes_expected: int = 0) -> tuple[dict[str, list[int]], bytes]:
        """Have the child stop; returns where it has left the rings of each port, and its flow
        table. `KernelError` where it says nothing in time, or nothing that could be: then it is
        gone, and the rings are anywhere."""
        self._socket.settimeout(_ANSWER_S + bytes_expected / _BYTES_A_SECOND)
        try:
            self._socket.send(_STOP)
            message, files, flags, _ = socket.recv_fds(
                self._socket, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC
            )
            with contextlib.ExitStack() as stack:
                opened = [stack.enter_context(os.fdopen(file, "rb")) for file in files]
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(opened) != 1:
                    raise KernelError("its answer is cut off" if message else "it ended")
                opened[0].seek(0)
                return rings_in(message), opened[0].read()
        except (OSError, KernelError) as error:
            self.close()
            reason = _KNOWN.get(type(error), str(error))
            raise KernelError(
                f"the process that moved frames meanwhile failed: {reason}"
            ) from error

    def give_back(self, ports: Sequence[Port]) -> None:
        """Have the process that built it go on with its ports.

        Flows that only the child knows are lost: it has worked for a moment only.
        """
        try:
            rings, _ = self.end()
        except KernelError as error:
            log.error("%s; going on with new rings", error)
            rings = {}
        for port in ports:
            if port.name in rings:
                port.rings = rings[port.name]
            else:
                port.forget_rings()
        self.close()

    def close(self) -> None:
        """Kill the child, whatever it does, and close its socket."""
        if self._is_over:
            return
        self._is_over = True
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            # The kernel may have given the number to another process, which is no child of ours.
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def cross(bridge: Bridge, handover: Handover, dump: bytes) -> tuple[Handover, list[bytes]]:
    """What is to be gone on with when the child has stopped, and the dumps that there are, the
    newest first. `dump` is that of the process before it, which remains without the child's;
    without its rings the sockets are of no use."""
    try:
        rings, newest = bridge.end(len(dump))
        if {name: len(each) for name, each in rings.items()} != {
            name: len(left.sockets) for name, left in handover.ports.items()
        }:
            bridge.close()
            raise KernelError("the process that moved frames meanwhile had other sockets")
    except KernelError as error:
        log.error("%s; going on with what was before, and new sockets", error)
        return handover.without_ports(), [dump]
    ports = {name: left._replace(rings=rings[name]) for name, left in handover.ports.items()}
    return replace(handover, ports=ports), [newest, dump]


def message_of(rings: Mapping[str, Sequence[int]]) -> bytes:
    """The message of the child: where it has left the rings of each port."""
    return json.dumps({"format": _FORMAT, "rings": {n: list(r) for n, r in rings.items()}}).encode()


def rings_in(message: bytes) -> dict[str, list[int]]:
    """What `message_of` was given; `KernelError` where it is not that."""
    try:
        said: dict[str, Any] = json.loads(message)
        if said["format"] != _FORMAT:
            raise KernelError(f"its answer has format {said['format']}, not {_FORMAT}")
        return {name: [_ring(each) for each in rings] for name, rings in said["rings"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KernelError(f"its answer cannot be read: {error}") from error


def _ring(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MOST_RINGS:
        raise ValueError(f"{value!r} is no place in a ring")
    return value


def _fork() -> int:
    """Fork a child in which no signal is ever delivered.

    The parent decides about signals to the process group; the child learns of the end from its
    socket.

    Python warns of threads that the child does not have, and of locks that they may hold. Those of
    the standard library and of malloc are made anew. The engine's is taken by workers, which have
    stopped, by this thread, or by one that holds Python's, as no other thread does here. What the
    child does needs no other locks.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = -1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _be_child(engine: Engine, ports: Sequence[Port], tun: Tun, its: socket.socket) -> None:
    """Never returns. Whatever goes wrong, its end is all that is ever heard of it."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # should it hang as well
        gc.disable()
        logging.disable()
        signal.set_wakeup_fd(-1)  # it is the parent's
        sockets = [raw.fileno() for port in ports for raw in port.sockets]
        _keep_only([its.fileno(), tun.fileno(), *sockets])
        engine.start()
        if _is_told_to_stop(its):
            engine.stop()
            dump = in_memory(engine.plane.dump(monotonic(), with_ports=False))
            message = message_of({port.name: port.rings for port in ports})
            socket.send_fds(its, [message], [dump])
    finally:
        os._exit(0)


def _is_told_to_stop(its: socket.socket) -> bool:
    """Wait for a message; False where the other end is closed."""
    return its.recv(len(_STOP)) == _STOP


def _keep_only(descriptors: Sequence[int]) -> None:
    """Everything else is closed: the control socket, the lock, and what is logged to."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        if standard not in descriptors:
            os.dup2(nowhere, standard)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in descriptors:
            with contextlib.suppress(OSError):  # the one that the list was read from
                os.close(descriptor)
