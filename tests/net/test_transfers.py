"""Long transfers, compared by their SHA-256, and the checksums of every single frame.

MTU 1500 everywhere. So uploads through a tunnel work only because the client is told to send less
(ICMP "fragmentation needed" from the VIP).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netns.host import Host, Switch
from netns.lab import Lab
from netns.server import blocks, sha256_of_bytes
from tests.net.conftest import MODES
from tests.net.world import World, serving, switch_offloads

if TYPE_CHECKING:
    from scapy.packet import Packet

SIZE = 100_000_000
SMALL = 400_000
MSS = 1448


def leave_offloads(lab: Lab) -> None:
    """A veth pair by default: frames of up to 64 KiB, with partial checksums."""


def no_offloads(lab: Lab) -> None:
    """Each frame has a size and checksums as on a real cable."""
    switch_offloads(lab, on=False)


def merge_on_arrival(lab: Lab) -> None:
    """Frames of cable size that each receiver merges, as real network cards do."""
    switch_offloads(lab, on=False)
    for host in lab.hosts.values():
        if not isinstance(host, Switch):
            glue(host)


def glue(host: Host) -> None:
    """GRO, with time for frames to meet: on a veth pair each would otherwise arrive alone."""
    wait_for_more = "echo 2 > napi_defer_hard_irqs; echo 1000000 > gro_flush_timeout"
    for ifname in host.macs:
        host.run("ethtool", "-K", ifname, "rx", "on", "gro", "on")
        host.run("sh", "-c", f"cd /sys/class/net/{ifname}; {wait_for_more}")


@pytest.mark.parametrize("prepare", [leave_offloads, no_offloads, merge_on_arrival])
@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_megabytes_arrive_unchanged_in_both_directions(
    mode: str, prepare: Callable[[Lab], None], payload: Path
) -> None:
    with serving(MODES[mode], prepare) as world:
        balancer = world.balance()
        assert world.download(SIZE) == sha256_of_bytes(SIZE)
        assert world.upload(payload) == sha256_of_bytes(SIZE)
        assert balancer.stop() == 0
        forwarded = int(re.findall(r" forwarded=(\d+)", balancer.stderr)[-1])
        assert (forwarded < SIZE / MSS) == (prepare is not no_offloads)  # long frames, or none


def test_decap_unwraps_what_the_backend_s_card_has_merged(payload: Path) -> None:
    """GRO of the backend merges IP-in-IP segments before `pktlb decap` reads them."""
    with serving(MODES["tunnel"], merge_on_arrival) as world:
        world.balance()
        assert world.upload(payload) == sha256_of_bytes(SIZE)
        decapsulators = [it for it in world.lab.processes if "decap" in it.argv]
        assert [it.stop() for it in decapsulators] == [0, 0, 0]
        logs = "".join(it.stderr for it in decapsulators)
        assert sum(map(int, re.findall(r"(\d+) packets: UNWRAPPED", logs))) < SIZE / MSS / 2


@pytest.mark.parametrize("mode", MODES)
def test_every_frame_has_right_checksums_and_fits_the_cable(mode: str, tmp_path: Path) -> None:
    with serving(MODES[mode], no_offloads) as world:
        check_frames(world, tmp_path)


def test_segments_cut_for_the_tunnel_have_right_checksums_and_fit_the_cable(tmp_path: Path) -> None:
    """The client's offloads are on: the balancer itself cuts its long frames."""
    with serving(MODES["tunnel"]) as world:
        check_frames(world, tmp_path)


def check_frames(world: World, tmp_path: Path) -> None:
    """Download and upload a little, and look at every frame that reaches a backend."""
    body = tmp_path / "payload"
    body.write_bytes(b"".join(blocks(SMALL)))
    world.balance()
    arriving = [f"ether dst {host.macs['eth0']} and ip" for host in world.backends]
    captures = [
        host.capture("eth0", what) for host, what in zip(world.backends, arriving, strict=True)
    ]
    assert world.download(SMALL) == world.upload(body) == sha256_of_bytes(SMALL)
    frames = [frame for capture in captures for frame in capture.stop()]
    assert len(frames) > SMALL / 1500
    assert max(len(frame) for frame in frames) == 1514
    assert [frame for frame in frames if not is_right(frame)] == []


def is_right(frame: "Packet") -> bool:
    """Whether scapy computes the same lengths and checksums.

    A TCP checksum of 0 may be 0xffff in the frame, which code for all protocols makes of it. To the
    receiver it is the same (RFC 1071).
    """
    anew = frame.copy()
    layer = anew
    while layer:
        for name in ("chksum", "len", "ihl", "dataofs"):
            if hasattr(layer, name):
                delattr(layer, name)
        layer = layer.payload
    anew = frame.__class__(bytes(anew))
    if anew.haslayer("TCP") and (anew["TCP"].chksum, frame["TCP"].chksum) == (0, 0xFFFF):
        anew["TCP"].chksum = 0xFFFF
    return bytes(anew) == bytes(frame)
