"""Many frames with one aim: bounds that random traffic does not reach within one life."""

from collections.abc import Iterator
from typing import Final

from pktlb.engine.datapath.frame import GSO_TCP4, GSO_TCP6, GSO_UDP, NO_OFFLOAD
from pktlb.engine.datapath.tables import ServiceTable
from pktlb.engine.datapath.trail import MAX_TRAILS, SHARE_OF_TRAILS
from pktlb.model import Endpoint, Mode, Proto
from tests.differential.scene import EIGHTH, Scene
from tests.differential.step import Arrival, Expiry, Step
from tests.differential.talk import Talk
from tests.differential.trouble import complaint, nested
from tests.differential.wire import PORTED, SYN, Packet, pieces
from tests.support.packets import packed

CLASHES: Final = 64
"How many ports are tried where the client's own is taken."
CROWD: Final = 4120
"More flows than endpoints rest in a pool before they are given out again."
CLIENTS: Final = {4: packed("10.0.1.2"), 16: packed("2001:db8:1::2")}


def steps(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """The steps of the siege that this scene permits."""
    kinds = []
    roomy = scene.limits.max_flows > CROWD
    if (
        roomy
        and scene.rng.random() < 0.2
        and any(each.mode is Mode.TUNNEL for each in scene.services.values())
    ):
        kinds.append(_go_round)
    if roomy and scene.snat and len(scene.limits.source_ports) > CROWD:
        kinds += [_use_up] * 20
    if scene.rng.random() < 0.1:
        kinds.append(_scatter)
    kinds += [_dial_the_pool] if scene.snat else [_take_all_ports] * 4
    kinds += [_hoard, _scatter_alone, _pester, _nag]
    return scene.rng.choice(kinds)(talk, scene, now) if kinds else iter(())


def _opening(talk: Talk, port: int, now: float, scene: Scene, load: bytes = b"") -> Packet:
    client = Endpoint(CLIENTS[len(talk.vip.address)], port)
    packet = Packet(client, talk.vip, talk.proto, scene.macs_to(1, talk.mac))
    packet.flags, packet.load = SYN, load
    return packet


def _arrival(packet: Packet, now: float) -> Arrival:
    return Arrival(now, 1, bytes(packet.build()), NO_OFFLOAD)


def _take_all_ports(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """A client takes all ports that one more of its connections could get at the backend."""
    rng = scene.rng
    port = rng.choice((4000, 65535, 40_000))
    tries = [1024 + (port + step * 997) % 64512 for step in range(1, CLASHES)]
    if rng.random() < 0.5:
        tries.remove(rng.choice((tries[-1], rng.choice(tries))))
    pairs = [
        (one, other)
        for one in scene.nat_services()
        for other in scene.nat_services()
        if one is not other and _alike(one, other) and set(one.backends) & set(other.backends)
    ]
    if not pairs:
        return
    one, other = rng.choice(pairs)
    talk.vip, _ = _dial(one)
    talk.proto = min(set(one.vip.protos) & set(other.vip.protos) & PORTED)
    for number in (port, *rng.sample(tries, len(tries))):
        yield _arrival(_opening(talk, number, now, scene), now)
    talk.vip, _ = _dial(other)
    for _ in range(3):
        yield _arrival(_opening(talk, port, now, scene), now)


def _alike(one: ServiceTable, other: ServiceTable) -> bool:
    """Whether one client port can dial both services."""
    sizes = len(one.vip.address), len(other.vip.address)
    return sizes[0] == sizes[1] and bool(set(one.vip.protos) & set(other.vip.protos) & PORTED)


def _dial(service: ServiceTable) -> tuple[Endpoint, int]:
    """The address of a service, a port and a protocol of it."""
    proto = next((each for each in service.vip.protos if each in PORTED), Proto.UDP)
    return Endpoint(service.vip.address, service.vip.low), proto


def _dial_the_pool(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """Backends are clients of services at addresses of the pool: their packets look like
    replies."""
    services = [each for each in scene.nat_services() if talk.proto in each.vip.protos]
    ends = sorted({backend for each in services for backend in each.backends})
    for vip in _in_the_pool(scene):
        for end in ends:
            if len(end.address) == len(vip.address):
                talk.vip = vip
                packet = _opening(talk, 0, now, scene)
                packet.source = end if end.port else end._replace(port=vip.port)
                yield _arrival(packet, now)
    for each in services:
        for port in range(4000, 4003):
            talk.vip, _ = _dial(each)
            yield _arrival(_opening(talk, port, now, scene), now)


def _in_the_pool(scene: Scene) -> Iterator[Endpoint]:
    """The ends to dial at addresses of the pool; of ranges of ports, those that are given out."""
    given = list(scene.limits.source_ports[: CLASHES + 6])
    for each in scene.services.values():
        if each.vip.address in scene.snat:
            ports = [port for port in given if each.vip.low <= port <= each.vip.high]
            for port in ports or [each.vip.low]:
                yield Endpoint(each.vip.address, port)


def _use_up(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """So many endpoints are given back that they are given out again before fresh ones."""
    services = [each for each in scene.nat_services() if each.backends]
    if not services:
        return
    alone = [each for each in services if len(each.backends) == 1 and not any(each.thresholds)]
    talk.vip, talk.proto = _dial(scene.rng.choice(alone or services))
    for port in range(10_000, 10_000 + CROWD):
        yield _arrival(_opening(talk, port, now, scene), now)
    later = now + max(scene.limits.timeouts.syn, scene.limits.timeouts.udp)
    yield Expiry(later, 2 * CROWD)
    for port in range(100):
        yield _arrival(_opening(talk, port, later, scene), later)


def _scatter(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """More packets in fragments than can be remembered: all last fragments, then all first
    ones."""
    for client in range(MAX_TRAILS + 6):
        yield _piece(talk, scene, now, (24, 72, False), client=client)
    for client in (MAX_TRAILS + 5, 6, 5, 0, MAX_TRAILS):
        yield _piece(talk, scene, now, (0, 24, True), client=client)
    yield Expiry(now + 14.875, 5)
    yield Expiry(now + 15.0, 5)
    yield Expiry(now + 15.0, 2 * MAX_TRAILS)


def _hoard(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """More bytes of fragments than can be held."""
    for client in range(90):
        yield _piece(talk, scene, now, (24, 50_024, True), client=client)
    for client in range(0, 90, 7):
        yield _piece(talk, scene, now, (0, 24, True), client=client)


def _scatter_alone(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """More packets in fragments, and then more bytes of them, than one source may have."""
    for ident in range(SHARE_OF_TRAILS + 6):
        yield _piece(talk, scene, now, (24, 72, False), ident=ident)
    for ident in (SHARE_OF_TRAILS + 5, 6, 5, 0, SHARE_OF_TRAILS):
        yield _piece(talk, scene, now, (0, 24, True), ident=ident)
    for ident in range(100, 115):
        yield _piece(talk, scene, now, (24, 50_024, True), ident=ident)
    for ident in range(100, 115):
        yield _piece(talk, scene, now, (0, 24, True), ident=ident)


def _piece(
    talk: Talk, scene: Scene, now: float, cut: tuple[int, int, bool], *, client: int = 1,
    ident: int = 1,
) -> Arrival:  # fmt: skip
    """A fragment of a packet from the client of this number."""
    packet = _opening(talk, 4000, now, scene, bytes(60_000 if cut[1] > 100 else 64))
    address = packet.source.address[:-2] + client.to_bytes(2, "big")
    packet.source = Endpoint(address, 4000)
    (piece,) = pieces(packet.build(), [cut], ident)
    return Arrival(now, 1, piece, NO_OFFLOAD)


def _pester(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """More frames that are answered with an error than one sender may get."""
    for turn in range(100):
        packet = _opening(talk, 4000 + turn % 2, now, scene)
        packet.ttl = 1
        yield _arrival(packet, now + turn // 50 * 15 * EIGHTH)


def _nag(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """More errors about packets of a tunnel than their sender may get."""
    services = [each for each in scene.services.values() if each.mode is Mode.TUNNEL]
    if not services:
        return
    service = scene.rng.choice(services)
    talk.vip, talk.proto = _dial(service)
    sent = _arrival(_opening(talk, 4000, now, scene), now)
    yield sent
    for turn in range(120):
        for backend in service.backends:
            if backend.address in scene.hops:
                hop = scene.hops[backend.address]
                about = nested(scene.rng, sent.data, hop.source, backend.address)
                packet = complaint(scene.rng, about, scene.macs_to(1, talk.mac))
                if packet is not None:
                    yield _arrival(packet, now + turn // 100 * EIGHTH)


def _go_round(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """Frames of so many segments that the identification of outer headers wraps around."""
    kind = GSO_UDP
    if talk.proto == Proto.TCP:
        kind = GSO_TCP4 if len(talk.vip.address) == 4 else GSO_TCP6
    for _ in range(3):
        packet = _opening(talk, 4000, now, scene, bytes(25_000))
        packet.partial = True
        yield Arrival(now, 1, bytes(packet.build()), packet.offload(kind, 1))
