"""Bytes that a flow costs, everything counted: resident memory before and after opening many."""

import gc
import struct
import sys
from pathlib import Path

from pktlb.datapath.checksum import checksum
from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import endpoint_key
from pktlb.datapath.pipeline import Dataplane, Limits
from pktlb.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.model import Endpoint, Mode, Proto, Scheduler

FLOWS = 100_000
_VIP = Endpoint(b"\x0a\x00\x01\x64", 80)
_BACKEND = Endpoint(b"\x0a\x00\x02\x0b", 8080)


def _tables(mode: Mode) -> Tables:
    key = endpoint_key(Proto.UDP, _VIP)
    service = ServiceTable(
        key, _VIP, Proto.UDP, mode, Scheduler.RR, (_BACKEND,), weights=(1,), slots=(0,)
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
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main(mode: str) -> None:
    plane = Dataplane(_tables(Mode(mode)), Limits(max_flows=FLOWS))
    before = _resident()
    for number in range(FLOWS):
        client = Endpoint((0x0A100000 + number).to_bytes(4, "big"), 4000)
        plane.handle(Frame(1, _datagram(client)), 0.0)
    assert len(plane.flows) == FLOWS
    print((_resident() - before) // FLOWS)


if __name__ == "__main__":
    main(sys.argv[1])
