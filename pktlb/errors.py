"""Whose fault it is, and with which status the command ends.

A bad packet is never an exception: it is a `Reason` and a counter (see `pktlb.model`).
"""

import errno
import os


class PktlbError(Exception):
    """Anything that ends a command with one line on standard error instead of a traceback."""

    exit_status = 1


class ConfigError(PktlbError):
    """What was asked for cannot be: the line names the flag, the value and what is expected."""

    exit_status = 2


class KernelError(PktlbError):
    """The machine refused: a privilege, a socket, netlink or nft; the line says what is missing."""

    exit_status = 3


def refused(what: str, error: OSError, needs: str) -> KernelError:
    """What the kernel refused and why; what it `needs`, where a privilege is missing."""
    why = os.strerror(error.errno) if error.errno else str(error)
    denied = error.errno in (errno.EPERM, errno.EACCES)
    return KernelError(f"{what}: {why}" + (f" (needs {needs})" if denied else ""))
