"""The listening sockets of this machine and their holders: sock_diag(7) and proc(5).

A process without CAP_SYS_PTRACE sees the files of no process that has more rights than itself. So
holders are looked for once before the capabilities are given up, and their names are kept by the
socket's inode. A holder that cannot be seen is told by its user.
"""

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pktlb.host.machine import Listener
from pktlb.model import Proto

log: Final = logging.getLogger(__name__)

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")
"struct nlmsghdr."
_REQUEST: Final = struct.Struct("=BBBBI48x")
"struct inet_diag_req_v2."
_FOUND: Final = struct.Struct("=BBBB2s2s16s16sIIIIIIII")
"struct inet_diag_msg."
_ATTRIBUTE: Final = struct.Struct("=HH")
_INET_DIAG_SKV6ONLY: Final = 11
_LISTEN: Final = 1 << 10
_UNCONNECTED: Final = 1 << 7
"A state of TCP that UDP sockets without a peer are in."
_STATES: Final = {Proto.TCP: _LISTEN, Proto.UDP: _UNCONNECTED}
_MAPPED: Final = bytes(10) + b"\xff\xff"
_PIECE: Final = 65536
_PATIENCE_S: Final = 1.0
_MOST_PROCESSES: Final = 4096
_MOST_FILES: Final = 65536
_PROC: Final = Path("/proc")


class _Socket(NamedTuple):
    """A listening socket as the kernel tells it."""

    proto: int
    address: bytes
    port: int
    takes_ipv4: bool
    uid: int
    inode: int


class Listeners:
    """Asks for what listens in this network namespace; remembers the holders that it has seen."""

    def __init__(self) -> None:
        self._holders: dict[int, str] = {}
        "By inode of the socket."

    def read(self) -> list[Listener]:
        """What listens now; nothing where the kernel does not tell it."""
        sockets = _sockets()
        if inodes := {each.inode for each in sockets} - self._holders.keys():
            self._holders.update(_holders(inodes))
        return [
            Listener(*each[:4], holder=self._holders.get(each.inode, f"uid {each.uid}"))
            for each in sockets
        ]


def _sockets() -> list[_Socket]:
    try:
        return [
            found
            for family in (socket.AF_INET, socket.AF_INET6)
            for proto, states in _STATES.items()
            for found in _dump(family, proto, states)
        ]
    except OSError as error:
        log.info("what listens on this machine is not known: %s", error.strerror or error)
        return []


def _dump(family: int, proto: int, states: int) -> Iterator[_Socket]:
    """The sockets of a family and a protocol in some states."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_PATIENCE_S)
        request = _REQUEST.pack(family, proto, 0, 0, states)
        length = _HEADER.size + len(request)
        head = _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 0, 0)
        netlink.send(head + request)
        while True:
            for kind, body in _messages(netlink.recv(_PIECE)):
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                if len(body) >= _FOUND.size:
                    yield _understood(proto, body)


def _messages(piece: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message."""
    at = 0
    while at + _HEADER.size <= len(piece):
        length, kind, *_ = _HEADER.unpack_from(piece, at)
        yield kind, piece[at + _HEADER.size : at + length]
        at += max(_HEADER.size, length + 3 & ~3)


def _understood(proto: int, body: bytes) -> _Socket:
    family, _, _, _, port, _, source, *_, uid, inode = _FOUND.unpack_from(body)
    address = source[:4] if family == socket.AF_INET else source
    if address.startswith(_MAPPED):
        address = address[len(_MAPPED) :]
    takes_ipv4 = len(address) == 16 and not _is_ipv6_only(body)
    return _Socket(proto, address, int.from_bytes(port, "big"), takes_ipv4, uid, inode)


def _is_ipv6_only(body: bytes) -> bool:
    at = _FOUND.size
    while at + _ATTRIBUTE.size < len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind == _INET_DIAG_SKV6ONLY:
            return bool(body[at + _ATTRIBUTE.size])
        at += max(_ATTRIBUTE.size, length + 3 & ~3)
    return False


def _holders(inodes: Collection[int]) -> dict[int, str]:
    """The process of each socket, as far as processes let themselves be looked at."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, str] = {}
    looks = 0
    for pid in sorted(int(name) for name in os.listdir(_PROC) if name.isdigit())[:_MOST_PROCESSES]:
        for file in _files(pid):
            looks += 1
            inode = wanted.get(file, 0)
            if inode and inode not in found:
                found[inode] = f"{_name(pid)}, pid {pid}"
        if len(found) == len(wanted) or looks > _MOST_FILES:
            break
    return found


def _files(pid: int) -> Iterator[str]:
    """What the open files of a process are called; nothing where it has ended, or is not to be
    looked at."""
    directory = f"{_PROC}/{pid}/fd"
    with contextlib.suppress(OSError):
        for number in os.listdir(directory):
            with contextlib.suppress(OSError):
                yield os.readlink(f"{directory}/{number}")


def _name(pid: int) -> str:
    """A process chooses its name, so only what can be printed is taken of it."""
    try:
        name = (_PROC / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return "a process that has ended"
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in name)
