"""The process at the other end of the control socket, and whether it may change things."""

import errno
import grp
import os
import pwd
import socket
import struct
from typing import Final, NamedTuple

from pktlb.errors import ConfigError

_CREDENTIALS: Final = struct.Struct("iII")
"struct ucred: pid, uid, gid."
_SO_PEERGROUPS: Final = 59
_MAX_GROUPS_BYTES: Final = 1024
"The most that Python's getsockopt takes."


class Peer(NamedTuple):
    """A process as it was when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]
    "Group ids, the supplementary ones as well."


def peer_of(connection: socket.socket) -> Peer:
    """The process at the other end, by the kernel's word: unix(7), SO_PEERCRED."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        more = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_BYTES)
        groups = [number for (number,) in struct.iter_unpack("I", more)]
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        groups = _groups_on_record(uid, gid)
    return Peer(pid, uid, frozenset([gid, *groups]))


def _groups_on_record(uid: int, gid: int) -> list[int]:
    """The groups of a user in the user database, for more groups than the kernel's answer holds."""
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return []


class Rights:
    """Root, the daemon's own user and the members of one group may change things. Raises
    `ConfigError` if there is no such group."""

    def __init__(self, group: str | None) -> None:
        self.gid: Final = None if group is None else _gid_of(group)
        self._users: Final = frozenset({0, os.geteuid()})

    def may_change(self, peer: Peer) -> bool:
        return peer.uid in self._users or self.gid in peer.groups


def _gid_of(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError) as error:
        raise ConfigError(f"control_group {group}: expected a group of this machine") from error
