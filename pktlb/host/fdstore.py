"""Descriptors that the service manager keeps from one run of a service to the next.

See sd_pid_notify_with_fds(3) and sd_listen_fds_with_names(3): what is stored at the end of one
process is open in the next one, from descriptor 3 on.
"""

import array
import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

_FIRST: Final = 3
_MARK: Final = "PKTLB_RESTARTING"
"Environment variable: the path of a file that says that the service is restarted."


def is_restarting() -> bool:
    """Whether the service manager stops this service only to start it again. The unit's ExecStop
    then makes a file (see `pktlb.host.unit`); it is removed here."""
    mark = os.environ.get(_MARK)
    if not mark or not os.environ.get("NOTIFY_SOCKET"):
        return False
    try:
        os.unlink(mark)
    except OSError:
        return False
    return True


def store(descriptors: Mapping[str, int]) -> None:
    """Have the service manager keep descriptors, by name. Raises `OSError`."""
    for name, descriptor in descriptors.items():
        _send(f"FDSTORE=1\nFDNAME={name}", descriptor)


def remove(kept: list[str]) -> None:
    """Tell the service manager to close the descriptors of these names."""
    for name in kept:
        with contextlib.suppress(OSError):
            _send(f"FDSTOREREMOVE=1\nFDNAME={name}")


def names() -> list[str]:
    """The names of the descriptors that were kept for this process. Empty after `stored`."""
    mine = os.environ.get("LISTEN_PID") == str(os.getpid())
    return os.environ.get("LISTEN_FDNAMES", "").split(":") if mine else []


def stored() -> dict[str, int]:
    """The descriptors that were kept for this process, by name. Empty at the second call."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    kept = names()
    count = os.environ.pop("LISTEN_FDS", "")
    del os.environ["LISTEN_PID"]
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdecimal() or int(count) != len(kept):
        return {}
    return {name: _FIRST + place for place, name in enumerate(kept)}


def _send(message: str, *descriptors: int) -> None:
    path = os.environ["NOTIFY_SOCKET"]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + path[1:] if path[0] == "@" else path)
        sender.sendmsg([message.encode()], rights if descriptors else [])
