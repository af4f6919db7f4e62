"""DSR and tunnel with the balancer as the backends' gateway: answers in the VIP's name."""

from collections.abc import Iterator
from typing import Any

import pytest

from pktlb.engine.datapath.tables import Tables
from pktlb.engine.datapath.tcp import State
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import Case, both, each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    LAN,
    V4,
    V6,
    Trouble,
    World,
    answer,
    at,
    client,
    frame,
    gso,
    icmp_error,
    parsed,
    partial,
    tcp,
    udp,
    via,
    vip,
)

DIRECT = [Mode.DSR, Mode.TUNNEL]
direct = pytest.mark.parametrize("mode", DIRECT)


def laid_out(mode: Mode, world: World, **rest: Any) -> Tables:
    outer = (V6 if world is V4 else V4) if mode is Mode.TUNNEL else None
    dns = service(mode, at=world.vip(53), proto=Proto.UDP, world=outer)
    return tables(service(mode, at=world.vip(), world=outer), dns, **rest)


def cases(world: World) -> Iterator[Case]:
    client, vip, inside, dns = world.client(), world.vip(), world.inside, world.vip(53)
    there, their_dns = at(vip, world.backend()), at(dns, world.backend())
    syn, query = tcp(client, vip, "S"), udp(client, dns, b"q")
    for mode in DIRECT:
        given = laid_out(mode, world)
        answered = tcp(there, inside, "SA")
        yield Case(
            f"{mode.value}: it goes to the client as it is",
            given,
            answered,
            Reason.RETURNED,
            [tcp(vip, client, "SA", ttl=63)],
            before=[syn],
        )
        yield Case(
            f"{mode.value}: so does a datagram",
            given,
            udp(their_dns, inside, b"a"),
            Reason.RETURNED,
            [udp(dns, client, b"a", ttl=63)],
            before=[query],
        )
        yield Case(
            f"{mode.value}: a partial checksum stays partial",
            given,
            partial(tcp(there, inside, "A", b"data")),
            Reason.RETURNED,
            [partial(tcp(vip, client, "A", b"data", ttl=63))],
            before=[syn],
        )
        long = bytes(30000)
        yield Case(
            f"{mode.value}: a long frame goes whole",
            given,
            gso(tcp(there, inside, "A", long), 1400),
            Reason.RETURNED,
            [gso(tcp(vip, client, "A", long, ttl=63), 1400)],
            before=[syn],
        )
        stranger = tcp(there, via(DMZ, world.client(9)), "SA")
        yield Case(
            f"{mode.value}: what belongs to no flow is the kernel's",
            given,
            stranger,
            Reason.NO_FLOW,
            [stranger],
            before=[syn],
        )
        other = tcp(at(world.vip(81), there), inside, "SA")
        yield Case(
            f"{mode.value}: from a port without a service",
            given,
            other,
            Reason.NOT_OURS,
            before=[syn],
        )
        big = tcp(there, inside, "A", bytes(1400))
        yield Case(f"{mode.value}: too big is told to the backend by the balancer itself",
                   laid_out(mode, world, lan_mtu=1400), big, Reason.TOO_BIG,
                   [answer(Trouble.BIG, big, 1400, world.gateway(DMZ))],
                   before=[syn])  # fmt: skip
    nat = tables(service(Mode.NAT, at=vip))
    yield Case("NAT: no backend answers in the VIP's name", nat, tcp(there, inside, "SA"),
               Reason.NOT_OURS, before=[syn])  # fmt: skip


@pytest.mark.parametrize("case", both(cases))
def test_a_backend_s_answer_in_the_vip_s_name(case: Case, engine: MakePlane) -> None:
    case.check(engine)


@each_world
@direct
def test_a_reset_of_the_backend_ends_the_flow(engine: MakePlane, mode: Mode, world: World) -> None:
    gateway = Gateway(engine, laid_out(mode, world))
    gateway.receive(tcp(world.client(), world.vip(), "S"))
    gateway.receive(tcp(world.client(), world.vip(), "A"))
    for number, state in ((1000, State.ESTABLISHED), (1001, State.CLOSED)):
        gateway.receive(tcp(at(world.vip(), world.backend()), world.inside, "R", seq=number))
        (flow,) = gateway.plane.flows
        assert flow.state is state


@each_world
@direct
def test_replies_keep_a_flow_alive(engine: MakePlane, mode: Mode, world: World) -> None:
    gateway = Gateway(engine, laid_out(mode, world))
    gateway.receive(udp(world.client(), world.vip(53), b"q"), 0.0)
    reply = udp(at(world.vip(53), world.backend()), world.inside, b"a")
    for now in (40.0, 80.0, 120.0):
        assert gateway.reason(reply, now) is Reason.RETURNED


@direct
def test_a_reply_goes_to_the_mac_that_the_client_last_sent_from(
    engine: MakePlane, mode: Mode
) -> None:
    gateway = Gateway(engine, laid_out(mode, V4))
    gateway.receive(tcp(client(), vip(), "S"))
    moved = client(mac="02:00:00:00:01:77")
    gateway.receive(tcp(moved, vip(), "A"))
    assert gateway.sends(tcp(at(vip(), V4.backend()), V4.inside, "A")).dst == moved.mac


@direct
def test_an_icmp_error_of_a_backend_is_let_through_to_the_client(
    engine: MakePlane, mode: Mode
) -> None:
    """The client gets it from the VIP, about the packet that it sent."""
    gateway = Gateway(engine, laid_out(mode, V4))
    query = udp(client(), vip(53), b"q")
    gateway.receive(query)
    seen = udp(V4.inside, vip(53), b"q", ttl=63)
    error = icmp_error(Trouble.PORT, seen, at(vip(53), V4.backend()), V4.inside)
    told = icmp_error(Trouble.PORT, seen, vip(53), client(), ttl=63)
    gateway.expect(error, Reason.RELATED, told)


@each_world
def test_an_error_in_the_vip_s_name_about_a_nat_flow_is_not_relayed(
    engine: MakePlane, world: World
) -> None:
    dns = world.vip(53)
    gateway = Gateway(engine, tables(service(Mode.NAT, at=world.vip()),
                                     service(Mode.DSR, at=dns, proto=Proto.UDP)))  # fmt: skip
    syn = tcp(world.client(), world.vip(), "S")
    gateway.receive(syn)
    error = icmp_error(Trouble.PORT, syn, at(dns, world.backend()), world.inside)
    assert gateway.reason(error) is Reason.NOT_OURS


@each_world
@direct
def test_a_reply_that_comes_in_at_the_clients_port_is_sent_on(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    """The balancer has one interface for both sides."""
    gateway = Gateway(engine, laid_out(mode, world))
    gateway.receive(tcp(world.client(), world.vip(), "S"))
    reply = tcp(at(world.vip(), world.backend()), via(LAN, world.client()), "SA")
    (sent,) = gateway.receive(frame(reply, port=LAN)).frames
    assert parsed(sent).dst == world.client().mac


@each_world
@direct
def test_the_answer_to_a_single_datagram_goes_to_the_kernel(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    dns = world.vip(53)
    single = service(mode, at=dns, proto=Proto.UDP, one_packet=True)
    gateway = Gateway(engine, tables(single))
    gateway.receive(udp(world.client(), dns, b"q"))
    reply = udp(at(dns, world.backend()), world.inside, b"a")
    gateway.expect(reply, Reason.NO_FLOW, reply)
