"""TCP connections that began elsewhere, use a port again, or have lost their backend."""

from dataclasses import replace
from typing import Any

import pytest

from pktlb.engine.datapath.tables import ServiceTable
from pktlb.engine.datapath.tcp import State
from pktlb.model import Mode, Reason, Scheduler
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    V4,
    World,
    at,
    backend,
    client,
    gso,
    packed,
    tcp,
    via,
    vip,
    wrapped,
)

DETERMINISTIC = [Scheduler.SOURCE, Scheduler.MAGLEV, Scheduler.HASH]
OTHERS = [each for each in Scheduler if each not in DETERMINISTIC]
ABC = {"a": 1, "b": 1, "c": 1}
MODES = pytest.mark.parametrize("mode", Mode)


def picking_up(mode: Mode, scheduler: Scheduler = Scheduler.MAGLEV, **rest: Any) -> ServiceTable:
    return service(mode, ABC, scheduler=scheduler, **rest)


@pytest.mark.parametrize("scheduler", DETERMINISTIC)
@MODES
def test_a_connection_goes_where_it_went_before_a_restart(
    engine: MakePlane, mode: Mode, scheduler: Scheduler
) -> None:
    for port in range(4000, 4010):
        before = Gateway(engine, tables(picking_up(mode, scheduler)))
        chosen = before.sends(tcp(client(port), vip(), "S")).dst
        after = Gateway(engine, tables(picking_up(mode, scheduler)))
        outcome = after.receive(tcp(client(port), vip(), "PA", b"data"))
        assert outcome.reason is Reason.PICKED_UP
        (sent,) = outcome.frames
        assert sent.data[:6].hex(":") == chosen
        assert after.reason(tcp(client(port), vip(), "A")) is Reason.FORWARDED


@pytest.mark.parametrize("scheduler", OTHERS)
@MODES
def test_other_schedulers_pick_up_connections_only_if_configured(
    engine: MakePlane, mode: Mode, scheduler: Scheduler
) -> None:
    data = tcp(client(), vip(), "A")
    gateway = Gateway(engine, tables(picking_up(mode, scheduler)))
    gateway.expect(data, Reason.NOT_OPEN, data)
    gateway = Gateway(engine, tables(picking_up(mode, scheduler, pick_up=True)))
    assert gateway.reason(data) is Reason.PICKED_UP


@each_world
def test_a_picked_up_packet_is_sent_as_any_other(engine: MakePlane, world: World) -> None:
    client, there = world.client(), world.backend()
    data = tcp(client, world.vip(), "PA", b"data")
    given = tables(service(Mode.NAT, at=world.vip(), pick_up=True))
    gateway = Gateway(engine, given)
    sent = tcp(world.inside, there, "PA", b"data", ttl=63)
    gateway.expect(data, Reason.PICKED_UP, sent)
    reply = tcp(there, world.inside, "A")
    gateway.expect(reply, Reason.RETURNED, tcp(world.vip(), client, "A", ttl=63))
    gateway = Gateway(engine, tables(service(Mode.TUNNEL, at=world.vip(), pick_up=True)))
    inner = tcp(world.inside, at(world.vip(), there), "PA", b"data", ttl=63)
    gateway.expect(data, Reason.PICKED_UP, wrapped(there, inner))


UNDER_WAY = ["A", "PA", "FA", "FPA", "UA", "RA"]
NOT_UNDER_WAY = ["SA", "R", "F", "", "P", "FS", "SR", "SRA"]


@pytest.mark.parametrize("flags", UNDER_WAY[:5])
def test_a_packet_of_a_connection_under_way_is_picked_up(engine: MakePlane, flags: str) -> None:
    gateway = Gateway(engine, tables(picking_up(Mode.NAT)))
    assert gateway.reason(tcp(client(), vip(), flags)) is Reason.PICKED_UP


@pytest.mark.parametrize("flags", NOT_UNDER_WAY)
@MODES
def test_a_packet_of_no_connection_is_not_picked_up(
    engine: MakePlane, mode: Mode, flags: str
) -> None:
    """A SYN+ACK, or a segment without ACK (RFC 9293, 3.10.7: only SYN and RST may lack it)."""
    gateway = Gateway(engine, tables(picking_up(mode)))
    packet = tcp(client(), vip(), flags)
    gateway.expect(packet, Reason.NOT_OPEN, packet)
    assert len(gateway.plane.flows) == 0


STATES = [
    (Mode.NAT, "A", State.ESTABLISHED), (Mode.NAT, "FA", State.CLIENT_FIN),
    (Mode.DSR, "A", State.ESTABLISHED), (Mode.DSR, "FA", State.CLOSED),
    (Mode.TUNNEL, "PA", State.ESTABLISHED), (Mode.TUNNEL, "FPA", State.CLOSED),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "flags", "state"), STATES)
def test_a_picked_up_flow_has_the_state_that_its_packet_tells(
    engine: MakePlane, mode: Mode, flags: str, state: State
) -> None:
    gateway = Gateway(engine, tables(picking_up(mode)))
    gateway.receive(tcp(client(), vip(), flags))
    (flow,) = gateway.plane.flows
    assert flow.state is state
    assert flow.tally.active == (state is not State.CLOSED)


def test_a_long_frame_is_picked_up_whole(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, pick_up=True)))
    given = gso(tcp(client(), vip(), "A", bytes(9000)), 1448)
    sent = gso(tcp(V4.inside, backend(), "A", bytes(9000), ttl=63), 1448)
    gateway.expect(given, Reason.PICKED_UP, sent)


def test_a_connection_is_picked_up_with_source_nat(engine: MakePlane) -> None:
    """The source port is another one than before, so the backend will reset the connection."""
    gateway = Gateway(
        engine, tables(service(Mode.NAT, pick_up=True), snat=["10.0.2.9"]), source_ports=[5000]
    )
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.PICKED_UP


@MODES
def test_a_client_that_uses_a_closed_connection_s_port_gets_a_new_flow_at_once(
    engine: MakePlane, mode: Mode
) -> None:
    gateway = Gateway(engine, tables(service(mode, {"a": 1, "b": 1})))
    for flags in ("S", "A", "FA"):
        gateway.receive(tcp(client(), vip(), flags))
    if mode is Mode.NAT:
        for flags in ("FA", "A"):
            gateway.receive(tcp(backend(), V4.inside, flags))
    outcome = gateway.receive(tcp(client(), vip(), "S", seq=77777), now=0.25)
    assert outcome.reason is Reason.OPENED
    assert len(gateway.plane.flows) == 1
    (flow,) = gateway.plane.flows
    assert flow.state is State.SYN_SENT
    assert outcome.frames[0].data[:6].hex(":") == backend("b").mac


@pytest.mark.parametrize("state", ["S", "S A", "S A FA"])
@MODES
def test_a_syn_for_a_flow_whose_backend_is_gone_opens_another(
    engine: MakePlane, mode: Mode, state: str
) -> None:
    both = tables(service(mode, {"a": 1}))
    gateway = Gateway(engine, both)
    for flags in state.split():
        gateway.receive(tcp(client(), vip(), flags))
    left = {packed(backend("b").address): both.hops[packed(backend("b").address)]}
    gateway.plane.swap(replace(tables(service(mode, {"b": 1})), hops=left))
    outcome = gateway.receive(tcp(client(), vip(), "S"))
    assert outcome.reason is Reason.OPENED
    assert outcome.frames[0].data[:6].hex(":") == backend("b").mac
    assert len(gateway.plane.flows) == 1


def test_data_for_a_flow_whose_backend_is_gone_opens_no_other(engine: MakePlane) -> None:
    given = tables(service(Mode.DSR, {"a": 1}, pick_up=True))
    gateway = Gateway(engine, given)
    for flags in ("S", "A"):
        gateway.receive(tcp(client(), vip(), flags))
    gateway.plane.swap(replace(given, hops={}))
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.NO_NEXT_HOP


def test_a_backend_s_packet_is_not_picked_up(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, pick_up=True)))
    reply = tcp(backend(), via(DMZ, client()), "A")
    gateway.expect(reply, Reason.NO_FLOW, reply)
