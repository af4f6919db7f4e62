"""Whose fault it is, and with which status the command ends.

A bad packet is never an exception: it is a `Reason` and a counter (see `pktlb.model`).
"""

import errno
import os
from collections.abc import Iterable


class PktlbError(Exception):
    """Anything that ends a command with one line on standard error instead of a traceback."""

    exit_status = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """What is printed: one line, unless more is wrong at once."""
        return (str(self),)


class ConfigError(PktlbError):
    """What was asked for cannot be: the line names the flag, the value and what is expected."""

    exit_status = 2


class FileError(ConfigError):
    """All that is wrong with a configuration file, or with an object of the API."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        "One line each; of a file, with its name and the number of the line in front."
        more = len(self.problems) - 1
        super().__init__(self.problems[0] + (f" (and {more} more)" if more else ""))

    @property
    def lines(self) -> tuple[str, ...]:
        return self.problems


class KernelError(PktlbError):
    """The machine refused: a privilege, a socket, netlink or nft; the line says what is missing."""

    exit_status = 3


def refused(what: str, error: OSError, needs: str) -> KernelError:
    """What the kernel refused and why; what it `needs`, where a privilege is missing."""
    why = os.strerror(error.errno) if error.errno else str(error)
    denied = error.errno in (errno.EPERM, errno.EACCES)
    return KernelError(f"{what}: {why}" + (f" (needs {needs})" if denied else ""))
