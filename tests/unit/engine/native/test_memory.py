"""Memory of the native engine: taken where it is needed, and told where there is none."""

import gc
import resource
import struct
import subprocess
import sys
from pathlib import Path

from pktlb.engine.datapath.checksum import checksum
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.engine.datapath.trail import HELD_COST, LIFETIME_S, MAX_HELD_BYTES, SHARE_OF_BYTES
from pktlb.engine.native.dataplane import NativeDataplane
from pktlb.model import Endpoint, Mode, Proto, Reason, Scheduler, Timeouts, Vip
from tests.support.packets import client, frame, udp, vip

POOLS = 200
MEGABYTE = 1 << 20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_pool_of_source_ports_costs_what_was_used_of_it() -> None:
    """With eight addresses each could take 2 MiB at the first port that it gets back."""
    backends = tuple(Endpoint(bytes([10, 0, 2, 11]), 1000 + n) for n in range(POOLS))
    dialled = Vip(*vip().endpoint, vip().port, (Proto.UDP,))
    service = ServiceTable(
        dialled, Mode.NAT, Scheduler.RR, backends, (1,) * POOLS, range(POOLS)
    )  # fmt: skip
    tables = Tables.of(
        [service],
        [Vip(backend.address, backend.port, backend.port, (Proto.UDP,)) for backend in backends],
        {backends[0].address: NextHop(2, bytes(12), 1500)},
        snat=frozenset(bytes([10, 0, 9, n]) for n in range(8)),
        ports={1: PortInfo(bytes(6), 1500)},
        hash_key=bytes(16),
    )
    plane = NativeDataplane(tables, Limits(timeouts=Timeouts(udp=1)))
    before = resident()
    for port in range(2 * POOLS):
        packet = frame(udp(client(1024 + port), vip(), b""))
        assert plane.handle(Frame(1, packet.data), 0.0).reason is Reason.OPENED
    assert plane.expire(2.0, 10_000) == 2 * POOLS
    assert resident() - before < 64 * MEGABYTE


def plane_of_one_service() -> NativeDataplane:
    backend = Endpoint(bytes([10, 0, 2, 11]), 1000)
    dialled = Vip(*vip().endpoint, vip().port, (Proto.UDP,))
    service = ServiceTable(dialled, Mode.DSR, Scheduler.RR, (backend,), (1,), (0,), direct=True)
    tables = Tables.of(
        [service],
        [],
        {backend.address: NextHop(2, bytes(12), 1500)},
        snat=frozenset(),
        ports={1: PortInfo(bytes(6), 1500)},
        hash_key=bytes(16),
    )
    return NativeDataplane(tables, Limits())


def later_fragment(ident: int, place: int) -> Frame:
    """Eight bytes of a packet whose first fragment nobody has seen."""
    address = client(1024).endpoint.address
    head = struct.pack(">BBHHHBBH", 0x45, 0, 28, ident, 0x2000 | place, 64, Proto.UDP, 0)
    ip = bytearray(head + address + vip().endpoint.address)
    ip[10:12] = checksum(ip).to_bytes(2, "big")
    return Frame(1, bytearray(bytes(12) + b"\x08\x00" + ip + bytes(8)))


def fill(plane: NativeDataplane, now: float) -> int:
    """As many of the smallest fragments as it holds."""
    for number in range(MAX_HELD_BYTES):
        fragment = later_fragment(number // 1000, 1 + number % 1000)
        if plane.handle(fragment, now).reason is not Reason.HELD:
            return number
    raise AssertionError("there is no bound")


def test_what_is_held_of_fragments_is_bounded_however_small_they_are() -> None:
    plane = plane_of_one_service()
    fill(plane, 0.0)
    plane.expire(LIFETIME_S, 10_000)
    before = resident()
    now = 2 * LIFETIME_S
    count = fill(plane, now)
    assert count == SHARE_OF_BYTES // (HELD_COST + len(later_fragment(0, 1).data))
    assert resident() - before < 2 * MAX_HELD_BYTES


def test_fragments_that_waited_in_vain_leave_no_memory_behind() -> None:
    plane = plane_of_one_service()
    count = fill(plane, 0.0)
    before = resident()
    for turn in range(1, 6):
        now = turn * LIFETIME_S
        plane.expire(now, 10_000)
        assert plane.counts[Reason.HELD] == 0
        assert fill(plane, now) == count
    assert resident() - before < MAX_HELD_BYTES
    assert plane.counts[Reason.HELD] == count
    assert sum(plane.counts.values()) == 6 * (count + 1)


def test_fragments_still_held_go_with_their_plane() -> None:
    fill(plane_of_one_service(), 0.0)
    gc.collect()
    before = resident()
    for _ in range(5):
        fill(plane_of_one_service(), 0.0)
        gc.collect()
    assert resident() - before < 2 * MAX_HELD_BYTES


def test_too_little_memory_is_said_in_one_line() -> None:
    """In a process of its own, whose address space is bounded."""
    program = """
import resource, sys
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.choose import make_plane
from pktlb.errors import KernelError
import pktlb.engine.native.dataplane
resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20))
tables = Tables.of([], [], {}, snat=frozenset(), ports={}, hash_key=bytes(16))
try:
    make_plane("native", tables, Limits(1 << 24))
except KernelError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "no memory for --max-flows 16777216\n"
