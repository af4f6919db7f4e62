"""Forged TCP packets beside a running download: they end, move and redirect nothing."""

import random
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from netns.waiting import wait_until
from tests.net.test_strange_frames import NEXT_TO_BALANCER
from tests.net.world import CLIENT, CURL, World

if TYPE_CHECKING:
    from scapy.packet import Packet

PORT = 4567
ROUNDS = 20
SIZE = 12_000_000
"More than the buffers of both ends hold."
ATTACKER = "02:66:66:66:66:66"


def forgeries(world: World) -> list["Packet"]:
    """RST, SYN, FIN and ACK of the client's address and port, with numbers that are guessed."""
    rng = random.Random(1)
    ends = IP(src=CLIENT, dst=world.vip[0])
    return [
        ends / TCP(sport=PORT, dport=world.vip[1], flags=flags, seq=number, ack=other, window=512)
        for flags in ("R", "S", "A", "RA", "FA", "S", "A")
        for number, other in ((rng.getrandbits(32), rng.getrandbits(32)), (1, 1))
    ]


def attack(world: World, file: Path) -> None:
    """Send them again and again, each time when more data has come."""
    name, ifname, to = NEXT_TO_BALANCER[world.topology.mode]
    host = world.lab.hosts[name]
    header = Ether(src=ATTACKER, dst=world.balancer.macs[to])
    frames = [bytes(header / packet) for packet in forgeries(world)]
    with host.enter():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with closing(raw):
        raw.bind((ifname, 0))
        for part in range(1, ROUNDS):
            wait_until(lambda: file.stat().st_size > part * SIZE // 60, 20, "more data")  # noqa: B023
            for frame in frames:
                raw.send(frame)


@pytest.mark.parametrize("world", ["nat", "dsr"], indirect=True)
def test_a_download_survives_forged_packets(world: World) -> None:
    balancer = world.balance()
    expected = world.download(SIZE)
    file = world.lab.new_file(world.client, "download")
    curl = (*CURL, "--limit-rate", "2M", "--local-port", str(PORT), "-o", str(file))
    running = world.client.start(*curl, "-w", "begun", f"{world.url}/bytes/{SIZE}")
    wait_until(lambda: file.exists() and file.stat().st_size > 10_000, 10, "data arrives")
    attack(world, file)
    assert running.wait(30) == 0
    assert world.client.run("sha256sum", str(file)).stdout.split()[0] == expected
    assert balancer.stop() == 0
    assert "opened=2 " in balancer.stderr
