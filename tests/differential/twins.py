"""Two planes that take the same steps, and the comparison of all that they do and remember."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.datapath.tcp import State
from pktlb.engine.plane import Plane
from pktlb.model import Reason
from tests.differential.step import Arrival, Expiry, Kill, Restart, Step, Swap, tell_frame
from tests.support.gateway import MakePlane
from tests.support.keys import format_key

LOOK_EVERY: Final = 64
"Steps between two comparisons of all flows and counts, which cost more than a frame."

CLOCK: Final = 1 << 32
"Milliseconds after which a clock of 32 bits wraps around."


class Pair(NamedTuple):
    """Makers of planes that must be equal: the reference, and the other."""

    reference: Callable[[Tables, Limits], Dataplane]
    other: MakePlane


class DifferenceError(AssertionError):
    """The two planes differ; the message says in what."""


class Twins:
    """Both planes, with the same tables and limits."""

    def __init__(self, pair: Pair, tables: Tables, limits: Limits, every: int = LOOK_EVERY) -> None:
        self._pair, self._tables, self._limits = pair, tables, limits
        self.reference = pair.reference(tables, limits)
        self._other = pair.other(tables, limits)
        self._every = every
        self._taken = 0

    def take(self, step: Step) -> Outcome | None:
        """Let both take a step; the reference's outcome, where the step is a frame."""
        self._taken += 1
        if isinstance(step, Restart):
            self._start_anew(step)
            return None
        if isinstance(step, Swap):
            self._tables = step.tables
        ours, theirs = act(self.reference, step), act(self._other, step)
        outcome = ours if isinstance(ours, Outcome) else None
        if tell_apart(ours) != tell_apart(theirs):
            raise DifferenceError(f"reference: {result(ours)}\nother:     {result(theirs)}")
        if isinstance(ours, Exception):
            raise DifferenceError(f"both raised {ours!r}") from ours
        self._compare("number of flows", len(self.reference.flows), len(self._other.flows))
        if self._taken % self._every == 0:
            self.look()
        return outcome

    def _start_anew(self, step: Restart) -> None:
        """Replace each plane by a new one that has loaded its dump, or that of the other."""
        now = step.now
        ours, theirs = self.reference.dump(now), self._other.dump(now)
        if step.crossed:
            ours, theirs = theirs, ours
        self.reference = self._pair.reference(self._tables, self._limits)
        self._other = self._pair.other(self._tables, self._limits)
        self._compare(
            "flows taken over", self.reference.load(ours, now), self._other.load(theirs, now)
        )
        self.look()

    def look(self) -> None:
        """Compare what the planes remember."""
        self._compare("counts", told_counts(self.reference), told_counts(self._other))
        self._compare("number of pins", self.reference.pin_count, self._other.pin_count)
        self._compare("tallies", told_tallies(self.reference), told_tallies(self._other))
        ours, theirs = told_flows(self.reference), told_flows(self._other)
        if ours != theirs:
            left, right = (sorted(map(tell_flow, each)) for each in (ours - theirs, theirs - ours))
            self._compare("flows that only one of them has", left, right)
        assert len(ours) == len(self.reference.flows), "a flow is listed twice"

    @staticmethod
    def _compare(what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            raise DifferenceError(f"{what} differ\nreference: {ours}\nother:     {theirs}")


Result = Outcome | int | Exception | None


def act(engine: Plane, step: Step) -> Result:
    """Let a plane take a step; returns its result, or the exception that it raised."""
    try:
        match step:
            case Arrival():
                return engine.handle(step.frame(), step.now)
            case Expiry():
                return engine.expire(step.now, step.most)
            case Kill():
                return engine.kill(step.keys)
            case Swap():
                engine.swap(step.tables)
            case Restart():
                raise TypeError("this takes two engines")
    except Exception as error:
        return error
    return None


def tell_apart(given: Result) -> object:
    """A result as a plain value; two exceptions are equal if they are of one kind."""
    if isinstance(given, Outcome):
        return given.reason, [plain(sent) for sent in given.frames]
    return type(given) if isinstance(given, Exception) else given


def plain(sent: Frame) -> tuple[int, bytes, tuple[int, ...]]:
    return sent.port, bytes(sent.data), tuple(sent.offload)


def result(given: Result) -> str:
    """A result as text."""
    if not isinstance(given, Outcome):
        return repr(given)
    frames = [f"  {tell_frame(sent)} ({len(sent.data)} bytes)" for sent in given.frames]
    more = [f"  and {len(frames) - 4} more"] if len(frames) > 4 else []
    return "\n".join([f"{given.reason.name}, {len(frames)} frames", *frames[:4], *more])


def told_counts(engine: Plane) -> dict[str, int]:
    counts = engine.counts
    return {reason.name: counts[reason] for reason in Reason if counts[reason]}


def told_tallies(engine: Plane) -> list[str]:
    """A line for each backend of a service."""
    return sorted(
        f"{service.hex()} {backend} {count}"
        for (service, backend), count in engine.tallies().items()
    )


def told_flows(engine: Plane) -> set[tuple[Any, ...]]:
    """All fields of every flow; the time at which it was seen, in ms modulo `CLOCK`."""
    return {
        (
            bytes(flow.key),
            None if flow.reverse is None else bytes(flow.reverse),
            flow.mode.name,
            str(flow.backend),
            State(flow.state).name,
            round(flow.seen * 1000) % CLOCK,
            bytes(flow.client_mac),
            flow.client_port,
            flow.numbers,
        )
        for flow in engine.flows
    }


def tell_flow(flow: tuple[Any, ...]) -> str:
    """A flow as text."""
    key, reverse, mode, backend, state, seen, mac, port, numbers = flow
    replies = f" replies {format_key(reverse)}" if reverse else ""
    return (
        f"{format_key(key)} {mode} {backend}{replies} {state}, "
        f"seen at {seen} ms, from {mac.hex(':')} on port {port}, {numbers}"
    )
