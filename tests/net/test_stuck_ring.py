"""A worker whose ring one frame has stopped, with no control beside it that could help."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import cast

import pytest

from netns.waiting import wait_until
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.native.dataplane import NativeDataplane
from pktlb.engine.shared import Shared
from pktlb.engine.wire.filter import EVERYTHING
from pktlb.engine.wire.port import Port
from pktlb.engine.wire.tun import Tun
from pktlb.engine.workers import NativeEngine
from tests.net.guest import Guest, tap
from tests.net.world import World

EINVAL = 22
SLOTS = 8192
"Frames that a ring holds where the MTU is 1500."
BUSY_US = (0, 5_000_000)
"Sleeps when there is nothing to do, or never does."


class Nowhere:
    """Takes the place of the TUN device."""

    name = "nowhere"

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.file = open(os.devnull, "wb")  # noqa: SIM115 - closed by `closing`

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


@contextmanager
def working(world: World, busy_us: int = 0) -> Iterator[tuple[Guest, Shared, NativeEngine]]:
    """One worker at the link of a guest. It is neither ticked nor asked whether it lives."""
    with tap(world.balancer, "guest") as file, closing(Nowhere()) as nowhere:
        mac = world.balancer.run("cat", "/sys/class/net/guest/address").stdout.strip()
        with world.balancer.enter():
            port = Port(socket.if_nametoindex("guest"), "guest", 1500, [EVERYTHING])
        with closing(port):
            tables = Tables.of([], [], {}, ports={}, hash_key=bytes(16))
            plane = NativeDataplane(tables, Limits(max_flows=100))
            engine = NativeEngine(plane, [port], cast(Tun, nowhere), busy_us, realtime=False)
            with engine.working():
                guest = Guest(file, "10.0.9.2", mac, ("10.0.9.1", 9))
                yield guest, engine._shared[0], engine


def einvals(shared: Shared) -> int:
    return dict(shared.receive_errors(0)).get(EINVAL, 0)


def counted(shared: Shared, count: int) -> None:
    wait_until(lambda: einvals(shared) == count, 10, "the frame is counted")


def comes(guest: Guest, shared: Shared, count: int = 1) -> None:
    """So many frames of the guest arrive, and no other does."""
    before = shared.received(0)
    for _ in range(count):
        guest.send(b"x")
    wait_until(lambda: shared.received(0) == before + count, 10, "all frames arrive")


@pytest.mark.parametrize("busy_us", BUSY_US)
def test_the_worker_itself_finds_that_its_ring_has_stopped(nat_world: World, busy_us: int) -> None:
    with working(nat_world, busy_us) as (guest, shared, _):
        comes(guest, shared, 100)
        guest.send_unspeakable()
        wait_until(lambda: shared.stuck(0) == 1, 10, "it finds that without another frame")
        assert einvals(shared) == 1
        for count in range(2, 10):
            comes(guest, shared, 100)
            guest.send_unspeakable()
            counted(shared, count)
        comes(guest, shared, 100)
        assert (shared.stuck(0), shared.blocked(0), shared.slow(0)) == (1, 0, 0)


def test_the_next_worker_begins_with_a_ring_again(nat_world: World) -> None:
    with working(nat_world) as (guest, shared, engine):
        guest.send_unspeakable()
        wait_until(lambda: shared.stuck(0) == 1, 10, "the ring has stopped")
        engine.stop()
        engine.start()
        second = engine._shared[0]
        comes(guest, second, 100)
        guest.send_unspeakable()
        wait_until(lambda: second.stuck(0) == 1, 10, "the second ring has stopped, too")
        comes(guest, second, 100)
        assert [sum(engine.trouble().values()), engine.dropped] == [2, 0]


def test_a_ring_that_has_stopped_between_two_workers_is_found(nat_world: World) -> None:
    with working(nat_world) as (guest, shared, engine):
        comes(guest, shared, 100)
        engine.stop()
        for _ in range(50):
            guest.send(b"waits")
        guest.send_unspeakable()
        engine.start()
        second = engine._shared[0]
        wait_until(lambda: second.received(0) == 50, 10, "what has waited arrives")
        guest.send(b"is lost at most")
        wait_until(lambda: second.stuck(0) == 1, 10, "the worker finds it")
        comes(guest, second, 100)


def test_a_ring_that_was_full_is_not_taken_for_one_that_has_stopped(nat_world: World) -> None:
    """The worker was kept from running: all that waits is handled, the rest is too much."""
    with working(nat_world) as (guest, shared, engine):
        comes(guest, shared, 100)
        engine.stop()
        for _ in range(SLOTS + 500):
            guest.send(b"x")
        engine.start()
        second = engine._shared[0]
        wait_until(lambda: second.slow(0) > 0, 10, "the loss is counted")
        wait_until(lambda: second.received(0) + second.slow(0) >= SLOTS, 10, "the rest is handled")
        comes(guest, second, 100)
        assert (second.stuck(0), einvals(second)) == (0, 0)
        engine.trouble()
        assert engine.dropped == second.slow(0) == 500
