"""An ICMP error about a packet that was rewritten here is told as one about the original."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pktlb.model import Mode, Reason
from tests.property.specs import Spec, specs_and_clients
from tests.property.test_any_packet import laid_out, mirrored, stand_in
from tests.support.gateway import Gateway, MakePlane
from tests.support.packets import (
    DMZ,
    GATEWAY_MAC,
    LAN,
    QUOTED,
    WORLDS,
    Packet,
    Peer,
    Trouble,
    World,
    at,
    icmp_error,
    ip_bytes,
    parsed,
    router,
    via,
    wrapped,
)
from tests.support.sound import layout

troubles = st.sampled_from(Trouble)
outers = st.sampled_from(WORLDS)


def plain(spec: Spec) -> Spec:
    """The packet without offloads, and small enough for every link."""
    return replace(
        spec, load=spec.load[:900], ttl=max(spec.ttl, 3), padding=0, begun=False, df=True
    )  # fmt: skip


def enough(packet: Packet, data: st.DataObject) -> int:
    """How much of a packet is quoted: 8 bytes of its transport header at least. Not half of TCP's
    checksum, which cannot be translated."""
    whole = ip_bytes(packet)
    there = layout(whole)
    most = min(len(whole), QUOTED[4 if whole[0] >> 4 == 4 else 6])
    lengths = st.integers(there.transport + 8, most)
    return data.draw(lengths.filter(lambda size: there.proto != 6 or size != there.transport + 17))


@given(
    both=specs_and_clients(), snat=st.booleans(), trouble=troubles, mtu=st.integers(0, 65535),
    data=st.data(),
)  # fmt: skip
def test_any_error_about_a_packet_to_a_nat_backend_reaches_its_client(
    engine: MakePlane,
    both: tuple[Spec, Peer],
    snat: bool,
    trouble: Trouble,
    mtu: int,
    data: st.DataObject,
) -> None:
    """The client gets an error about the packet as it sent it."""
    spec, who = plain(both[0]), both[1]
    world, vip = spec.world, spec.world.vip()
    gateway = Gateway(engine, laid_out(Mode.NAT, world, 1500, snat), source_ports=[5000])
    sent = gateway.sends(spec.frame(who, vip))
    inside = stand_in(world) if snat else via(DMZ, who)
    quoted = enough(sent, data)
    error = icmp_error(trouble, sent, router(world, DMZ), inside, mtu, quoted=quoted)
    was = spec.build(who, vip, ttl=spec.ttl - 1)
    told = icmp_error(trouble, was, vip, who, mtu, quoted=quoted, ttl=63)
    gateway.expect(error, Reason.RELATED, told)


@given(
    both=specs_and_clients(), snat=st.booleans(), trouble=troubles, mtu=st.integers(0, 65535),
    data=st.data(),
)  # fmt: skip
def test_any_error_about_a_nat_reply_reaches_its_backend(
    engine: MakePlane,
    both: tuple[Spec, Peer],
    snat: bool,
    trouble: Trouble,
    mtu: int,
    data: st.DataObject,
) -> None:
    """The backend gets an error about the packet as it sent it."""
    spec, who = plain(both[0]), both[1]
    world, vip, there = spec.world, spec.world.vip(), spec.world.backend()
    gateway = Gateway(engine, laid_out(Mode.NAT, world, 1500, snat), source_ports=[5000])
    (forth,) = gateway.receive(spec.frame(who, vip)).frames
    back = gateway.sends(mirrored(forth))
    quoted = enough(back, data)
    error = icmp_error(trouble, back, router(world, LAN), vip, mtu, quoted=quoted)
    inside = stand_in(world) if snat else via(DMZ, who)
    was = spec.build(there, inside, ttl=spec.ttl - 2)
    behind = router(world, LAN)._replace(mac=GATEWAY_MAC[DMZ])
    told = icmp_error(trouble, was, behind, there, mtu, quoted=quoted, ttl=63)
    gateway.expect(error, Reason.RELATED, told)


@given(
    both=specs_and_clients(), outer=outers, mtu=st.integers(1300, 1499), trouble=troubles,
    data=st.data(),
)  # fmt: skip
def test_any_error_about_a_tunnel_s_packet_reaches_the_client_of_the_inner_one(
    engine: MakePlane,
    both: tuple[Spec, Peer],
    outer: World,
    mtu: int,
    trouble: Trouble,
    data: st.DataObject,
) -> None:
    """The client gets an error about the inner packet, with an MTU that fits both. It does not hear
    that the backend takes no packets of a tunnel."""
    spec, who = plain(both[0]), both[1]
    world, vip = spec.world, spec.world.vip()
    gateway = Gateway(engine, laid_out(Mode.TUNNEL, world, 1500, outer=outer))
    sent = gateway.sends(spec.frame(who, vip))
    inner = spec.build(via(DMZ, who), at(vip, outer.backend()), ttl=spec.ttl - 1)
    ident = {"id": 1} if outer.family == 4 else {}
    assert ip_bytes(sent) == ip_bytes(wrapped(outer.backend(), inner, **ident))
    within = ip_bytes(inner)
    most = min(outer.size + len(within), QUOTED[outer.family])
    least = outer.size + layout(within).transport + 8
    quoted = data.draw(st.integers(least, most))
    error = icmp_error(
        trouble, sent, router(outer, DMZ), outer.gateway(DMZ), mtu, quoted=quoted
    )  # fmt: skip
    if trouble in (Trouble.PORT, Trouble.PROTOCOL):
        gateway.expect(error, Reason.TUNNEL_REFUSED)
        return
    kind, room = Trouble.HOST, 0
    if trouble is Trouble.BIG:
        kind, room = trouble, max(mtu - outer.size, 1280 if world.family == 6 else 68)
    about = within[: quoted - outer.size]
    gateway.expect(
        error, Reason.RELATED, icmp_error(kind, about, vip, who, room, id=0, df=False)
    )  # fmt: skip


@given(
    both=specs_and_clients(), mode=st.sampled_from([Mode.DSR, Mode.TUNNEL]), outer=outers,
    trouble=troubles, data=st.data(),
)  # fmt: skip
def test_any_error_about_an_answer_in_the_vip_s_name_reaches_its_backend(
    engine: MakePlane,
    both: tuple[Spec, Peer],
    mode: Mode,
    outer: World,
    trouble: Trouble,
    data: st.DataObject,
) -> None:
    """The backend gets the error as it is, wrapped where it has a tunnel."""
    spec, who = plain(both[0]), both[1]
    world, vip = spec.world, spec.world.vip()
    gateway = Gateway(engine, laid_out(mode, world, 1500, outer=outer))
    gateway.sends(spec.frame(who, vip))
    answered = spec.build(vip, who)
    quoted = enough(answered, data)
    error = icmp_error(trouble, answered, router(world, LAN), vip, 1300, quoted=quoted)
    (frame,) = gateway.receive(error).frames
    far = outer if mode is Mode.TUNNEL else world
    there = at(vip, far.backend())
    behind = router(world, LAN)._replace(mac=GATEWAY_MAC[DMZ])
    told = icmp_error(trouble, answered, behind, there, 1300, quoted=quoted, ttl=63)
    got = ip_bytes(parsed(frame))
    if mode is Mode.TUNNEL:
        got = got[layout(got).transport :]
    assert got == ip_bytes(told)


@given(both=specs_and_clients(), data=st.data())
def test_an_error_that_quotes_too_little_is_not_ours(
    engine: MakePlane, both: tuple[Spec, Peer], data: st.DataObject
) -> None:
    spec, who = plain(both[0]), both[1]
    world = spec.world
    gateway = Gateway(engine, laid_out(Mode.NAT, world))
    sent = gateway.sends(spec.frame(who, world.vip()))
    least = layout(ip_bytes(sent)).transport + 8
    quoted = data.draw(st.integers(0, least - 1))
    who_says = router(world, DMZ)
    error = icmp_error(Trouble.PORT, sent, who_says, via(DMZ, who), quoted=quoted)
    gateway.expect(error, Reason.NOT_OURS)
