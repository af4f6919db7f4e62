"""Errors by whose fault they are, each with the exit status of the command.

A bad packet is never an exception: it is a `Reason` and a counter (see `pktlb.model`).
"""

import errno
import os
from collections.abc import Iterable


class PktlbError(Exception):
    """An error that ends a command with a line on standard error instead of a traceback."""

    exit_status = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that are printed: one, unless several things are wrong."""
        return (str(self),)


class ConfigError(PktlbError):
    """The operator's mistake: the line names the flag, the value and what is expected."""

    exit_status = 2


class FileError(ConfigError):
    """All mistakes in a configuration file, or in an object of the API."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        "One line each; for a file it begins with the file's name and the number of the line."
        more = len(self.problems) - 1
        super().__init__(self.problems[0] + (f" (and {more} more)" if more else ""))

    @property
    def lines(self) -> tuple[str, ...]:
        return self.problems


class KernelError(PktlbError):
    """The machine refused: a privilege, a socket, netlink or nft; the line says what is missing."""

    exit_status = 3


def refused(what: str, error: OSError, needs: str) -> KernelError:
    """The error of `what` the kernel has refused; it says what that `needs` if a privilege is
    missing."""
    why = os.strerror(error.errno) if error.errno else str(error)
    denied = error.errno in (errno.EPERM, errno.EACCES)
    return KernelError(f"{what}: {why}" + (f" (needs {needs})" if denied else ""))
