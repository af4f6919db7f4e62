"""What is counted for a backend of a service: its flows, and what they carried.

Schedulers, thresholds and statistics read it.
"""

from typing import Final, NamedTuple

from pktlb.model import Endpoint

NO_BACKEND: Final = Endpoint(b"", 0)


class Count(NamedTuple):
    """A backend's part in the traffic."""

    active: int = 0
    "Open flows."
    inactive: int = 0
    "Closed flows that are in the table still."
    connections: int = 0
    "Flows opened, and datagrams that are a flow each."
    packets_in: int = 0
    "Frames from clients to it; a frame that stands for many segments counts once."
    bytes_in: int = 0
    "Bytes of the IP packets in these frames."
    packets_out: int = 0
    "Frames of its replies, where they pass us; `bytes_out`: bytes of their IP packets."
    bytes_out: int = 0
    full: bool = False
    "Whether it takes no new flows before it has fewer: see `ServiceTable.thresholds`."


class Tally:
    """The count of a backend of a service, and when it was last chosen."""

    __slots__ = (
        "active",
        "backend",
        "bytes_in",
        "bytes_out",
        "connections",
        "flows",
        "packets_in",
        "packets_out",
        "pins",
        "service",
        "thresholds",
        "turn",
        "was_full",
    )

    def __init__(self, service: bytes = b"", backend: Endpoint = NO_BACKEND) -> None:
        self.service: Final = service
        "Key of the service (`ServiceTable.key`)."
        self.backend: Final = backend
        "As configured: port 0 is the one that was dialled."
        self.flows = 0
        "Flows in the table, open and closed."
        self.active = 0
        "Open flows."
        self.pins = 0
        "Clients whose next flow is meant to go to this backend."
        self.turn = 0
        "The number of the service's pick that last chose it; 0: none did."
        self.thresholds = (0, 0)
        "As in `ServiceTable`."
        self.was_full = False
        "Whether it was full after the last flow that opened or closed."
        self.connections = 0
        self.packets_in = self.bytes_in = self.packets_out = self.bytes_out = 0

    @property
    def full(self) -> bool:
        """Whether it takes no new flows: it has reached its upper threshold, and has not been below
        the lower one since."""
        upper, lower = self.thresholds
        return upper > 0 and (self.active >= upper or (self.was_full and self.active >= lower))

    def add(self, by: int) -> None:
        """Note that so many more flows are open; `by` may be negative."""
        self.was_full = self.full
        self.active += by
        self.was_full = self.full

    def count(self) -> Count:
        """A copy for statistics."""
        return Count(
            self.active, self.flows - self.active, self.connections, self.packets_in,
            self.bytes_in, self.packets_out, self.bytes_out, self.full,
        )  # fmt: skip
