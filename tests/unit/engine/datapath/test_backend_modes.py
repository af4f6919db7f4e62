"""Backends with a mode of their own, beside others in one service."""

import pytest

from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Reason
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import DMZ, V4, World, at, ip_bytes, tcp, via, wrapped

ABC = {"a": 1, "b": 1, "c": 1}
OWN = {"a": Mode.NAT, "b": Mode.DSR, "c": Mode.TUNNEL}


def mixed(world: World, mode: Mode = Mode.NAT) -> Tables:
    return tables(service(mode, ABC, at=world.vip(), modes=OWN))


@each_world
def test_each_flow_is_sent_in_the_mode_of_its_backend(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, mixed(world))
    vip = world.vip()
    for port, name in enumerate("abc", 4000):
        client, backend = world.client(port), world.backend(name)
        inside = via(DMZ, client)
        expected = {
            Mode.NAT: tcp(inside, backend, "S", ttl=63),
            Mode.DSR: tcp(inside, at(vip, backend), "S", ttl=63),
            Mode.TUNNEL: wrapped(backend, tcp(inside, at(vip, backend), "S", ttl=63)),
        }[OWN[name]]
        outcome = gateway.receive(tcp(client, vip, "S"))
        assert outcome.reason is Reason.OPENED
        (sent,) = outcome.frames
        assert bytes(sent.data[14:]) == ip_bytes(expected)
        assert gateway.sends(tcp(client, vip, "A")).dst == backend.mac


@each_world
def test_a_reply_is_treated_in_the_mode_of_its_flow(engine: MakePlane, world: World) -> None:
    gateway = Gateway(engine, mixed(world))
    vip = world.vip()
    for port in (4000, 4001, 4002):
        gateway.sends(tcp(world.client(port), vip, "S"))
    back = tcp(vip, world.client(4000), "SA", ttl=63)
    gateway.expect(tcp(world.backend("a"), via(DMZ, world.client(4000)), "SA"), Reason.RETURNED,
                   back)  # fmt: skip
    for port in (4001, 4002):
        answer = tcp(at(vip, world.backend("b")), via(DMZ, world.client(port)), "SA")
        gateway.expect(answer, Reason.RETURNED, tcp(vip, world.client(port), "SA", ttl=63))
    stray = tcp(at(vip, world.backend("a")), via(DMZ, world.client(4000)), "SA")
    gateway.expect(stray, Reason.NO_FLOW, stray)


def test_a_service_has_a_tunnel_to_the_other_family_beside_nat(engine: MakePlane) -> None:
    table = service(Mode.NAT, {"a": 1, "b": 1}, modes={"b": Mode.TUNNEL})
    gateway = Gateway(engine, tables(table))
    gateway.sends(tcp(V4.client(1), V4.vip(), "S"))
    assert gateway.sends(tcp(V4.client(2), V4.vip(), "S")).proto == 4


@pytest.mark.parametrize(("mode", "closed"), [(Mode.NAT, False), (Mode.DSR, True)])
def test_a_client_s_fin_closes_the_flow_where_the_backend_answers_itself(
    engine: MakePlane, mode: Mode, closed: bool
) -> None:
    gateway = Gateway(engine, tables(service(Mode.TUNNEL, modes={"a": mode})))
    gateway.sends(tcp(V4.client(), V4.vip(), "S"))
    gateway.sends(tcp(V4.client(), V4.vip(), "FA"))
    (count,) = gateway.plane.tallies().values()
    assert (count.active, count.inactive) == ((0, 1) if closed else (1, 0))


def test_a_changed_mode_applies_to_new_flows(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, modes={"a": Mode.DSR})))
    gateway.sends(tcp(V4.client(1), V4.vip(), "S"))
    gateway.plane.swap(tables(service(Mode.NAT)))
    assert gateway.sends(tcp(V4.client(1), V4.vip(), "A"))[1].dst == V4.vip().address
    assert gateway.sends(tcp(V4.client(2), V4.vip(), "S"))[1].dst == V4.backend().address
