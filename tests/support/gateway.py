"""A gateway for tests: a plane with tables, and checks of every frame that goes through it.

Beside what a test is about, a `Gateway` checks each frame: exactly one reason is counted, the
outcome has the frames that its verdict demands, and what leaves is sound (`assert_sound`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.tables import NextHop, PortInfo, ServiceTable, Tables
from pktlb.engine.plane import Plane
from pktlb.model import (
    HASHES,
    HashOn,
    Mode,
    Proto,
    Reason,
    Scheduler,
    Timeouts,
    Verdict,
    Vip,
)
from pktlb.plan import slots as tables_of
from tests.support.packets import (
    DMZ,
    GATEWAY_MAC,
    LAN,
    MTU,
    V4,
    V6,
    WORLDS,
    Packet,
    Peer,
    World,
    completed,
    frame,
    mac_bytes,
    packed,
    parsed,
    vip,
)
from tests.support.sound import assert_sound, is_fragment, is_unsummed

MakePlane = Callable[[Tables, Limits], Plane]
"Makes a plane; that of every engine must pass the same tests."

HASH_KEY = bytes(range(16))
TIMEOUTS = Timeouts(syn=10, tcp=100, fin=20, udp=50)
SLOTS = 251
"A small prime for Maglev tables."


ANY: Final = Vip(b"")
"The VIP of the service for anything that would be forwarded."


def dialled(at: Peer, *protos: int, high: int | None = None) -> Vip:
    """A VIP: an address and a port, or a range of ports; of TCP unless protocols are given."""
    return Vip(packed(at.address), at.port, high or at.port, protos or (Proto.TCP,))


def service(
    mode: Mode,
    weights: Mapping[str, int] | None = None,
    *,
    at: Peer | Vip | None = None,
    proto: Proto = Proto.TCP,
    scheduler: Scheduler = Scheduler.RR,
    port: int = 8080,
    world: World | None = None,
    hash_on: HashOn | None = None,
    one_packet: bool = False,
    pick_up: bool = False,
    modes: Mapping[str, Mode] | None = None,
    thresholds: Mapping[str, tuple[int, int]] | None = None,
    persist_s: int = 0,
    persist: tuple[int, int] = (32, 128),
) -> ServiceTable:
    """A service over backends named by letter, with slots as control works them out.

    Backends are of the family of `world`, else of the VIP's. In NAT mode they have `port`, in the
    other modes the VIP's port, or 0 (the one dialled) where that is a range. Backends of weight 0
    are members that take no flows.
    """
    chosen = at or vip()
    dial = chosen if isinstance(chosen, Vip) else dialled(chosen, proto)
    there = world or (V6 if len(dial.address) == 16 else V4)
    weights = {"a": 1} if weights is None else weights
    taking = [name for name, weight in weights.items() if weight]
    each_mode = {name: (modes or {}).get(name, mode) for name in weights}
    held = dial.low if dial.low == dial.high else 0
    members = {
        name: there.backend(name, port if each_mode[name] is Mode.NAT else held).endpoint
        for name in weights
    }
    values = tuple(weights[name] for name in taking)
    slots: Sequence[int] = ()
    if values and scheduler in (Scheduler.RR, Scheduler.P2C):
        slots = tables_of.weighted_cycle(values)
    if values and scheduler in HASHES:
        slots = tables_of.maglev_table([n.encode() for n in taking], values, HASH_KEY, SLOTS)
    return ServiceTable(
        vip=dial,
        mode=mode,
        scheduler=scheduler,
        backends=tuple(members[name] for name in taking),
        weights=values,
        slots=slots,
        hash_on=hash_on or HASHES.get(scheduler, HashOn()),
        one_packet=one_packet,
        pick_up=pick_up or scheduler in HASHES,
        members=tuple(members.values()),
        modes=tuple(each_mode[name] for name in taking) if modes else (),
        thresholds=tuple(thresholds.get(name, (0, 0)) for name in taking) if thresholds else (),
        persist_s=persist_s,
        persist4=persist[0],
        persist6=persist[1],
        direct=any(each is not Mode.NAT for each in each_mode.values()) or mode is not Mode.NAT,
    )


def hop_to(name: str, mtu: int = MTU, world: World = V4) -> NextHop:
    macs = mac_bytes(world.backend(name).mac) + mac_bytes(GATEWAY_MAC[DMZ])
    return NextHop(DMZ, macs, mtu, packed(world.gateway(DMZ).address))


def reply_ends(each: ServiceTable) -> Iterator[Vip]:
    """The ends that send replies which have to be translated."""
    dial = each.vip
    for place, backend in enumerate(each.backends):
        if each.mode_at(place) is not Mode.NAT:
            continue
        low, high = (backend.port, backend.port) if backend.port else (dial.low, dial.high)
        yield Vip(backend.address, low, high, dial.protos)


def port_info(wire: int, mtu: int) -> PortInfo:
    addresses = {len(packed(a)): packed(a) for a in (w.gateway(wire).address for w in WORLDS)}
    return PortInfo(mac_bytes(GATEWAY_MAC[wire]), mtu, addresses)


def tables(
    *services: ServiceTable,
    snat: Iterable[str] = (),
    mtu: int = MTU,
    lan_mtu: int = MTU,
    **rest: Any,
) -> Tables:
    """The tables of the drawing in `tests.support.packets`. `mtu` is that of the backends' side,
    `lan_mtu` that of the clients' side. A service for anything spreads what arrives there."""
    spreading = [each for each in services if each.vip.any]
    if spreading:
        macs = {mac_bytes(V4.backend(name).mac) for name in V4.backends}
        rest = {"spread": frozenset({LAN}), "appliances": frozenset(macs), "own": OWN} | rest
    return Tables.of(
        services,
        [end for each in services for end in reply_ends(each)],
        {
            packed(address): hop_to(name, mtu, world)
            for world in WORLDS
            for name, address in world.backends.items()
        },
        snat=frozenset(map(packed, snat)),
        ports={LAN: port_info(LAN, lan_mtu), DMZ: port_info(DMZ, mtu)},
        hash_key=HASH_KEY,
        **rest,
    )


OWN: Final = frozenset(packed(w.gateway(wire).address) for w in WORLDS for wire in (LAN, DMZ))
"Addresses of the balancer that are no VIPs."


class Gateway:
    """A plane under test, and the checks of each frame."""

    def __init__(self, engine: MakePlane, given: Tables, **limits: Any) -> None:
        self.plane = engine(given, Limits(**({"timeouts": TIMEOUTS} | limits)))
        self._handled = 0
        self._held: list[Frame] = []
        "Frames that the plane has held, as they came."

    def goes_on(self, earlier: "Gateway") -> None:
        """Note that the plane has loaded what another one remembers, its counts as well."""
        self._handled = earlier._handled

    def receive(self, given: Packet | Frame, now: float = 0.0) -> Outcome:
        """Let the plane handle a packet; `given` itself is left as it is."""
        arrived = given if isinstance(given, Frame) else frame(given)
        before = self.plane.counts
        copy = Frame(arrived.port, bytearray(arrived.data), arrived.offload)
        outcome = self.plane.handle(copy, now)
        self._handled += 1
        self._check_counts(before, arrived, outcome.reason)
        self._check(arrived, outcome)
        return outcome

    def _check_counts(self, before: dict[Reason, int], arrived: Frame, reason: Reason) -> None:
        """Each frame is counted in one reason. Held ones may move to another when a fragment
        comes."""
        counts = self.plane.counts
        assert sum(counts.values()) == self._handled
        by = {each: counts[each] - before[each] for each in Reason}
        moved = {each: count for each, count in by.items() if count}
        if not is_fragment(arrived.data):
            assert moved == {reason: 1}
            return
        assert all(count > 0 for each, count in moved.items() if each is not Reason.HELD)
        assert reason in moved or reason is Reason.HELD

    def _check(self, arrived: Frame, outcome: Outcome) -> None:
        verdict = outcome.reason.verdict
        frames = list(outcome.frames)
        if verdict is Verdict.HOLD:
            self._held.append(arrived)
            assert not frames
        if verdict is Verdict.SEND:
            assert frames
        if verdict is Verdict.DROP:
            assert not frames
        if verdict is Verdict.ANSWER:
            # The frames behind the answer are the RST for the other end.
            answers = frames[:1] if outcome.reason is Reason.RESET else frames
            assert all(answer.port == arrived.port for answer in answers)
        if verdict is Verdict.PASS:
            known = [arrived, *self._held]
            assert all(each in known for each in frames), "the kernel gets a frame as it came"
            return
        unsummed = is_unsummed(arrived.data) or any(is_unsummed(each.data) for each in self._held)
        for sent in frames:
            assert_sound(completed(sent).data, unsummed)

    def reason(self, given: Packet | Frame, now: float = 0.0) -> Reason:
        return self.receive(given, now).reason

    def sends(self, given: Packet | Frame, now: float = 0.0) -> Packet:
        """The one packet that is sent for a packet, read by scapy."""
        outcome = self.receive(given, now)
        assert outcome.reason.verdict is Verdict.SEND, outcome.reason
        (sent,) = outcome.frames
        return parsed(sent)

    def sends_all(self, *given: Packet | Frame, now: float = 0.0) -> list[Packet]:
        """The packets that are sent when these come in one after the other."""
        outcomes = [self.receive(each, now) for each in given]
        sending = (Verdict.SEND, Verdict.HOLD)
        assert all(o.reason.verdict in sending for o in outcomes), [o.reason for o in outcomes]
        return [parsed(sent) for outcome in outcomes for sent in outcome.frames]

    def expect(
        self, given: Packet | Frame, reason: Reason, *frames: Packet | Frame, now: float = 0.0
    ) -> None:
        """Check that `given` ends in `reason` and in exactly these frames, byte for byte."""
        outcome = self.receive(given, now)
        wanted = [each if isinstance(each, Frame) else frame(each) for each in frames]
        assert outcome.reason is reason
        if list(outcome.frames) != wanted:
            assert "\n".join(map(describe, outcome.frames)) == "\n".join(map(describe, wanted))
            raise AssertionError("frames differ in what scapy does not show")


def describe(given: Frame) -> str:
    """A frame as text for a failed assertion."""
    text = parsed(given).command()
    return f"port {given.port}, {given.offload}: {text[:600]}\n  {given.data[:120].hex(' ')}"
