"""Frames that the ring of a raw socket cannot hold, or never delivers."""

import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from netns.process import Process
from netns.server import sha256_of_bytes
from netns.waiting import wait_until
from tests.net.guest import Guest, tap
from tests.net.world import World

LOST = "receive EINVAL: frames were lost whose offloads cannot be passed on"
REMEDY = "ethtool -K DEV tx-udp-fragmentation off"
BURST = 100
DOWNLOAD = 300_000_000


@contextmanager
def guest_on_its_own_link(world: World) -> Iterator[Guest]:
    gateway = world.balancer
    with tap(gateway, "guest") as file:
        gateway.run("ip", "address", "add", "10.0.9.1/24", "dev", "guest")
        mac = gateway.run("cat", "/sys/class/net/guest/address").stdout.strip()
        yield Guest(file, "10.0.9.2", mac, world.vip)


@contextmanager
def guest_among_the_clients(world: World) -> Iterator[Guest]:
    """The interface `wan` becomes a port of a bridge, `br0`, which the guest's TAP belongs to."""
    gateway = world.balancer
    mac = gateway.macs["wan"]
    with tap(gateway, "guest") as file:
        for command in (
            "link add br0 type bridge", f"link set br0 address {mac}",
            "address del 10.0.1.1/24 dev wan", "link set wan promisc on",
            "link set wan master br0", "link set guest master br0",
            "address add 10.0.1.1/24 dev br0", "link set br0 up",
        ):  # fmt: skip
            gateway.run("ip", *command.split())
        yield Guest(file, "10.0.1.99", mac, world.vip)


def balance_udp_too(world: World, *interfaces: str) -> Process:
    """Start pktlb with the world's service for TCP and UDP."""
    address, port = world.vip
    arguments = world.arguments()
    arguments[arguments.index(f"{address}:{port}")] += "/any"
    return world.balancer.pktlb(
        *arguments, *(word for name in interfaces for word in ("--interface", name))
    )


def explained(balancer: Process) -> str:
    """What pktlb says of all frames so far."""
    before = balancer.stderr.count("flows=")

    def said() -> bool:
        return balancer.stderr.count("flows=") > before

    balancer.send_signal(signal.SIGUSR1)
    wait_until(said, 10, "pktlb answers")
    return balancer.stderr[balancer.stderr.rindex("flows=") :]


def test_a_frame_that_the_kernel_cannot_describe_does_not_end_reception(nat_world: World) -> None:
    """Virtual machines send such frames: datagrams to be cut into fragments (UFO)."""
    with guest_on_its_own_link(nat_world) as guest:
        balancer = balance_udp_too(nat_world, "wan", "lan", "guest")
        wait_until(guest.is_served, 10, "the guest is served")
        guest.send_unspeakable()
        wait_until(guest.is_served, 10, "the guest is served again")
        wait_until(lambda: LOST in explained(balancer), 10, "pktlb tells the cause")
        told = explained(balancer)
        assert f"1 frames: guest: {LOST}" in told
        assert REMEDY in told
        assert "too slow" not in told


def test_datagrams_that_arrive_around_such_frames_are_all_forwarded(nat_world: World) -> None:
    """What has arrived before the first one is fetched; after it, only these frames are lost."""
    with guest_on_its_own_link(nat_world) as guest:
        balancer = balance_udp_too(nat_world, "wan", "lan", "guest")
        wait_until(guest.is_served, 10, "the guest is served")
        sent: set[bytes] = set()
        seen: set[bytes] = set()

        def burst(name: str) -> None:
            for number in range(BURST):
                load = f"<{name} {number}>".encode()
                guest.send(load)
                sent.add(load)

        def all_seen() -> bool:
            seen.update(re.findall(rb"<\w+ \d+>", guest.received()))
            return sent <= seen

        burst("before")
        guest.send_unspeakable()
        wait_until(all_seen, 10, "the datagrams before the frame are answered")
        wait_until(guest.is_served, 10, "the guest is served again")
        for turn in range(5):
            burst(f"ahead{turn}")
            guest.send_unspeakable()
            burst(f"behind{turn}")
            wait_until(all_seen, 10, "the datagrams before and after the frame are answered")
        wait_until(lambda: f"6 frames: guest: {LOST}" in explained(balancer), 10, "six are counted")


@pytest.mark.parametrize("pause_s", [1, 0.1], ids=["1/s", "10/s"])
def test_such_frames_disturb_no_download_and_no_request(nat_world: World, pause_s: float) -> None:
    with guest_among_the_clients(nat_world) as guest:
        balancer = balance_udp_too(nat_world, "br0", "lan")
        over = threading.Event()

        def attack() -> None:
            while not over.wait(pause_s):
                guest.send_unspeakable()

        attacker = threading.Thread(target=attack)
        attacker.start()
        try:
            wait_until(lambda: LOST in explained(balancer), 20, "such frames arrive")
            assert nat_world.download(DOWNLOAD) == sha256_of_bytes(DOWNLOAD)
            assert len(nat_world.ask(30)) == 30
        finally:
            over.set()
            attacker.join()
        assert "too slow" not in explained(balancer)


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
