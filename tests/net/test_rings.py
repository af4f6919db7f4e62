"""Frames that the ring of a raw socket cannot hold, or never delivers."""

import fcntl
import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from netns.host import Host
from netns.waiting import wait_until
from tests.net.world import World

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
NEEDS_CHECKSUM, GSO_UDP_FRAGMENTS = 1, 3
GUEST = "10.0.9.2"
GUEST_MAC = "02:00:00:00:09:02"


@contextmanager
def tap(host: Host, ifname: str) -> Iterator[int]:
    """A TAP device, behind which there is another machine, as a virtual one would be."""
    with host.enter():
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags))
    try:
        host.run("ip", "address", "add", "10.0.9.1/24", "dev", ifname)
        host.run("ip", "link", "set", ifname, "up")
        yield file
    finally:
        os.close(file)


def test_a_frame_that_the_kernel_cannot_describe_does_not_end_reception(nat_world: World) -> None:
    """Virtual machines send such frames: datagrams to be cut into fragments (UFO)."""
    gateway = nat_world.balancer
    address, port = nat_world.vip
    with tap(gateway, "guest") as file:
        arguments = nat_world.arguments("--interface", "wan", "--interface", "lan")
        arguments[arguments.index(f"{address}:{port}")] += "/udp"
        balancer = gateway.pktlb(*arguments, "--interface", "guest")
        mac = gateway.run("cat", "/sys/class/net/guest/address").stdout.strip()

        def send(load: bytes, *offload: int) -> None:
            packet = IP(src=GUEST, dst=address) / UDP(sport=4000, dport=port) / load
            header = struct.pack("=BBHHHH", *(offload or (0, 0, 0, 0, 0, 0)))
            os.write(file, header + bytes(Ether(src=GUEST_MAC, dst=mac) / packet))

        def answered() -> bool:
            send(b"hello")
            try:
                while b"hello" not in os.read(file, 4096):
                    pass
            except BlockingIOError:
                return False
            return True

        wait_until(answered, 10, "the guest is served")
        send(bytes(5000), NEEDS_CHECKSUM, GSO_UDP_FRAGMENTS, 42, 1448, 34, 6)

        def mended() -> bool:
            send(b"hello")
            balancer.send_signal(signal.SIGUSR1)
            return "guest: receive EINVAL" in balancer.stderr

        wait_until(mended, 20, "pktlb notices")
        wait_until(answered, 10, "the guest is served again")


def test_frames_that_a_full_device_will_not_take_are_counted_and_others_follow(
    nat_world: World,
) -> None:
    """A queue of 3 kB at 100 kbit/s is full at once, and for longer than a worker waits."""
    gateway, (address, port) = nat_world.balancer, nat_world.vip
    arguments = nat_world.arguments()
    arguments[arguments.index(f"{address}:{port}")] += "/udp"
    balancer = gateway.pktlb(*arguments)
    shaper = ("tbf", "rate", "100kbit", "burst", "1540", "limit", "3000")
    gateway.run("tc", "qdisc", "add", "dev", "lan", "root", *shaper)
    with nat_world.client.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(sender):
        sender.connect((address, port))
        sender.settimeout(5)
        for _ in range(500):
            sender.send(bytes(1000))

        def counted() -> bool:
            balancer.send_signal(signal.SIGUSR1)
            return "lan: send E" in balancer.stderr

        wait_until(counted, 10, "pktlb tells what it could not send")
        gateway.run("tc", "qdisc", "del", "dev", "lan", "root")
        sender.send(b"after all")
        while not sender.recv(4096).endswith(b"after all"):
            pass
    assert balancer.stop() == 0
