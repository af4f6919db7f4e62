"""Bytes that a flow costs, everything counted: resident memory before and after opening many.

Run as `python -m tests.bench.memory ENGINE FLOWS`, in a process of its own: what was allocated and
given back by something else would hide what flows cost.
"""

import gc
import importlib
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pktlb.datapath.checksum import checksum
from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import endpoint_key
from pktlb.datapath.pipeline import Limits
from pktlb.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.model import Endpoint, Mode, Proto, Scheduler
from tests.bench import target
from tests.bench.contender import ENGINES
from tests.bench.trial import Settings

FLOWS: Final = 1_000_000
PAGE: Final = 4096
PLANES: Final = {
    "native": ("pktlb.native.dataplane", "NativeDataplane"),
    "python": ("pktlb.datapath.pipeline", "Dataplane"),
}
_VIP: Final = Endpoint(b"\x0a\x00\x01\x64", 80)
_BACKEND: Final = Endpoint(b"\x0a\x00\x02\x0b", 8080)


def measure(settings: Settings) -> None:
    """Once: it is the same every time."""
    found = settings.ledger.measure(target.MEMORY, "bytes")
    for engine in settings.engines:
        command = [sys.executable, "-m", "tests.bench.memory", engine, str(FLOWS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.add(ENGINES[engine], float(done.stdout))
        else:
            complaint = done.stderr.strip().rpartition("\n")[2]
            settings.ledger.note(f"memory a flow of {ENGINES[engine]}: {complaint}")


def make_plane(engine: str, flows: int) -> Any:
    """The datapath of an engine; all of them have the same interface."""
    module, name = PLANES[engine]
    plane: Callable[[Tables, Limits], Any] = getattr(importlib.import_module(module), name)
    return plane(_tables(), Limits(max_flows=flows))


def _tables() -> Tables:
    key = endpoint_key(Proto.UDP, _VIP)
    service = ServiceTable(
        key, _VIP, Proto.UDP, Mode.NAT, Scheduler.RR, (_BACKEND,), weights=(1,), slots=(0,)
    )
    return Tables(
        services={key: service},
        replies=frozenset({endpoint_key(Proto.UDP, _BACKEND)}),
        snat=frozenset(),
        hops={_BACKEND.address: NextHop(2, bytes(12), 1500, b"\x0a\x00\x02\x01")},
        ports={1: PortInfo(bytes(6), 1500), 2: PortInfo(bytes(6), 1500)},
        hash_key=bytes(16),
    )


def _datagram(client: Endpoint) -> bytearray:
    """An empty UDP datagram to the VIP, without a UDP checksum."""
    ip = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, Proto.UDP, 0,
                               client.address, _VIP.address))  # fmt: skip
    ip[10:12] = checksum(ip).to_bytes(2, "big")
    return bytearray(bytes(12) + b"\x08\x00") + ip + struct.pack(">HHHH", client.port, 80, 8, 0)


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def main(engine: str, flows: int) -> None:
    importlib.import_module(PLANES[engine][0])
    before = _resident()
    plane = make_plane(engine, flows)
    for number in range(flows):
        client = Endpoint((0x0A100000 + number).to_bytes(4, "big"), 4000)
        plane.handle(Frame(1, _datagram(client)), 0.0)
    if len(plane.flows) != flows:
        raise SystemExit(f"expected {flows} flows in the table, found {len(plane.flows)}")
    print((_resident() - before) / flows)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
