"""Fragments of any packet, in any order, become what the whole packet would have become."""

from dataclasses import replace
from random import Random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pktlb.engine.datapath.trail import LIFETIME_S
from pktlb.model import Mode, Reason
from tests.property.specs import Spec, specs_and_clients
from tests.property.test_any_packet import laid_out, stand_in
from tests.support.gateway import Gateway, MakePlane
from tests.support.oracle import slow_reassembly
from tests.support.packets import DMZ, WORLDS, Packet, Peer, World, at, fragmented, ip_bytes, via
from tests.support.sound import ETHER, assert_sound_ip
from tests.support.trails import arrived

LEAST = 15
"Words of a first fragment, so that all headers are in it."


class Drawn(NamedTuple):
    """A packet that opens a flow, its sender, and how it is cut and shuffled."""

    spec: Spec
    who: Peer
    size: int
    rng: Random

    def pieces(self) -> list[Packet]:
        whole = self.spec.build(self.who, self.spec.world.vip())
        pieces = fragmented(whole, self.size, ident=self.spec.ident)
        self.rng.shuffle(pieces)
        return pieces


@st.composite
def fragmenting(draw: st.DrawFn) -> Drawn:
    spec, who = draw(specs_and_clients())
    load = (spec.load * 8)[:4000]
    spec = replace(spec, load=load, df=False, padding=0, begun=False)
    return Drawn(spec, who, draw(st.integers(LEAST, 150)) * 8, draw(st.randoms()))


def expected(spec: Spec, who: Peer, mode: Mode, snat: bool) -> bytes:
    world = spec.world
    source = stand_in(world) if snat and mode is Mode.NAT else via(DMZ, who)
    target = world.backend() if mode is Mode.NAT else at(world.vip(), world.backend())
    return ip_bytes(spec.build(source, target, ttl=spec.ttl - 1))


@given(
    drawn=fragmenting(),
    mode=st.sampled_from(Mode),
    snat=st.booleans(),
    outer=st.sampled_from(WORLDS),
)
def test_fragments_in_any_order_become_what_the_packet_would_have_become(
    engine: MakePlane,
    drawn: Drawn,
    mode: Mode,
    snat: bool,
    outer: World,
) -> None:
    spec, who, pieces = drawn.spec, drawn.who, drawn.pieces()
    given_tables = laid_out(mode, spec.world, 9000, snat, outer)
    gateway = Gateway(engine, given_tables, source_ports=[5000])
    frames = [sent for piece in pieces for sent in gateway.receive(piece).frames]
    assert len(frames) == len(pieces)
    if len(pieces) == 1:
        return  # not cut
    assert arrived(frames, mode) == expected(spec, who, mode, snat)
    counts = gateway.plane.counts
    assert counts[Reason.HELD] == 0
    assert counts[Reason.OPENED] == 1
    assert len(gateway.plane.flows) == 1


@given(drawn=fragmenting(), mtu=st.integers(200, 1500))
def test_fragments_that_are_cut_further_become_what_the_packet_would_have_become(
    engine: MakePlane, drawn: Drawn, mtu: int
) -> None:
    spec, who, pieces = drawn.spec, drawn.who, drawn.pieces()
    if spec.world.family == 6 or len(pieces) == 1:
        return
    gateway = Gateway(engine, laid_out(Mode.NAT, spec.world, mtu))
    frames = [sent for piece in pieces for sent in gateway.receive(piece).frames]
    assert all(len(sent.data) - ETHER <= mtu for sent in frames)
    whole = slow_reassembly([bytes(sent.data[ETHER:]) for sent in frames])
    assert_sound_ip(whole, unsummed=True)
    assert whole == expected(spec, who, Mode.NAT, snat=False)


@given(drawn=fragmenting(), snat=st.booleans())
def test_replies_in_fragments_become_what_the_reply_would_have_become(
    engine: MakePlane, drawn: Drawn, snat: bool
) -> None:
    spec, who, world = drawn.spec, drawn.who, drawn.spec.world
    gateway = Gateway(engine, laid_out(Mode.NAT, world, 9000, snat), source_ports=[5000])
    gateway.receive(replace(spec, load=b"").frame(who, world.vip()))
    inside = stand_in(world) if snat else via(DMZ, who)
    pieces = fragmented(spec.build(world.backend(), inside), drawn.size, ident=spec.ident)
    drawn.rng.shuffle(pieces)
    frames = [sent for piece in pieces for sent in gateway.receive(piece).frames]
    assert all(sent.data[:6].hex(":") == who.mac for sent in frames)
    if len(pieces) > 1:
        whole = spec.build(world.vip(), who, ttl=spec.ttl - 1)
        assert arrived(frames, Mode.NAT) == ip_bytes(whole)


@given(drawn=fragmenting(), data=st.data())
def test_fragments_that_wait_in_vain_are_counted_and_forgotten(
    engine: MakePlane, drawn: Drawn, data: st.DataObject
) -> None:
    spec, pieces = drawn.spec, drawn.pieces()
    gateway = Gateway(engine, laid_out(Mode.NAT, spec.world))
    some = pieces[: data.draw(st.integers(0, len(pieces)))]
    outcomes = [gateway.receive(piece) for piece in some]
    held = gateway.plane.counts[Reason.HELD]
    assert sum(len(outcome.frames) for outcome in outcomes) + held == len(some)
    gateway.plane.expire(LIFETIME_S)
    counts = gateway.plane.counts
    assert (counts[Reason.HELD], counts[Reason.FRAGMENT_LOST]) == (0, held)
    assert sum(counts.values()) == len(some)
