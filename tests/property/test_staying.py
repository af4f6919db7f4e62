"""Persistence and thresholds agree with a list of flows, while tables change."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Reason, Scheduler, Timeouts
from tests.support.gateway import MakePlane, service, tables
from tests.support.packets import V4, frame, packed, tcp, vip

LIFE = 15
TIMES = Timeouts(syn=10, tcp=100, fin=20, udp=50)
NAMES = {packed(address): name for name, address in V4.backends.items()}
Pairs = tuple[tuple[int, int], ...]
"Thresholds of a, b and c."


@dataclass
class SlowFlow:
    """A connection that is being opened, or was reset."""

    host: int
    port: int
    backend: str
    seen: float
    closed: bool = False

    @property
    def end(self) -> float:
        return self.seen + (TIMES.fin if self.closed else TIMES.syn)


@dataclass
class SlowPin:
    """The backend that a client stays with."""

    backend: str
    seen: float


@dataclass
class Slow:
    """A list of flows, the backends that clients stay with, and the full ones."""

    flows: list[SlowFlow] = field(default_factory=list)
    pins: dict[int, SlowPin] = field(default_factory=dict)
    was_full: dict[str, bool] = field(default_factory=lambda: dict.fromkeys("abc", False))
    thresholds: dict[str, tuple[int, int]] = field(default_factory=dict)
    taking: str = "abc"

    def active(self, name: str) -> int:
        return sum(flow.backend == name and not flow.closed for flow in self.flows)

    def full(self, name: str) -> bool:
        upper, lower = self.thresholds.get(name, (0, 0)) if name in self.taking else (0, 0)
        active = self.active(name)
        return upper > 0 and (active >= upper or (active >= lower and self.was_full[name]))

    def change(self, flow: SlowFlow, *, add: bool = False, close: bool = False) -> None:
        """Count a flow that opens, closes or is forgotten."""
        self.was_full[flow.backend] = self.full(flow.backend)
        if add:
            self.flows.append(flow)
        elif close:
            flow.closed = True
        else:
            self.flows.remove(flow)
        self.was_full[flow.backend] = self.full(flow.backend)

    def sweep(self, now: float) -> None:
        """Forget the flows that were idle for too long, the open ones first."""
        over = [flow for flow in self.flows if flow.end <= now]
        for flow in sorted(over, key=lambda flow: (flow.closed, flow.seen)):
            self.leave(flow)
        busy = {flow.host for flow in self.flows}
        kept = {h: pin for h, pin in self.pins.items() if h in busy or now - pin.seen < LIFE}
        self.pins = kept

    def leave(self, flow: SlowFlow) -> None:
        self.change(flow)
        if all(other.host != flow.host for other in self.flows):
            pin = self.pins[flow.host]
            pin.seen = max(pin.seen, flow.seen)

    def opens(self, host: int, port: int, name: str, now: float) -> None:
        self.change(SlowFlow(host, port, name, now), add=True)
        self.pins[host] = SlowPin(name, now)


@cache
def packet(host: int, port: int, flags: str) -> Frame:
    return frame(tcp(V4.client(port, f"10.0.3.{host}"), vip(), flags))


@cache
def laid_out(scheduler: Scheduler, taking: str, thresholds: Pairs) -> Tables:
    weights = {name: int(name in taking) for name in "abc"}
    limits = dict(zip("abc", thresholds, strict=True))
    given = service(Mode.NAT, weights, scheduler=scheduler, thresholds=limits, persist_s=LIFE)
    return tables(given)


class Both:
    """A plane and the list; the same happens to both."""

    def __init__(self, engine: MakePlane, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.plane = engine(laid_out(scheduler, "abc", ((0, 0),) * 3), Limits(100, TIMES))
        self.slow = Slow()
        self._now = 0.0
        self._port = 1000

    def comes(self, host: int) -> None:
        self._port += 1
        reason, name = self._arrives(host, self._port, "S")
        slow = self.slow
        pin = slow.pins.get(host)
        if pin is not None and pin.backend in slow.taking:
            assert (reason, name) == (Reason.OPENED, pin.backend)
        elif not slow.taking:
            assert reason is Reason.NO_BACKEND
        elif all(map(slow.full, slow.taking)):
            assert reason is Reason.ALL_FULL
        else:
            assert reason is Reason.OPENED
            assert name in slow.taking
            assert not slow.full(name)
        if name:
            slow.opens(host, self._port, name, self._now)

    def goes(self, place: int) -> None:
        if not self.slow.flows:
            return
        flow = self.slow.flows[place % len(self.slow.flows)]
        assert self._arrives(flow.host, flow.port, "R")[0] is Reason.FORWARDED
        if not flow.closed:
            flow.seen = self._now
            self.slow.change(flow, close=True)

    def waits(self, seconds: float) -> None:
        self._now += seconds
        self.plane.expire(self._now, 10_000)
        self.slow.sweep(self._now)

    def swap(self, taking: str, thresholds: Pairs) -> None:
        self.slow.taking = taking
        self.slow.thresholds = dict(zip("abc", thresholds, strict=True))
        self.plane.swap(laid_out(self._scheduler, taking, thresholds))

    def check(self) -> None:
        counts = {NAMES[end.address]: count for (_, end), count in self.plane.tallies().items()}
        for name in "abc":
            closed = sum(flow.backend == name and flow.closed for flow in self.slow.flows)
            assert counts[name][:2] == (self.slow.active(name), closed)
        assert self.plane.pin_count >= len(self.slow.pins), "one that is over may wait for others"

    def _arrives(self, host: int, port: int, flags: str) -> tuple[Reason, str]:
        copy = packet(host, port, flags)
        outcome = self.plane.handle(Frame(copy.port, bytearray(copy.data)), self._now)
        sent = outcome.frames[0].data if outcome.reason is Reason.OPENED else b""
        return outcome.reason, NAMES.get(bytes(sent[30:34]), "")


pairs = st.tuples(*[st.sampled_from([(0, 0), (1, 1), (2, 1), (2, 2), (4, 2), (3, 4)])] * 3)
COMES = st.tuples(st.just(Both.comes), st.tuples(st.integers(1, 3)))
STEPS = (
    COMES
    | COMES
    | COMES
    | st.tuples(st.just(Both.goes), st.tuples(st.integers(0, 9)))
    | st.tuples(st.just(Both.waits), st.tuples(st.sampled_from([0.125, 1.0, 5.0, 10.0])))
    | st.tuples(st.just(Both.swap), st.tuples(st.sampled_from(["abc", "ab", "bc", "a"]), pairs))
)


@settings(max_examples=300)
@given(st.sampled_from(list(Scheduler)), st.lists(STEPS, min_size=20, max_size=80))
def test_clients_stay_and_backends_fill_up_as_told(
    engine: MakePlane, scheduler: Scheduler, life: list[tuple[Callable[..., None], tuple[Any, ...]]]
) -> None:
    both = Both(engine, scheduler)
    for happens, told in life:
        happens(both, *told)
        both.check()
    both.waits(TIMES.fin)
    both.waits(LIFE)
    assert (len(both.plane.flows), both.plane.pin_count) == (0, 0)
