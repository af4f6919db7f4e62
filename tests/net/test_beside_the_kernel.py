"""The balancer's kernel does not interfere: only frames of pktlb leave the balancer, each once.

Every interface of the balancer is captured, and its kernel would forward (ip_forward=1).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from netns.lab import Lab
from netns.server import sha256_of_bytes
from tests.net.conftest import MODES
from tests.net.world import CLIENT, World, serving, switch_offloads

if TYPE_CHECKING:
    from scapy.packet import Packet

REQUESTS = 20
DOWNLOAD = 500_000
SYN, RST = "S", "R"


@pytest.fixture(params=MODES)
def router_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each mode, on a balancer whose kernel would forward; frames as on a cable."""

    def prepare(lab: Lab) -> None:
        lab.hosts[MODES[request.param].balancer].sysctl("net.ipv4.ip_forward", "1")
        switch_offloads(lab, on=False)

    with serving(MODES[request.param], prepare) as world:
        yield world


def test_no_reset_leaves_the_balancer_and_none_is_provoked(router_world: World) -> None:
    world = router_world
    world.balance()
    with captured(world) as frames:
        make_traffic(world)
    assert [frame for frame in tcp(frames) if RST in flags(frame)] == []
    assert [frame for frame in frames if frame.haslayer("ICMP") and not is_too_big(frame)] == []


def test_each_packet_leaves_once_and_none_is_made_up(router_world: World) -> None:
    world = router_world
    world.balance()
    with captured(world) as frames:
        make_traffic(world)
    came, went = split(world, tcp(frames))
    syns = Counter(identity(frame) for frame in went if flags(frame) == SYN)
    assert len(syns) == REQUESTS + 1
    assert set(syns.values()) == {1}
    assert Counter(map(identity, went)) == Counter(map(identity, came))


def test_the_kernel_sends_nothing_from_or_to_the_untranslated_ends(router_world: World) -> None:
    """Replies in mode nat come from the VIP alone; in other modes none crosses the balancer."""
    world = router_world
    world.balance()
    with captured(world) as frames:
        make_traffic(world)
    _, went = split(world, tcp(frames))
    to_client = [frame for frame in went if inner(frame).dst == CLIENT]
    if world.topology.mode != "nat":
        assert to_client == []
    address, port = world.vip
    assert {(inner(f).src, f["TCP"].sport) for f in to_client} <= {(address, port)}


def test_a_download_does_not_cross_the_balancer(direct_world: World) -> None:
    world = direct_world
    world.balance()
    size = 20_000_000
    before = world.balancer.counters("eth0")
    world.download(size)
    after = world.balancer.counters("eth0")
    for key in ("rx_bytes", "tx_bytes"):
        assert 0 < after[key] - before[key] < size / 10  # acknowledgements


def test_with_nat_a_download_crosses_the_balancer_both_ways(nat_world: World) -> None:
    """The counters that show no download in other modes show this one."""
    nat_world.balance()
    size = 2_000_000
    before = nat_world.balancer.counters("wan")["tx_bytes"]
    nat_world.download(size)
    assert nat_world.balancer.counters("wan")["tx_bytes"] - before > size


def test_a_host_that_is_no_backend_gets_no_packet(world: World) -> None:
    """A server that pktlb is not told of, such as one that is added to the network later."""
    arguments = world.arguments()
    arguments = arguments[: arguments.index(world.topology.backends["c"]) - 1]
    world.balancer.pktlb(*arguments)
    spared = world.lab.hosts["c"]
    capture = spared.capture("eth0", "tcp or udp or proto 4")
    assert world.answers(10) == {"a": 5, "b": 5}
    assert capture.stop() == []


@contextmanager
def captured(world: World) -> "Iterator[list[Packet]]":
    """All frames of the balancer's interfaces during the `with` block.

    Frames may be on their way through the balancer at the end of the block. They leave it before
    the frames of one more request, which is awaited and not counted.
    """
    frames: list[Packet] = []
    captures = [world.balancer.capture(ifname) for ifname in world.balancer.macs]
    yield frames
    (last,) = world.ask()
    for capture in captures:
        frames += [frame for frame in capture.stop() if not is_from_or_to(frame, last.client_port)]


def make_traffic(world: World) -> None:
    world.ask(REQUESTS)
    assert world.download(DOWNLOAD) == sha256_of_bytes(DOWNLOAD)
    world.hang_up()


def split(world: World, frames: "Sequence[Packet]") -> "tuple[list[Packet], list[Packet]]":
    """The frames that came to the balancer, and the frames that left it."""
    own = set(world.balancer.macs.values())
    came = [frame for frame in frames if frame.dst in own]
    went = [frame for frame in frames if frame.src in own]
    assert len(came) + len(went) == len(frames)
    return came, went


def tcp(frames: "Sequence[Packet]") -> "list[Packet]":
    return [frame for frame in frames if frame.haslayer("TCP")]


def is_from_or_to(frame: "Packet", port: int) -> bool:
    return bool(frame.haslayer("TCP") and port in (frame["TCP"].sport, frame["TCP"].dport))


def flags(frame: "Packet") -> str:
    return str(frame["TCP"].flags)


def inner(frame: "Packet") -> "Packet":
    """The IP header that the TCP header belongs to."""
    return frame["TCP"].underlayer


def identity(frame: "Packet") -> tuple[object, ...]:
    """The parts of a packet that no mode rewrites; a retransmission has another IP id."""
    segment, packet = frame["TCP"], inner(frame)
    return packet.id, segment.seq, segment.ack, str(segment.flags), bytes(segment.payload)


def is_too_big(frame: "Packet") -> bool:
    return bool(frame["ICMP"].type == 3 and frame["ICMP"].code == 4)
