"""Kernel settings under /proc/sys, by their path there: "net/ipv4/ip_forward"."""

import contextlib
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/proc/sys")


def read(name: str) -> str:
    """The value; "" where the kernel has no such setting."""
    try:
        return (_ROOT / name).read_text().strip()
    except OSError:
        return ""


def write(name: str, value: str) -> None:
    """Set it, if the kernel has it. Only for devices of pktlb's own."""
    with contextlib.suppress(OSError):
        (_ROOT / name).write_text(value)


def effective(setting: str, interface: str) -> int:
    """The value in force of an IPv4 setting of which the larger one of "all" and the interface
    counts; 0 where the kernel has no such setting."""
    values = (read(f"net/ipv4/conf/{scope}/{setting}") for scope in ("all", interface))
    return max(int(value) if value.isdigit() else 0 for value in values)
