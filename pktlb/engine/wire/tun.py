"""A TUN device of pktlb's own: the kernel receives what is written to it like any IP packet.

The kernel deletes the device when its file is closed, even if the process was killed. See Linux,
Documentation/networking/tuntap.rst.
"""

import fcntl
import os
import struct
from collections import Counter
from typing import Final

from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, Frame, Offload
from pktlb.errors import refused

_TUNSETIFF: Final = 0x400454CA
_TUNGETIFF: Final = 0x800454D2
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_ETHERNET: Final = 14


class Tun:
    """Gives packets to the kernel, through a device that its opener must bring up."""

    def __init__(self, name: str, inherited: int | None = None) -> None:
        """Create the device `name`, or use the open file that another process has left of it.
        Raises `KernelError` where the kernel refuses."""
        self.name: Final = name
        self.errors: Counter[str] = Counter()
        if inherited is not None and _has_device(inherited):
            self._file = inherited
            return
        self._file = _open(name)
        if inherited is not None:
            os.close(inherited)

    def reopen(self) -> None:
        """Create the device anew: it was deleted, and its file is of no use any more."""
        os.close(self._file)
        self._file = -1
        self._file = _open(self.name)

    def fileno(self) -> int:
        return self._file

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def give_back(self, frame: Frame) -> bool:
        """Give the kernel the IP packet of an Ethernet frame, with the frame's offloads. False
        where it did not take it."""
        offload = frame.offload
        if offload.flags & NEEDS_CHECKSUM:
            offload = offload._replace(checksum_start=offload.checksum_start - _ETHERNET)
        if offload.header_length:
            offload = offload._replace(header_length=max(0, offload.header_length - _ETHERNET))
        return self.write(memoryview(frame.data)[_ETHERNET:], offload)

    def write(self, packet: memoryview | bytes, offload: Offload) -> bool:
        """Give the kernel an IP packet; offsets in `offload` count from its first byte. False where
        it did not take it."""
        try:
            os.writev(self._file, (offload.pack(), packet))
        except OSError as error:
            self.errors[f"write {error.strerror}"] += 1
            return False
        return True


def _open(name: str) -> int:
    """The file of a new TUN device; `KernelError` where the kernel refuses."""
    try:
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise refused("cannot open /dev/net/tun", error, "root or access to it") from error
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        os.close(file)
        what = f"cannot create the TUN device {name}"
        raise refused(what, error, "CAP_NET_ADMIN") from error
    return file


def _has_device(file: int) -> bool:
    """Whether the device of a file is still there."""
    try:
        fcntl.ioctl(file, _TUNGETIFF, bytes(40))
    except OSError:
        return False
    return True
