"""Bounds of an engine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pktlb.model import Timeouts

SOURCE_PORTS: Final = range(1024, 65536)
"Ports that a translated client may have (RFC 6056: the system ports stay out)."


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the flow table, fixed for the life of an engine."""

    max_flows: int = 262144
    timeouts: Timeouts = field(default_factory=Timeouts)
    source_ports: Sequence[int] = SOURCE_PORTS
    "Ports allotted to translated clients; those that the kernel itself may choose stay out."
    secret: bytes = bytes(16)
    "16 bytes: key of the hashes that nobody else may know."
