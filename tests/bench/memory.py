"""Bytes that a flow costs, everything counted: resident memory before and after opening many.

Run as `python -m tests.bench.memory ENGINE IPVERSION FLOWS`, in a process of its own: what was
allocated and given back by something else would hide what flows cost.
"""

import gc
import importlib
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pktlb.engine.datapath.checksum import checksum
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.model import Endpoint, Mode, Proto, Scheduler, Vip
from tests.bench import target
from tests.bench.contender import ENGINES, OVER_IPV6
from tests.bench.trial import Settings

FLOWS: Final = 1_000_000
PAGE: Final = 4096
PLANES: Final = {
    "native": ("pktlb.engine.native.dataplane", "NativeDataplane"),
    "python": ("pktlb.engine.datapath.pipeline", "Dataplane"),
}
_NETWORK: Final = {"4": b"", "6": b"\xfd" + bytes(11)}
"What stands in front of four bytes to make an address of an IP version."


def measure(settings: Settings) -> None:
    """Once: it is the same every time."""
    found = settings.ledger.measure(target.MEMORY, "bytes")
    for engine in settings.engines:
        for version, suffix in (("4", ""), ("6", OVER_IPV6)):
            command = [sys.executable, "-m", "tests.bench.memory", engine, version, str(FLOWS)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found.add(ENGINES[engine] + suffix, float(done.stdout))
            else:
                complaint = done.stderr.strip().rpartition("\n")[2]
                settings.ledger.note(f"memory a flow of {ENGINES[engine]}{suffix}: {complaint}")


def make_plane(engine: str, version: str, flows: int) -> Any:
    """The datapath of an engine; all of them have the same interface."""
    module, name = PLANES[engine]
    plane: Callable[[Tables, Limits], Any] = getattr(importlib.import_module(module), name)
    return plane(_tables(_NETWORK[version]), Limits(max_flows=flows))


def _tables(network: bytes) -> Tables:
    vip = Vip(network + b"\x0a\x00\x01\x64", 80, 80, (Proto.UDP,))
    backend = Endpoint(network + b"\x0a\x00\x02\x0b", 8080)
    service = ServiceTable(vip, Mode.NAT, Scheduler.RR, (backend,), weights=(1,), slots=(0,))
    return Tables.of(
        [service],
        [Vip(backend.address, backend.port, backend.port, (Proto.UDP,))],
        {backend.address: NextHop(2, bytes(12), 1500, network + b"\x0a\x00\x02\x01")},
        snat=frozenset(),
        ports={1: PortInfo(bytes(6), 1500), 2: PortInfo(bytes(6), 1500)},
        hash_key=bytes(16),
    )


def _datagram(network: bytes, client: bytes) -> bytearray:
    """A UDP datagram of nothing to the VIP, its checksum left out (with IPv6, of any value)."""
    vip = network + b"\x0a\x00\x01\x64"
    if network:
        ip = bytearray(struct.pack(">IHBB", 6 << 28, 8, Proto.UDP, 64) + client + vip)
        kind, check = b"\x86\xdd", 1
    else:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 28, 0, 0, 64, Proto.UDP, 0)
        ip = bytearray(head + client + vip)
        ip[10:12] = checksum(ip).to_bytes(2, "big")
        kind, check = b"\x08\x00", 0
    return bytearray(bytes(12) + kind) + ip + struct.pack(">HHHH", 4000, 80, 8, check)


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def main(engine: str, version: str, flows: int) -> None:
    importlib.import_module(PLANES[engine][0])
    before = _resident()
    network = _NETWORK[version]
    plane = make_plane(engine, version, flows)
    for number in range(flows):
        client = network + (0x0A100000 + number).to_bytes(4, "big")
        plane.handle(Frame(1, _datagram(network, client)), 0.0)
    if len(plane.flows) != flows:
        raise SystemExit(f"expected {flows} flows in the table, found {len(plane.flows)}")
    print((_resident() - before) / flows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
