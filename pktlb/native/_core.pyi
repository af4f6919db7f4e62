from typing import Final

REASONS: Final[tuple[str, ...]]
ERRORS: Final[int]
MAX_WORKERS: Final[int]
MAX_PORTS: Final[int]

class Engine:
    def __init__(
        self,
        max_flows: int,
        timeouts: bytes,
        snat: bytes,
        source_ports: bytes,
        secret: bytes,
        /,
    ) -> None: ...
    def swap(
        self,
        services: bytes,
        places: bytes,
        tallies: bytes,
        standings: bytes,
        replies: bytes,
        own: bytes,
        snat: bytes,
        hops: bytes,
        ports: bytes,
        hash_key: bytes,
        slots: tuple[object, ...],
        tally_count: int,
        own_low: int,
        own_high: int,
        /,
    ) -> None: ...
    def handle(
        self, data: bytes | bytearray, offload: bytes, port: int, now_ms: int, /
    ) -> tuple[int, int, list[tuple[int, bytes, bytes]]]: ...
    def expire(self, now_ms: int, most: int, /) -> int: ...
    def counts(self) -> tuple[int, ...]: ...
    def flow_count(self) -> int: ...
    def flows(self, first: int, count: int, /) -> bytes | None: ...
    def tallies(self, count: int, /) -> bytes: ...
    def work(
        self,
        number: int,
        of: int,
        ports: tuple[tuple[int, int], ...],
        tun_fd: int,
        wake_fd: int,
        busy_us: int,
        shared: object,
        /,
    ) -> None: ...
