"""What is to be reached, and whether it was."""

from dataclasses import dataclass
from typing import Final

from tests.bench.contender import (
    BUSY_POLL,
    FORWARDING,
    HAPROXY,
    NATIVE,
    NFTABLES,
    NGINX,
    OVER_IPV6,
    TWO_WORKERS,
)
from tests.bench.ledger import Ledger, Series

TIMES: Final = "\N{MULTIPLICATION SIGN}"

FRAMES: Final = "shortest frames, {flows:,} flows"
"Of 64 bytes with IPv4; with IPv6 the smallest that carry a number have 74."
ONE_STREAM: Final = "one TCP stream"
STREAMS: Final = "16 TCP streams"
REQUESTS: Final = "short HTTP connections"
REQUEST_CPU: Final = "CPU a short HTTP connection"
ROUND_TRIP: Final = "lone round trip, {tail}"
WORKERS: Final = "two workers"
MISSING: Final = "numbered datagrams lost or twice"
MEMORY: Final = "memory a flow, 1,000,000 flows"
IDLE: Final = "CPU when idle"
LOAD: Final = f"load of 1,000 services {TIMES} 20 backends"
CHANGE: Final = "a change of one of them"
FRAME_ALONE: Final = "engine alone, a frame"
INSERT_ALONE: Final = "engine alone, new flows"
ALONE: Final = {
    "frame": (FRAME_ALONE, "1,000 flows"),
    "insert": (INSERT_ALONE, ""),
    "memory": ("engine alone, memory a flow", ""),
}
"Measures of the engine without sockets, and which figure the others are compared with."
FLAT: Final = 1.25
"The most that many services or backends may cost in terms of few."
SAME: Final = 0.9
"The least that IPv6 may reach in terms of IPv4."
NATIVE_IPV6: Final = NATIVE + OVER_IPV6


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for a figure, for its ratio to another one, or for what it adds to another one."""

    measure: str
    who: str
    bound: float
    at_least: bool = False
    times: str = ""
    "The bound is for the ratio to this one."
    plus: str = ""
    "The bound is for the difference to this one."

    def judged(self, ledger: Ledger) -> Series | None:
        """What the bound is held against; None where it was not measured."""
        measure = ledger.measures.get(self.measure)
        figure = measure.series(self.who) if measure else None
        other = measure.series(self.times or self.plus) if measure else None
        if figure is None or not (self.times or self.plus):
            return figure
        if other is None:
            return None
        return figure.over(other) if self.times else figure.minus(other)

    def met(self, found: Series) -> bool:
        return found.median >= self.bound if self.at_least else found.median <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:,g}" + (f" {TIMES} {self.times}" if self.times else "")


TARGETS: Final = (
    *(Target(FRAMES.format(flows=n), NATIVE, 1.0, True, NFTABLES) for n in (64, 100_000)),
    *(
        Target(measure, NATIVE, bound, True, other)
        for measure in (ONE_STREAM, STREAMS)
        for other, bound in ((FORWARDING, 0.6), (HAPROXY, 1.4), (NGINX, 1.4))
    ),
    *(Target(REQUESTS, NATIVE, 1.2, True, other) for other in (HAPROXY, NGINX)),
    *(Target(REQUEST_CPU, NATIVE, 0.7, False, other) for other in (HAPROXY, NGINX)),
    Target(ROUND_TRIP.format(tail="p50"), NATIVE, 100, plus=FORWARDING),
    Target(ROUND_TRIP.format(tail="p99"), NATIVE, 400, plus=FORWARDING),
    Target(ROUND_TRIP.format(tail="p50"), BUSY_POLL, 40, plus=FORWARDING),
    Target(WORKERS, TWO_WORKERS, 1.0, True, NATIVE),
    Target(MISSING, TWO_WORKERS, 0),
    *(
        Target(FRAMES.format(flows=n), NATIVE + mode + OVER_IPV6, SAME, True, NATIVE + mode)
        for n in (64, 100_000)
        for mode in ("", ", dsr", ", tunnel")
    ),
    *(
        Target(measure, NATIVE_IPV6, SAME, True, NATIVE)
        for measure in (ONE_STREAM, STREAMS, REQUESTS)
    ),
    Target(REQUEST_CPU, NATIVE_IPV6, 1 / SAME, times=NATIVE),
    Target(MEMORY, NATIVE, 128),
    Target(MEMORY, NATIVE_IPV6, 128),
    *(
        Target(FRAME_ALONE, who + OVER_IPV6, 1 / SAME, times=who)
        for who in ("1,000 flows", "1,000,000 flows", "1,000 flows, dsr", "1,000 flows, tunnel")
    ),
    Target(INSERT_ALONE, "new flows" + OVER_IPV6, SAME, True, "new flows"),
    Target(IDLE, NATIVE, 0.05),
    Target(LOAD, NATIVE, 2),
    Target(CHANGE, NATIVE, 50),
    Target(FRAME_ALONE, "1,000 flows", 60),
    Target(FRAME_ALONE, "1,000,000 flows", 150),
    Target(FRAME_ALONE, "1,000 flows, 10,000 services", FLAT, times="1,000 flows"),
    Target(FRAME_ALONE, "1,000 flows, 4,096 backends", FLAT, times="1,000 flows"),
    Target(INSERT_ALONE, "new flows", 3_000_000, at_least=True),
)
