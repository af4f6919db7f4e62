"""Frames that no ordinary client sends: with a VLAN tag, broken, or of no connection."""

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from netns.waiting import wait_until
from tests.net.world import CLIENT, World

if TYPE_CHECKING:
    from scapy.packet import Packet

NEXT_TO_BALANCER = {
    "nat": ("client", "eth0", "wan"),
    "dsr": ("router", "lan", "eth0"),
    "tunnel": ("router", "front", "eth0"),
}
"The sender of a client's packets to the balancer: host, interface, and the balancer's interface."

PORT = 4000

COUNT_TAGGED = """
table netdev watch {
    chain seen {
        type filter hook ingress device "%s" priority 0; policy accept;
        ether type { 8021q, 8021ad } counter
    }
}
"""
"A chain after the guard, whose priority is -300."


def test_a_tagged_frame_is_neither_forwarded_nor_held_back(world: World) -> None:
    """The frame is for another network, whose device must get it if there is one."""
    world.balance()
    *_, ifname = NEXT_TO_BALANCER[world.topology.mode]
    table = world.lab.new_file(world.balancer, "watch")
    table.write_text(COUNT_TAGGED % ifname)
    world.balancer.run("nft", "-f", str(table))
    captures = [world.balancer.capture(name) for name in world.balancer.macs]

    inject(world, Dot1Q(vlan=5) / to_vip(world) / TCP(sport=PORT, dport=world.vip[1], flags="S"))

    def counted() -> bool:
        watched = world.balancer.run("nft", "list", "table", "netdev", "watch").stdout
        return "counter packets 1 " in watched

    wait_until(counted, 5, "the kernel has got the tagged frame")
    world.ask(3)
    frames = [frame for capture in captures for frame in capture.stop()]
    assert [frame["TCP"].flags for frame in frames if is_from_port(frame)] == ["S"]
    assert [frame.haslayer(Dot1Q) for frame in frames if is_from_port(frame)] == [1]


@pytest.mark.parametrize("tag", [Dot1Q(vlan=0, prio=5), Dot1AD(vlan=0, prio=5)], ids=["q", "ad"])
def test_a_frame_with_a_tag_for_its_priority_alone_is_forwarded_without_it(
    world: World, tag: "Packet"
) -> None:
    """VLAN 0 is no network of its own (IEEE 802.1Q): the kernel takes such a frame like any."""
    world.balance()
    *_, ifname = NEXT_TO_BALANCER[world.topology.mode]
    table = world.lab.new_file(world.balancer, "watch")
    table.write_text(COUNT_TAGGED % ifname)
    world.balancer.run("nft", "-f", str(table))
    captures = [world.balancer.capture(name) for name in world.balancer.macs]

    inject(world, tag / to_vip(world) / TCP(sport=PORT, dport=world.vip[1], flags="S"))

    world.ask(3)
    frames = [frame for capture in captures for frame in capture.stop()]
    syns = [frame for frame in frames if is_from_port(frame) and frame[TCP].flags == "S"]
    assert sorted(map(is_tagged, syns)) == [False, True]
    watched = world.balancer.run("nft", "list", "table", "netdev", "watch").stdout
    assert watched.count("counter packets 0 ") == 1, "the guard has held it"


@pytest.mark.parametrize("mac", ["02:00:00:00:ff:ff", "ff:ff:ff:ff:ff:ff"], ids=["other", "all"])
def test_a_frame_to_another_mac_is_not_ours_in_promiscuous_mode_either(
    world: World, mac: str
) -> None:
    """A switch sends frames for unknown MACs to all ports; a capture makes the card take them."""
    balancer = world.balance()
    captures = [world.balancer.capture(name) for name in world.balancer.macs]
    inject(world, to_vip(world) / TCP(sport=PORT, dport=world.vip[1], flags="S"), mac=mac)
    assert world.answers(3) == {"a": 1, "b": 1, "c": 1}
    frames = [frame for capture in captures for frame in capture.stop()]
    assert [frame.dst for frame in frames if is_from_port(frame)] == [mac]
    assert balancer.stop() == 0
    assert "opened=3" in balancer.stderr


@pytest.mark.parametrize("flags", ["A", "PA", "SA", "FA"])
def test_a_packet_in_the_middle_of_nothing_is_reset_by_the_kernel(world: World, flags: str) -> None:
    """So a client whose connection is not known any more does not wait for ever."""
    world.balance()
    capture = world.client.capture("eth0", f"tcp dst port {PORT}")
    inject(
        world,
        to_vip(world) / TCP(sport=PORT, dport=world.vip[1], flags=flags, seq=7, ack=99),
    )
    wait_until(lambda: capture.file.stat().st_size > 40, 5, "an answer comes")
    (answer,) = capture.stop()
    assert (answer["IP"].src, answer["TCP"].sport) == world.vip
    assert str(answer["TCP"].flags) == "R"
    assert answer["TCP"].seq == 99


@pytest.mark.parametrize("world", ["nat", "tunnel"], indirect=True)
def test_broken_frames_are_dropped_and_logged_and_disturb_no_others(world: World) -> None:
    """Not in the topology of DSR: a switch that is a Linux bridge drops broken headers itself."""
    balancer = world.balance()
    port = world.vip[1]
    segment = TCP(sport=PORT, dport=port, flags="S")
    captures = [host.capture("eth0", "ip dst not 10.0.1.2") for host in world.backends]
    inject(
        world,
        to_vip(world, chksum=0x1234) / segment,
        to_vip(world, ttl=1) / segment,
        to_vip(world, len=2000) / segment,
        to_vip(world) / TCP(sport=PORT, dport=port, flags="S", dataofs=3),
        to_vip(world, proto=6) / Raw(b"\x0f\xa0" + port.to_bytes(2, "big")),
        to_vip(world) / UDP(sport=PORT, dport=port) / b"no such service",
    )
    assert world.answers(9) == {"a": 3, "b": 3, "c": 3}
    frames = [frame for capture in captures for frame in capture.stop()]
    assert [frame for frame in frames if is_from_port(frame)] == []
    assert balancer.stop() == 0
    assert "bad_checksum=1" in balancer.stderr
    assert "ttl_expired=1" in balancer.stderr
    assert "truncated=2" in balancer.stderr
    assert "bad_header=1" in balancer.stderr
    assert "TTL_EXPIRED: the TTL ran out here" in balancer.stderr


def to_vip(world: World, **fields: object) -> "Packet":
    return IP(src=CLIENT, dst=world.vip[0], **fields)


def inject(world: World, *packets: "Packet", mac: str = "") -> None:
    """Send packets to the balancer, or to another MAC, from the link of its clients."""
    name, ifname, to = NEXT_TO_BALANCER[world.topology.mode]
    sender = world.lab.hosts[name]
    header = Ether(src=sender.macs[ifname], dst=mac or world.balancer.macs[to])
    with sender.enter():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with closing(raw):
        raw.bind((ifname, 0))
        for packet in packets:
            raw.send(bytes(header / packet))


def is_tagged(frame: "Packet") -> bool:
    return bool(frame.haslayer(Dot1Q) or frame.haslayer(Dot1AD))


def is_from_port(frame: "Packet") -> bool:
    return bool(frame.haslayer(TCP) and frame[TCP].sport == PORT)
