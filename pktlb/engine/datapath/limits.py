"""Bounds of a plane, fixed for its life: how much it remembers, for how long, in which ports."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pktlb.model import Timeouts

SOURCE_PORTS: Final = range(1024, 65536)
"Ports that a translated client may have (RFC 6056, section 3.2: no system ports)."


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plane is made with, beside its tables."""

    max_flows: int = 262144
    timeouts: Timeouts = field(default_factory=Timeouts)
    source_ports: Sequence[int] = SOURCE_PORTS
    "Ports allotted to translated clients; the kernel must choose none of them for itself."
    secret: bytes = bytes(16)
    "16 bytes: the secret key of hashes over what senders choose."
