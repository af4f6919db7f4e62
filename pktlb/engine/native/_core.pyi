"""The extension as Python sees it: what module.c takes and gives."""

from collections.abc import Mapping
from typing import Final

LAYOUTS: Final[Mapping[str, tuple[int, tuple[tuple[str, int, int, str], ...]]]]
"""Records by the name of their struct: size, and of each field its name, offset and size in bytes,
and the C type of one element."""
ENUMS: Final[Mapping[str, Mapping[str, int]]]
"Enums by name: the number of each member."
ELEMENTS: Final[Mapping[str, tuple[int, str]]]
"Arrays by the name of their struct and their own: size in bytes and C type of one element."
PARTS: Final[tuple[str, ...]]
"The arrays of a set of tables, in the order in which `swap` takes them."
ABSENT: Final[int]
"The number that stands for none."
MAX_PORTS: Final[int]

class Plane:
    def __init__(
        self,
        *,
        max_flows: int,
        timeouts: bytes,
        snat: bytes,
        snat_ipv4: int,
        source_ports: bytes,
        secret: bytes,
    ) -> None:
        """`timeouts`: ms by state. `snat`: addresses of 16 bytes, `snat_ipv4` of IPv4 first.
        `source_ports`: in network order. `secret`: 16 bytes."""

    def swap(
        self,
        *,
        parts: tuple[bytes, ...],
        slots: tuple[object, ...],
        tally_count: int,
        own_low: int,
        own_high: int,
    ) -> None:
        """From the next batch on, these tables.

        `parts`: arrays of the records of raw_tables.h, as `PARTS` names them. `slots`: arrays of
        numbers of 4 bytes. `tally_count`: all numbers of tallies are below. `own_low`, `own_high`:
        ports of the machine's own connections, half open. ValueError says what does not fit
        together; then the old tables stay.
        """

    def handle(
        self, data: bytes | bytearray, offload: bytes, port: int, now_ms: int, /
    ) -> tuple[int, bytes]:
        """The number of the reason; what goes out, or back to the kernel: of each frame a struct
        pk_single_head and its bytes."""

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
        """The records (struct pk_told_tally) of the tallies with these numbers."""

    def save(self) -> tuple[bytes, bytes, int]:
        """Records of all flows and pins, and the time (ms) of the last frame; nothing may move."""

    def tally(self, number: int) -> bytes:
        """What was counted of a tally (struct pk_saved_tally)."""

    def picks(self, number: int) -> int:
        """How often the service of this standing has picked."""

    def expect(self, flows: int, /) -> None:
        """Take the memory for so many flows now."""

    def load(
        self,
        *,
        flows: bytes,
        pins: bytes,
        tallies: bytes,
        picks: bytes,
        tally_of: bytes,
        standing_of: bytes,
        counts: bytes,
        then: int,
        now: int,
    ) -> int:
        """Take over what a plane has saved; returns how many flows. ValueError: it is not that.

        `flows`, `pins`, `tallies`: struct pk_flow, pk_saved_pin, pk_saved_tally. `picks`: 8 bytes a
        standing, `counts`: 8 bytes a reason. `tally_of`, `standing_of`: 4 bytes for each, its
        number here. `then`, `now`: ms.
        """

    def work(
        self,
        *,
        number: int,
        of: int,
        ports: bytes,
        tun_fd: int,
        wake_fd: int,
        busy_us: int,
        shared: object,
    ) -> None:
        """Be worker `number` of so many until told to stop; `ports` are struct pk_worker_port.

        `shared` (struct pk_shared, and a struct pk_shared_port for each port) counts, and says what
        to do when the eventfd `wake_fd` has become readable. OSError where the kernel refuses a
        ring.
        """
