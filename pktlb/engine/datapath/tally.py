"""What is counted of a backend of a service: its flows, and what they carried.

Schedulers choose by it, thresholds are judged by it, statistics are read from it.
"""

from typing import Final, NamedTuple

from pktlb.model import Endpoint

NOBODY: Final = Endpoint(b"", 0)


class Count(NamedTuple):
    """A backend's part in the traffic."""

    active: int = 0
    "Open flows."
    inactive: int = 0
    "Closed ones that are remembered still."
    connections: int = 0
    "Flows opened, and datagrams that are a flow each."
    packets_in: int = 0
    "Frames of clients to it; one that stands for many segments is one."
    bytes_in: int = 0
    "Of their IP packets."
    packets_out: int = 0
    "Its replies, where they come by."
    bytes_out: int = 0
    full: bool = False
    "It takes no new flows before it has fewer: see `ServiceTable.thresholds`."


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

    def __init__(self, service: bytes = b"", backend: Endpoint = NOBODY) -> None:
        self.service: Final = service
        "Key of the service for which it is counted (`ServiceTable.key`)."
        self.backend: Final = backend
        "As configured: port 0 is the one that was dialled."
        self.flows = 0
        "In the table, closed ones too."
        self.active = 0
        self.pins = 0
        "Clients whose next flow is meant to go there."
        self.turn = 0
        self.thresholds = (0, 0)
        "As in `ServiceTable`."
        self.was_full = False
        self.connections = 0
        self.packets_in = self.bytes_in = self.packets_out = self.bytes_out = 0

    @property
    def full(self) -> bool:
        """Whether it takes no new flows: it came to its upper threshold, and not back below the
        lower one."""
        upper, lower = self.thresholds
        return upper > 0 and (self.active >= upper or (self.was_full and self.active >= lower))

    def add(self, by: int) -> None:
        """So many more flows are open."""
        self.was_full = self.full
        self.active += by
        self.was_full = self.full

    def count(self) -> Count:
        return Count(
            self.active, self.flows - self.active, self.connections, self.packets_in,
            self.bytes_in, self.packets_out, self.bytes_out, self.full,
        )  # fmt: skip
