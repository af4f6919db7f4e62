"""A virtual machine beside the balancer, as a TAP device shows it."""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from netns.host import Host

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
NEEDS_CHECKSUM, GSO_UDP_FRAGMENTS = 1, 3
GUEST_MAC = "02:00:00:00:09:02"


class Guest:
    """A virtual machine behind a TAP device; it sends to a service of the balancer."""

    def __init__(self, file: int, address: str, mac: str, end: tuple[str, int]) -> None:
        """`mac`: the balancer's on the guest's link; `end`: the service, a port of UDP."""
        self.file = file
        packet = IP(src=address, dst=end[0]) / UDP(sport=4000, dport=end[1])
        self._head = Ether(src=GUEST_MAC, dst=mac) / packet

    def send(self, load: bytes, *offload: int) -> None:
        header = struct.pack("=BBHHHH", *(offload or (0, 0, 0, 0, 0, 0)))
        os.write(self.file, header + bytes(self._head / load))

    def send_unspeakable(self) -> None:
        """A datagram that the receiver is to cut into fragments (UFO)."""
        self.send(bytes(5000), NEEDS_CHECKSUM, GSO_UDP_FRAGMENTS, 42, 1448, 34, 6)

    def received(self) -> bytes:
        """All frames that have come since the last call."""
        got = b""
        try:
            while True:
                got += os.read(self.file, 4096)
        except BlockingIOError:
            return got

    def is_served(self) -> bool:
        self.send(b"hello")
        return b"hello" in self.received()


@contextmanager
def tap(host: Host, ifname: str) -> Iterator[int]:
    """A TAP device, behind which there is another machine, as a virtual one would be."""
    with host.enter():
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags))
    try:
        host.run("ip", "link", "set", ifname, "up")
        yield file
    finally:
        os.close(file)
