"""The way to the next process: a trial, the handover, and what takes this process's place.

What is handed over stands in a file in memory that the next process finds by its descriptor. The
sockets stay open all the while, so the kernel goes on filling them. The addresses and the guard
stay in place, so nothing else ever handles a packet.
"""

import asyncio
import os
import signal
import sys
from typing import Final

from pktlb.daemon.restart.handover import Handover, descriptors, in_memory, pack, renumbered, unpack
from pktlb.errors import KernelError
from pktlb.host import fdstore
from pktlb.host.presence import STOPPING

_VARIABLE: Final = "PKTLB_HANDOVER"
"Number of the descriptor, in the environment of the next process."
_TRIAL: Final = "PKTLB_TRIAL"
_NOTE: Final = "note"
"What the service manager calls the file in memory; the others are called by their numbers."
_LONGEST: Final = 64 << 20
_TRIAL_S: Final = 30.0
_KNOWS_BRIDGES: Final = "pktlb: would start, with a bridge"


def is_expected() -> bool:
    """Whether something was handed over to this process, which `receive` is going to find."""
    return _VARIABLE in os.environ or _NOTE in fdstore.names()


def receive() -> Handover | None:
    """What was handed over to this process, if anything: by the one that became it, or by the
    service manager."""
    number = os.environ.pop(_VARIABLE, "")
    kept = {} if number else fdstore.stored()
    if not number and _NOTE not in kept:
        return None
    with os.fdopen(int(number or kept[_NOTE]), "rb") as file:
        file.seek(0)
        handover = unpack(file.read(_LONGEST))
    if kept:
        fdstore.remove(list(kept))
        handover = renumbered(handover, {int(n): fd for n, fd in kept.items() if n != _NOTE})
    for descriptor in descriptors(handover):
        os.set_inheritable(descriptor, False)
    return handover


def leave(handover: Handover) -> None:
    """Have the service manager keep everything for the process that it starts next; `OSError`
    where it does not take it."""
    kept = {str(descriptor): descriptor for descriptor in descriptors(handover)}
    fdstore.store({**kept, _NOTE: in_memory(pack(handover))})


def is_trial() -> bool:
    """Whether this process is only to see if it could start."""
    return _TRIAL in os.environ


def pass_trial() -> None:
    """Say that this process could start, and what it knows how to take over."""
    print(_KNOWS_BRIDGES)


async def try_next() -> bool:
    """Have the next process come as far as it can without anything being handed over: the program,
    the flags and the file are what it will find. `KernelError` with its words where it cannot;
    else whether it knows how to end a bridge, which an earlier version would leave standing."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *sys.orig_argv[1:], env={**os.environ, _TRIAL: "1"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise KernelError(f"cannot start the next pktlb: {error}") from error
    try:
        async with asyncio.timeout(_TRIAL_S):
            said, complaint = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise KernelError(f"the next pktlb did not start within {_TRIAL_S:.0f} s") from error
    if process.returncode:
        lines = complaint.decode(errors="replace").strip().splitlines() or ["no message"]
        raise KernelError(f"the next pktlb would not start: {lines[-1]}")
    return _KNOWS_BRIDGES in said.decode(errors="replace").splitlines()


def become_next(handover: Handover) -> None:
    """Replace this process by the next one. Comes back with `KernelError` where that is refused."""
    note = in_memory(pack(handover))
    inherited = [note, *descriptors(handover)]
    # Until the next one can undo its doings it must not be ended by a signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    for descriptor in inherited:
        os.set_inheritable(descriptor, True)
    try:
        environment = {**os.environ, _VARIABLE: str(note)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError as error:
        for descriptor in inherited:
            os.set_inheritable(descriptor, False)
        os.close(note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        raise KernelError(f"cannot start the next pktlb: {error}") from error
