"""A gateway for tests: an engine with tables, that checks of every frame what holds for all.

Whatever a case is about, each frame that goes through a `Gateway` is also checked for these: just
one reason is counted, a verdict has the frames it should, what leaves is sound (`assert_sound`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pktlb import policy
from pktlb.datapath.flow import Tally
from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import EndpointKey, FlowKey, endpoint_key
from pktlb.datapath.pipeline import Limits, Outcome
from pktlb.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.datapath.tcp import State
from pktlb.model import Endpoint, Mode, Proto, Reason, Scheduler, Timeouts, Verdict
from tests.packets import (
    BACKENDS,
    DMZ,
    GATEWAY_ADDRESS,
    GATEWAY_MAC,
    LAN,
    MTU,
    Packet,
    Peer,
    assert_sound,
    backend,
    frame,
    mac_bytes,
    packed,
    parsed,
    vip,
)


class AnyFlow(Protocol):
    """What every engine tells of a flow."""

    @property
    def key(self) -> FlowKey: ...
    @property
    def reverse(self) -> FlowKey | None: ...
    @property
    def backend(self) -> Endpoint: ...
    @property
    def tally(self) -> Tally: ...
    @property
    def state(self) -> State: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def seen(self) -> float: ...
    @property
    def client_mac(self) -> bytes: ...
    @property
    def client_port(self) -> int: ...


class Flows(Protocol):
    """A look at a flow table."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[AnyFlow]: ...


class Plane(Protocol):
    """The datapath of any engine."""

    @property
    def flows(self) -> Flows: ...
    @property
    def counts(self) -> dict[Reason, int]: ...
    def swap(self, tables: Tables) -> None: ...
    def expire(self, now: float, most: int = 256) -> int: ...
    def handle(self, frame: Frame, now: float) -> Outcome: ...


Engine = Callable[[Tables, Limits], Plane]
"What makes a datapath; every engine must pass the same tests."

HASH_KEY = bytes(range(16))
TIMEOUTS = Timeouts(syn=10, tcp=100, fin=20, udp=50)
SLOTS = 251
"A small prime for Maglev tables."


def service(
    mode: Mode,
    weights: Mapping[str, int] | None = None,
    *,
    at: Peer | None = None,
    proto: Proto = Proto.TCP,
    scheduler: Scheduler = Scheduler.RR,
    port: int = 8080,
) -> ServiceTable:
    """A service over backends named by letter, its policy worked out as control does it.

    Backends have `port` in NAT mode; in the other modes they hold the VIP, port and all.
    """
    chosen = at or vip()
    weights = {"a": 1} if weights is None else weights
    taking = [name for name, weight in weights.items() if weight]
    there = port if mode is Mode.NAT else chosen.port
    values = tuple(weights[name] for name in taking)
    slots: Sequence[int] = ()
    if values and scheduler is Scheduler.RR:
        slots = policy.weighted_cycle(values)
    if values and scheduler is Scheduler.SOURCE:
        slots = policy.maglev_table([n.encode() for n in taking], values, HASH_KEY, SLOTS)
    return ServiceTable(
        endpoint_key(proto, chosen.endpoint),
        chosen.endpoint,
        proto,
        mode,
        scheduler,
        tuple(backend(name, there).endpoint for name in taking),
        values,
        slots,
    )


def hop_to(name: str, mtu: int = MTU) -> NextHop:
    macs = mac_bytes(backend(name).mac) + mac_bytes(GATEWAY_MAC[DMZ])
    return NextHop(DMZ, macs, mtu, packed(GATEWAY_ADDRESS[DMZ]))


def tables(
    *services: ServiceTable, snat: Iterable[str] = (), mtu: int = MTU, lan_mtu: int = MTU
) -> Tables:
    """The tables of the drawing in `tests.packets`; `mtu` is that of the backends' side."""
    replies: set[EndpointKey] = set()
    for each in services:
        if each.mode is Mode.NAT:
            replies |= {endpoint_key(each.proto, b) for b in each.backends}
    return Tables(
        services={each.key: each for each in services},
        replies=frozenset(replies),
        snat=frozenset(map(packed, snat)),
        hops={packed(address): hop_to(name, mtu) for name, address in BACKENDS.items()},
        ports={
            LAN: PortInfo(mac_bytes(GATEWAY_MAC[LAN]), lan_mtu),
            DMZ: PortInfo(mac_bytes(GATEWAY_MAC[DMZ]), mtu),
        },
        hash_key=HASH_KEY,
    )


class Gateway:
    """An engine under test, and the checks that go with each frame."""

    def __init__(self, engine: Engine, given: Tables, **limits: Any) -> None:
        self.engine = engine(given, Limits(**({"timeouts": TIMEOUTS} | limits)))
        self._handled = 0

    def receive(self, given: Packet | Frame, now: float = 0.0) -> Outcome:
        """Let the engine handle a packet; `given` itself is left as it is."""
        arrived = given if isinstance(given, Frame) else frame(given)
        before = self.engine.counts
        copy = Frame(arrived.port, bytearray(arrived.data), arrived.offload)
        outcome = self.engine.handle(copy, now)
        self._handled += 1
        counts = self.engine.counts
        assert sum(counts.values()) == self._handled
        assert counts[outcome.reason] == before[outcome.reason] + 1
        self._check(arrived, outcome)
        return outcome

    @staticmethod
    def _check(arrived: Frame, outcome: Outcome) -> None:
        verdict = outcome.reason.verdict
        if verdict is Verdict.SEND:
            assert outcome.frames
        if verdict is Verdict.DROP:
            assert not outcome.frames
        if verdict is Verdict.ANSWER:
            assert all(answer.port == arrived.port for answer in outcome.frames)
        if verdict is Verdict.PASS:
            assert list(outcome.frames) in ([], [arrived]), "the kernel gets a frame as it came"
            return
        for sent in outcome.frames:
            assert_sound(sent)

    def reason(self, given: Packet | Frame, now: float = 0.0) -> Reason:
        return self.receive(given, now).reason

    def sends(self, given: Packet | Frame, now: float = 0.0) -> Packet:
        """The one packet that a packet becomes, read by scapy."""
        outcome = self.receive(given, now)
        assert outcome.reason.verdict is Verdict.SEND, outcome.reason
        (sent,) = outcome.frames
        return parsed(sent)

    def expect(
        self, given: Packet | Frame, reason: Reason, *frames: Packet | Frame, now: float = 0.0
    ) -> None:
        """`given` ends in `reason` and in exactly these frames, byte for byte."""
        outcome = self.receive(given, now)
        wanted = [each if isinstance(each, Frame) else frame(each) for each in frames]
        assert outcome.reason is reason
        if list(outcome.frames) != wanted:
            assert "\n".join(map(describe, outcome.frames)) == "\n".join(map(describe, wanted))
            raise AssertionError("frames differ in what scapy does not show")


def describe(given: Frame) -> str:
    """A frame for people who read a failed assertion."""
    text = parsed(given).command()
    return f"port {given.port}, {given.offload}: {text[:600]}\n  {given.data[:120].hex(' ')}"
