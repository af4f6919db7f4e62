"""A host whose kernel has a module for tunnels loaded, played by this process: the kernels of the
laboratories have none.

It sees each packet of the tunnel that a raw socket sees. With its device up, it delivers what is
inside through that device; with the device down, it answers "port unreachable", as Linux does.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from netns.host import Host
from pktlb.engine.datapath.checksum import checksum
from tests.net.sockets import family_of

_TUNSETIFF, _TUNSETLINK = 0x400454CA, 0x400454CD
_TUN_WITHOUT_HEADER: Final = 0x1001
DEVICES: Final = {socket.AF_INET: ("tunl0", 768), socket.AF_INET6: ("ip6tnl0", 769)}
"Names and hardware types, by the family of the outer packets."
_PROTOS: Final = (4, 41)


class TunnelModule:
    """What the kernel of a host does with the packets of tunnels to an address of it."""

    def __init__(self, host: Host, address: str, up: bool) -> None:
        self.delivered = 0
        "Packets that went through the device."
        self.refused = 0
        "Answers that were not let out of the host."
        self._address: Final = address
        self._family: Final = family_of(address)
        self.name, kind = DEVICES[self._family]
        with host.enter():
            self._device = os.open("/dev/net/tun", os.O_RDWR)
            name = struct.pack("16sH22x", self.name.encode(), _TUN_WITHOUT_HEADER)
            fcntl.ioctl(self._device, _TUNSETIFF, name)
            fcntl.ioctl(self._device, _TUNSETLINK, kind)
            self._sockets = [socket.socket(self._family, socket.SOCK_RAW, p) for p in _PROTOS]
            icmp = socket.IPPROTO_ICMP if self._family == socket.AF_INET else 58
            self._icmp = socket.socket(self._family, socket.SOCK_RAW, icmp)
        if up:
            host.run("ip", "link", "set", self.name, "up")
        self._up: Final = up
        self._end, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def close(self) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for each in (*self._sockets, self._icmp, self._end, self._stop):
            each.close()
        os.close(self._device)

    def _work(self) -> None:
        while True:
            ready, _, _ = select.select([self._end, *self._sockets], [], [])
            if self._end in ready:
                return
            for each in ready:
                packet, sender = each.recvfrom(65535)
                if self._up:
                    self._deliver(packet)
                else:
                    self._refuse(packet, sender, each.proto)

    def _deliver(self, packet: bytes) -> None:
        os.write(self._device, packet[20:] if self._family == socket.AF_INET else packet)
        self.delivered += 1

    def _refuse(self, packet: bytes, sender: tuple[str, int], proto: int) -> None:
        if self._family == socket.AF_INET:
            error = bytearray(struct.pack("!BBHI", 3, 3, 0, 0) + packet[:548])
            error[2:4] = checksum(error).to_bytes(2, "big")
        else:
            ends = (socket.inet_pton(self._family, end) for end in (sender[0], self._address))
            outer = struct.pack("!IHBB16s16s", 6 << 28, len(packet), proto, 64, *ends)
            error = bytearray(struct.pack("!BBHI", 1, 4, 0, 0) + (outer + packet)[:1232])
        try:
            self._icmp.sendto(error, (sender[0], 0))
        except PermissionError:  # a rule of the output hook has dropped it
            self.refused += 1


@contextmanager
def tunnel_module(host: Host, address: str, *, up: bool) -> Iterator[TunnelModule]:
    """The module at work on a host, for tunnels to this address of it."""
    with contextlib.closing(TunnelModule(host, address, up)) as module:
        yield module
