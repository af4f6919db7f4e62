"""Whose fault it is, and with which status the command ends.

A bad packet is never an exception: it is a `Reason` and a counter (see `pktlb.model`).
"""


class PktlbError(Exception):
    """Anything that ends a command with one line on standard error instead of a traceback."""

    exit_status = 1


class ConfigError(PktlbError):
    """What was asked for cannot be: the line names the flag, the value and what is expected."""

    exit_status = 2


class KernelError(PktlbError):
    """The machine refused: a privilege, a socket, netlink or nft; the line says what is missing."""

    exit_status = 3
