"""Recorded traffic: the frames that arrived at a balancer, and the tables that it had then.

`tests/data/MODE.json` tells of the balancer, `MODE-arrived-at-INTERFACE.pcap` hold what came in.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from scapy.utils import RawPcapReader

from pktlb.engine.datapath.frame import NO_OFFLOAD
from pktlb.engine.datapath.limits import SOURCE_PORTS, Limits
from pktlb.engine.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.model import Endpoint, Mode, Proto, Scheduler, Vip
from pktlb.plan import slots as tables_of
from tests.differential import wire
from tests.differential.step import Arrival
from tests.support.gateway import reply_ends
from tests.support.packets import mac_bytes, packed

DATA: Final = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, slots=True)
class Recording:
    """One mode's traffic, at all interfaces of the balancer."""

    name: str
    facts: dict[str, Any]
    "The balancer as `tests.differential.record` found it."

    @classmethod
    def read(cls, name: str) -> Self:
        return cls(name, json.loads((DATA / f"{name}.json").read_text(encoding="utf-8")))

    @property
    def limits(self) -> Limits:
        """The source ports in the order of the replies to them: the daemon had shuffled them."""
        pool = set(map(packed, self.facts["snat"]))
        packets = [a.data for a in self.arrivals() if a.data[12:14] == b"\x08\0"]
        ends = [wire.ends(data)[1] for data in packets if data[23] in wire.CHECK_AT]
        seen = [end.port for end in ends if end.address in pool]
        return Limits(source_ports=list(dict.fromkeys(seen)) or SOURCE_PORTS)

    @property
    def tables(self) -> Tables:
        facts = self.facts
        mode = Mode(facts["mode"])
        services = [self._service(mode, proto) for proto in (Proto.TCP, Proto.UDP)]
        replies = [end for each in services for end in reply_ends(each)]
        return Tables.of(
            services,
            replies if mode is Mode.NAT else (),
            snat=frozenset(map(packed, facts["snat"])),
            hops={
                packed(address): NextHop(
                    hop["port"], mac_bytes(hop["mac"]) + self._mac(hop["port"]), 1500,
                    packed(hop["source"]),
                )
                for address, hop in facts["hops"].items()
            },
            ports={int(index): PortInfo(self._mac(index), 1500) for index in facts["ports"]},
            hash_key=bytes(16),
            own=frozenset(map(packed, facts["own"])),
            own_ports=self._own_ports,
        )  # fmt: skip

    def arrivals(self) -> Iterator[Arrival]:
        """The frames of all interfaces in the order of their times, which count from the first."""
        frames = sorted(
            (stamp, int(index), data)
            for index, port in self.facts["ports"].items()
            for stamp, data in _frames(DATA / f"{self.name}-arrived-at-{port['name']}.pcap")
        )
        first = frames[0][0]
        for stamp, index, data in frames:
            yield Arrival((stamp - first) // 1_000_000 / 1000, index, data, NO_OFFLOAD)

    @property
    def _own_ports(self) -> range:
        return range(*self.facts["own_ports"])

    def _mac(self, index: int | str) -> bytes:
        return mac_bytes(self.facts["ports"][str(index)]["mac"])

    def _service(self, mode: Mode, proto: Proto) -> ServiceTable:
        vip = _endpoint(self.facts["vip"])
        backends = tuple(map(_endpoint, self.facts["backends"]))
        weights = (1,) * len(backends)
        slots = tables_of.weighted_cycle(weights)
        dialled = Vip(vip.address, vip.port, vip.port, (proto,))
        return ServiceTable(dialled, mode, Scheduler.RR, backends, weights, slots,
                            direct=mode is not Mode.NAT)  # fmt: skip


def _endpoint(text: str) -> Endpoint:
    address, _, port = text.partition(":")
    return Endpoint(packed(address), int(port))


def _frames(file: Path) -> Iterator[tuple[int, bytes]]:
    """Time in nanoseconds and bytes of each frame."""
    with RawPcapReader(str(file)) as reader:
        grain = 1 if reader.nano else 1000
        for data, meta in reader:
            assert len(data) == meta.wirelen, "cut short"
            yield meta.sec * 1_000_000_000 + meta.usec * grain, data
