"""The janitor: a small process that takes a laboratory down when its owner is gone.

It holds the reading end of a pipe whose only writing end is in the owner. However the owner ends
(at the end of a `with` block, by an exception, a signal or kill -9), the kernel closes that end,
the janitor reads end-of-file and sweeps: one way of cleaning up, which is used every time. An
owner that wants its laboratory to outlive it says so by writing KEEP.

Run as `python -m netns.janitor NAME`; it kills only processes that live in namespaces of that
laboratory, one by one, by process id.
"""

import os
import select
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

from netns import namespace

KEEP: Final = b"keep\n"
LABS: Final = Path("/run/pktlb-labs")
"Directories of running laboratories: output of processes, captures."

PATIENCE: Final = 5.0
"Seconds in which the kernel must have ended a killed process."


def sweep(run: str) -> None:
    """Leave nothing of the laboratory `run`: no process, no namespace, no file."""
    namespaces = namespace.names(run)
    while processes := namespace.open_processes(namespaces):  # again: they may have forked
        for pidfd in processes.values():
            kill(pidfd)
    for name in namespaces:
        namespace.remove(name)
    shutil.rmtree(LABS / run, ignore_errors=True)


def kill(pidfd: int) -> None:
    """Kill a process and wait for its end; closes the pidfd."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], PATIENCE)
    except ProcessLookupError:
        pass  # it ended by itself meanwhile
    finally:
        os.close(pidfd)


def main(run: str) -> None:
    """Wait for the owner's end, and sweep, unless the owner has written KEEP."""
    for unwanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(unwanted, signal.SIG_IGN)  # meant for the owner, whose end is awaited
    if sys.stdin.buffer.read() != KEEP:
        sweep(run)


if __name__ == "__main__":
    main(sys.argv[1])
