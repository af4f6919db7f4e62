"""A backend that can no longer be reached: flows without an open connection move to another."""

from dataclasses import replace

import pytest

from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Reason
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import DMZ, backend, client, packed, tcp, udp, via, vip

MODES = pytest.mark.parametrize("mode", Mode)


def only(name: str, mode: Mode, proto: Proto = Proto.TCP) -> Tables:
    """Tables of two backends of which one can be reached, as control makes them."""
    both = tables(service(mode, {"a": 1, "b": 1}, proto=proto))
    reachable = tables(service(mode, {name: 1}, proto=proto))
    address = packed(backend(name).address)
    return replace(both, services=reachable.services, hops={address: both.hops[address]})


def moved(mode: Mode, engine: MakePlane, first: object) -> Gateway:
    gateway = Gateway(engine, only("a", mode))
    assert gateway.reason(first) is Reason.OPENED
    gateway.plane.swap(only("b", mode))
    return gateway


@MODES
def test_a_connection_that_is_being_opened_is_opened_with_another_backend(
    engine: MakePlane, mode: Mode
) -> None:
    syn = tcp(client(), vip(), "S")
    gateway = moved(mode, engine, syn)
    assert gateway.sends(syn).dst == backend("b").mac
    assert len(gateway.plane.flows) == 1


@MODES
def test_udp_goes_on_with_another_backend_while_its_client_keeps_sending(
    engine: MakePlane, mode: Mode
) -> None:
    question = udp(client(), vip())
    gateway = Gateway(engine, only("a", mode, Proto.UDP))
    assert gateway.reason(question) is Reason.OPENED
    gateway.plane.swap(only("b", mode, Proto.UDP))
    for now in range(5):
        assert gateway.sends(question, float(now)).dst == backend("b").mac
    assert len(gateway.plane.flows) == 1


def test_a_datagram_that_no_backend_can_take_is_refused_and_its_flow_forgotten(
    engine: MakePlane,
) -> None:
    question = udp(client(), vip())
    gateway = Gateway(engine, only("a", Mode.NAT, Proto.UDP))
    gateway.receive(question)
    none = replace(tables(service(Mode.NAT, {"a": 0}, proto=Proto.UDP)), hops={})
    gateway.plane.swap(none)
    assert gateway.reason(question) is Reason.NO_BACKEND
    assert len(gateway.plane.flows) == 0


@MODES
def test_an_open_connection_waits_for_its_backend(engine: MakePlane, mode: Mode) -> None:
    gateway = moved(mode, engine, tcp(client(), vip(), "S"))
    gateway.plane.swap(only("a", mode))
    if mode is Mode.NAT:
        gateway.receive(tcp(backend(), via(DMZ, client()), "SA"))
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.FORWARDED
    gateway.plane.swap(only("b", mode))
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.NO_NEXT_HOP
    gateway.plane.swap(only("a", mode))
    assert gateway.sends(tcp(client(), vip(), "A")).dst == backend("a").mac


def test_a_backend_s_packet_to_the_gateway_itself_is_no_reply(engine: MakePlane) -> None:
    """It belongs to the gateway's own connections. The kernel has the frame already."""
    gateway_itself = via(DMZ, client(40000, address="10.0.2.1"))
    given = replace(only("a", Mode.NAT), own=frozenset({packed("10.0.2.1")}))
    gateway = Gateway(engine, given)
    gateway.expect(tcp(backend(), gateway_itself, "SA"), Reason.NOT_OURS)
    passing = tcp(backend(), via(DMZ, client()), "SA")
    gateway.expect(passing, Reason.NO_FLOW, passing)


def test_a_backend_s_packet_to_a_kernel_port_of_a_snat_address_is_no_reply(
    engine: MakePlane,
) -> None:
    address = "10.0.2.1"
    given = tables(service(Mode.NAT, {"a": 1}), snat=[address])
    given = replace(given, own=frozenset({packed(address)}), own_ports=range(32768, 61000))
    gateway = Gateway(engine, given)
    for port, ours in ((32767, True), (32768, False), (60999, False), (61000, True)):
        packet = tcp(backend(), via(DMZ, client(port, address=address)), "A")
        frames = [packet] if ours else []
        gateway.expect(packet, Reason.NO_FLOW if ours else Reason.NOT_OURS, *frames)
