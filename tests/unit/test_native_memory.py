"""Memory of the native engine: taken where it is needed, and told where there is none."""

import resource
import subprocess
import sys
from pathlib import Path

from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import endpoint_key
from pktlb.datapath.pipeline import Limits
from pktlb.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.model import Endpoint, Mode, Proto, Reason, Scheduler, Timeouts
from pktlb.native.dataplane import NativeDataplane
from tests.packets import client, frame, udp, vip

POOLS = 200
MEGABYTE = 1 << 20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_pool_of_source_ports_costs_what_was_used_of_it() -> None:
    """With eight addresses each could take 2 MiB at the first port that it gets back."""
    backends = tuple(Endpoint(bytes([10, 0, 2, 11]), 1000 + n) for n in range(POOLS))
    key = endpoint_key(Proto.UDP, vip().endpoint)
    service = ServiceTable(
        key, vip().endpoint, Proto.UDP, Mode.NAT, Scheduler.RR, backends, (1,) * POOLS,
        range(POOLS),
    )  # fmt: skip
    tables = Tables(
        services={key: service},
        replies=frozenset(endpoint_key(Proto.UDP, backend) for backend in backends),
        snat=frozenset(bytes([10, 0, 9, n]) for n in range(8)),
        hops={backends[0].address: NextHop(2, bytes(12), 1500)},
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


def test_too_little_memory_is_said_in_one_line() -> None:
    """In a process of its own, whose address space is bounded."""
    program = """
import resource, sys
from pktlb.datapath.pipeline import Limits
from pktlb.datapath.tables import Tables
from pktlb.engines import make_plane
from pktlb.errors import KernelError
import pktlb.native.dataplane
resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20))
try:
    make_plane("native", Tables({}, frozenset(), frozenset(), {}, {}, bytes(16)), Limits(1 << 24))
except KernelError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "no memory for --max-flows 16777216\n"
