"""Planes that are wrong in what they refuse, or about ICMP errors without a flow."""

from typing import Final

from pktlb.engine.datapath import address, indirect, ipv4, packet, tables, trail
from pktlb.engine.datapath.direct import Direct
from pktlb.engine.datapath.ways import Ways
from tests.differential.mutant import Mutant

_is_impossible, _is_intact = tables.Tables.is_impossible, ipv4.is_intact

REFUSALS: Final = [
    Mutant("every source may open a flow", tables.Tables, "is_impossible",
           lambda self, source: False),
    Mutant("addresses of ours may open a flow", tables.Tables, "is_impossible",
           lambda self, source: not address.can_be_answered(source)),
    Mutant("broadcast addresses may open a flow", tables.Tables, "is_impossible",
           lambda self, source: source not in self.broadcasts and _is_impossible(self, source)),
    Mutant("a link-local source is forwarded to another link", Ways, "_leaves_its_link",
           lambda self, frame, view, flow: False),
    Mutant("a link-local source is refused on its own link too", Ways, "_leaves_its_link",
           lambda self, frame, view, flow: address.is_link_local(flow.key[: view.size])),
    Mutant("errors from impossible sources are relayed", indirect, "can_be_answered",
           lambda address: True),
    Mutant("source routes are followed", packet, "is_source_routed", lambda options: False),
    Mutant("every option is a source route", packet, "is_source_routed", bool),
    Mutant("a quoted header may be wrong", packet, "is_intact",
           lambda data, at: at != packet.IP or _is_intact(data, at)),
    Mutant("a source may have one more packet in fragments", trail, "SHARE_OF_TRAILS",
           trail.SHARE_OF_TRAILS + 1),
    Mutant("a source may have more bytes of fragments", trail, "SHARE_OF_BYTES",
           trail.MAX_HELD_BYTES),
    Mutant("an error without a flow goes nowhere", Direct, "_flow_elsewhere",
           lambda self, frame, view, now: None),
    Mutant("an error about a single datagram goes nowhere", Direct, "_latest_single",
           lambda self, view, service, now: None),
]  # fmt: skip
