"""Many frames with one aim: bounds that chance alone does not come to, within one life."""

from collections.abc import Iterator
from typing import Final

from pktlb.datapath.frame import GSO_TCP4, GSO_UDP, NO_OFFLOAD
from pktlb.model import Endpoint, Mode, Proto
from tests.differential.scene import Scene
from tests.differential.step import Arrival, Expiry, Step
from tests.differential.talk import Talk
from tests.differential.wire import SYN, Packet
from tests.packets import packed

CLASHES: Final = 64
"How many ports are tried where the client's own is taken."
CROWD: Final = 4120
"More flows than endpoints rest in a pool before they are given out again."
CLIENT: Final = packed("10.0.1.2")


def steps(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """The one that these surroundings permit."""
    kinds = []
    roomy = scene.limits.max_flows > CROWD
    if (
        roomy
        and scene.rng.random() < 0.2
        and any(each.mode is Mode.TUNNEL for each in scene.services.values())
    ):
        kinds.append(_go_round)
    if roomy and scene.snat and len(scene.limits.source_ports) > CROWD:
        kinds.append(_use_up)
    if scene.snat:
        kinds.append(_dial_the_pool)
    else:
        kinds.append(_take_all_ports)
    return scene.rng.choice(kinds)(talk, scene, now) if kinds else iter(())


def _opening(talk: Talk, port: int, now: float, scene: Scene, load: bytes = b"") -> Packet:
    packet = Packet(Endpoint(CLIENT, port), talk.vip, talk.proto, scene.macs_to(1, talk.mac))
    packet.flags, packet.load = SYN, load
    return packet


def _arrival(packet: Packet, now: float) -> Arrival:
    return Arrival(now, 1, bytes(packet.build()), NO_OFFLOAD)


def _take_all_ports(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """A client has all the ports that another connection of it could be given at the backend."""
    rng = scene.rng
    port = rng.choice((4000, 65535, 40_000))
    tries = [1024 + (port + step * 997) % 64512 for step in range(1, CLASHES)]
    if rng.random() < 0.5:
        tries.remove(rng.choice((tries[-1], rng.choice(tries))))
    pairs = [
        (one, other)
        for one in scene.nat_services()
        for other in scene.nat_services()
        if one is not other and one.proto is other.proto and set(one.backends) & set(other.backends)
    ]
    if not pairs:
        return
    one, other = rng.choice(pairs)
    talk.vip, talk.proto = one.vip, one.proto
    for number in (port, *rng.sample(tries, len(tries))):
        yield _arrival(_opening(talk, number, now, scene), now)
    talk.vip = other.vip
    for _ in range(3):
        yield _arrival(_opening(talk, port, now, scene), now)


def _dial_the_pool(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """Backends are clients of services at addresses of the pool: it looks like their replies."""
    services = [each for each in scene.nat_services() if each.proto is talk.proto]
    ends = sorted({backend for each in services for backend in each.backends})
    vips = [each.vip for each in scene.services.values() if each.vip.address in scene.snat]
    for vip in vips:
        for end in ends:
            talk.vip = vip
            packet = _opening(talk, 0, now, scene)
            packet.source = end
            yield _arrival(packet, now)
    for each in services:
        for port in range(4000, 4003):
            talk.vip = each.vip
            yield _arrival(_opening(talk, port, now, scene), now)


def _use_up(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """So many endpoints are given back that they are given out again before fresh ones."""
    services = [each for each in scene.nat_services() if each.backends]
    if not services:
        return
    service = scene.rng.choice(services)
    talk.vip, talk.proto = service.vip, service.proto
    for port in range(10_000, 10_000 + CROWD):
        yield _arrival(_opening(talk, port, now, scene), now)
    later = now + max(scene.limits.timeouts.syn, scene.limits.timeouts.udp)
    yield Expiry(later, 2 * CROWD)
    for port in range(100):
        yield _arrival(_opening(talk, port, later, scene), later)


def _go_round(talk: Talk, scene: Scene, now: float) -> Iterator[Step]:
    """Frames that stand for so many that the tunnel's identifications begin anew."""
    kind = GSO_TCP4 if talk.proto is Proto.TCP else GSO_UDP
    for _ in range(3):
        packet = _opening(talk, 4000, now, scene, bytes(25_000))
        packet.partial = True
        yield Arrival(now, 1, bytes(packet.build()), packet.offload(kind, 1))
