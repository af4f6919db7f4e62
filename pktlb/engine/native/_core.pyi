"""The native engine as Python sees it: what module.c takes and gives."""

from typing import Final

REASONS: Final[str]
"Names of `pktlb.model.Reason`, in the order of their numbers here."
ERRORS: Final[int]
"Numbers of errors that are told apart."
MAX_PORTS: Final[int]

class Plane:
    def __init__(
        self,
        max_flows: int,
        timeouts: bytes,
        snat: bytes,
        snat_ipv4: int,
        source_ports: bytes,
        secret: bytes,
        /,
    ) -> None:
        """Time-outs in ms by state, SNAT addresses with IPv4 first, ports in network order."""

    def swap(
        self,
        parts: tuple[bytes, ...],
        slots: tuple[object, ...],
        tally_count: int,
        own_low: int,
        own_high: int,
        /,
    ) -> None:
        """From the next batch on, these tables: arrays of the records of raw_tables.h.

        ValueError says what does not fit together; then the old tables stay.
        """

    def handle(
        self, data: bytes | bytearray, offload: bytes, port: int, now_ms: int, /
    ) -> tuple[int, bytes]:
        """The number of the reason; what goes out, or back to the kernel."""

    def kill(self, keys: bytes, /) -> int:
        """End the flows of these keys (struct pk_key); returns how many there were."""

    def expire(self, now_ms: int, most: int, /) -> int:
        """Forget up to so many flows; returns how many it forgot. Frees old tables, too."""

    def counts(self) -> tuple[int, ...]:
        """Frames by reason."""

    def sizes(self) -> tuple[int, int]:
        """How many flows and pins there are."""

    def flows(self, first: int, count: int, /) -> bytes | None:
        """The records (struct pk_flow) of the flows with these numbers; None beyond the last."""

    def tallies(self, first: int, count: int, /) -> bytes:
        """The records (struct pk_told_tally) of these."""

    def save(self) -> tuple[bytes, bytes, int]:
        """Records of all flows and pins, and the time (ms) of the last frame; nothing may move."""

    def tally(self, number: int) -> bytes:
        """What was counted of a tally."""

    def picks(self, number: int) -> int:
        """How often the service of this standing has picked."""

    def expect(self, flows: int, /) -> None:
        """Take the memory for so many now."""

    def load(
        self,
        flows: bytes,
        pins: bytes,
        tallies: bytes,
        picks: bytes,
        tally_of: bytes,
        standing_of: bytes,
        counts: bytes,
        then: int,
        now: int,
        /,
    ) -> int:
        """Take over what an engine has saved; how many flows. `ValueError`: it is not that."""

    def work(
        self,
        number: int,
        of: int,
        ports: tuple[tuple[int, int, int], ...],
        tun_fd: int,
        wake_fd: int,
        busy_us: int,
        shared: object,
        /,
    ) -> None:
        """Be one of so many workers until told to stop; ports are (index, fd, MTU) each.

        `shared` (struct pk_shared) counts, and says what to do whenever the eventfd `wake_fd` has
        become readable. OSError where the kernel refuses a ring.
        """
