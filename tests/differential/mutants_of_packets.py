"""Mutants that cut, parse, quote or translate a packet wrongly, whatever its flow is."""

from typing import Any, Final

from pktlb.engine.datapath import (
    forward,
    fragment,
    icmp,
    limiter,
    packet,
    related,
    segment,
    tables,
)
from pktlb.engine.datapath.outcome import Outcome
from pktlb.model import Reason
from tests.differential.mutant import Mutant


def _relay(self: Any, frame: Any, view: Any, flow: Any, hop: Any, now: float) -> Outcome:
    error = related.about_inside(frame, view, hop, *related.client_of(flow))
    return Outcome(Reason.RELATED, (error,))


OF_PACKETS: Final = [
    Mutant("PSH stays on each piece", segment, "PSH", 0),
    Mutant("FIN stays on each piece", segment, "FIN", 0),
    Mutant("CWR stays on each piece", segment, "CWR", 0),
    Mutant("a long frame with the ECN bit cannot be cut", segment, "GSO_ECN", 0),
    Mutant("later fragments have no options", fragment, "_COPIED", 0),
    Mutant("ICMP quotes one byte less", icmp, "_QUOTE", {4: 547, 16: 1232}),
    Mutant("ICMPv6 quotes one byte less", icmp, "_QUOTE", {4: 548, 16: 1231}),
    Mutant("one error more is sent at once", limiter, "BURST", limiter.BURST + 1),
    Mutant("errors are allowed a little sooner", limiter, "INTERVAL_MS", limiter.INTERVAL_MS - 1),
    Mutant("packets that no router forwards are spread", tables, "is_forwardable",
           lambda address: True),
    Mutant("the checksum of an ICMP error is not checked", packet, "icmp_checksum_is_valid",
           lambda data, ends, at, end: True),
    Mutant("a routing header with segments left is skipped", packet, "_ROUTING", 253),
    Mutant("nine extension headers are skipped", packet, "MAX_EXTENSIONS", 9),
    Mutant("UDP-Lite has no checksum", packet, "CHECK_AT", {6: 16, 17: 6, 33: 6}),
    Mutant("fragments of odd length are fine", packet, "_is_bad", lambda fragment: False),
    Mutant("ICMP messages of type 12 are no errors", packet, "ICMP_ERRORS",
           {4: (1, frozenset({3, 11})), 16: (58, range(1, 5))}),
    Mutant("ICMPv6 messages of type 4 are no errors", packet, "ICMP_ERRORS",
           {4: (1, frozenset({3, 11, 12})), 16: (58, range(1, 4))}),
    Mutant("a quoted tunnel is not looked into", packet, "TUNNELLED", {}),
    Mutant("a quotation is not translated", related, "_translate_quoted", lambda *all: None),
    Mutant("a translated error keeps its checksum", related, "_finish", lambda *all: None),
    Mutant("errors about tunnels are not limited", forward.Forwarder, "relay", _relay),
]  # fmt: skip
