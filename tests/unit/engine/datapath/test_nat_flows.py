"""NAT: flows with one backend are told apart, and each reply gets back to its client."""

from dataclasses import replace

from pktlb.engine.datapath.frame import Frame
from pktlb.model import Mode, Proto, Reason
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, hop_to, service, tables
from tests.support.packets import (
    DMZ,
    LAN,
    V4,
    V6,
    World,
    backend,
    client,
    frame,
    mac_bytes,
    packed,
    parsed,
    tcp,
    udp,
    via,
    vip,
)

NAT = tables(service(Mode.NAT))
INSIDE = V4.inside
SYN = tcp(client(), vip(), "S")


@each_world
def test_two_services_with_one_backend_and_one_client_port_are_told_apart(
    engine: MakePlane, world: World
) -> None:
    client, vip, backend = world.client, world.vip, world.backend
    given = tables(service(Mode.NAT, at=vip()), service(Mode.NAT, at=vip(81)))
    gateway = Gateway(engine, given)
    first = gateway.sends(tcp(client(), vip(), "S"))
    second = gateway.sends(tcp(client(), vip(81), "S"))
    assert first.sport == 4000
    assert second.sport not in (4000, *range(1024))
    assert (second[1].src, second[1].dst) == (client().address, backend().address)
    assert second.dport == 8080
    seen_as = via(DMZ, client(second.sport))
    gateway.expect(
        tcp(backend(), seen_as, "SA"), Reason.RETURNED, tcp(vip(81), client(), "SA", ttl=63)
    )
    gateway.expect(
        tcp(backend(), world.inside, "SA"), Reason.RETURNED, tcp(vip(), client(), "SA", ttl=63)
    )


def test_families_do_not_share_flows(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT), service(Mode.NAT, at=V6.vip())))
    for world in (V4, V6):
        syn = tcp(world.client(), world.vip(), "S")
        gateway.expect(syn, Reason.OPENED, tcp(world.inside, world.backend(), "S", ttl=63))
    assert len(gateway.plane.flows) == 2


def test_a_client_whose_port_was_lent_to_another_gets_another(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT), service(Mode.NAT, at=vip(81))))
    gateway.sends(SYN)
    lent = gateway.sends(tcp(client(), vip(81), "S")).sport
    assert gateway.sends(tcp(client(lent), vip(), "S")).sport not in (lent, 4000)


def test_one_client_port_has_so_many_ports_at_a_backend_of_many_services(
    engine: MakePlane,
) -> None:
    services = [service(Mode.NAT, at=vip(1000 + number)) for number in range(65)]
    gateway = Gateway(engine, tables(*services))
    given = [tcp(client(), vip(1000 + number), "S") for number in range(65)]
    ports = {gateway.sends(syn).sport for syn in given[:64]}
    assert len(ports) == 64
    assert gateway.reason(given[64]) is Reason.NO_PORT
    assert len(gateway.plane.flows) == 64


def test_protocols_do_not_share_flows(engine: MakePlane) -> None:
    both = tables(service(Mode.NAT), service(Mode.NAT, proto=Proto.UDP))
    gateway = Gateway(engine, both)
    gateway.expect(SYN, Reason.OPENED, tcp(INSIDE, backend(), "S", ttl=63))
    gateway.expect(udp(client(), vip()), Reason.OPENED, udp(INSIDE, backend(), ttl=63))
    gateway.expect(udp(backend(), INSIDE), Reason.RETURNED, udp(vip(), client(), ttl=63))


def test_a_client_that_changes_its_mac_or_port_gets_its_replies_there(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT)
    gateway.receive(SYN)
    gateway.receive(tcp(backend(), INSIDE, "SA"))
    moved = client(mac="02:00:00:00:01:77")
    gateway.sends(tcp(moved, vip(), "A"))
    gateway.expect(tcp(backend(), INSIDE, "A"), Reason.RETURNED, tcp(vip(), moved, "A", ttl=63))
    around = frame(tcp(moved, vip(), "A"))
    gateway.receive(Frame(DMZ, around.data))
    (reply,) = gateway.receive(tcp(backend(), INSIDE, "A")).frames
    assert reply.port == DMZ
    assert parsed(reply).dst == moved.mac


def test_a_reply_whose_way_back_is_gone_is_dropped(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT)
    gateway.receive(SYN)
    left = {port: info for port, info in NAT.ports.items() if port != LAN}
    gateway.plane.swap(replace(NAT, ports=left))
    assert gateway.reason(tcp(backend(), INSIDE, "SA")) is Reason.NO_NEXT_HOP


def test_a_reply_goes_out_at_the_interface_that_took_the_place_of_the_clients(
    engine: MakePlane,
) -> None:
    gateway = Gateway(engine, NAT)
    gateway.receive(SYN)
    new = NAT.ports[LAN]._replace(mac=bytes.fromhex("020000000199"), mtu=1400)
    ports = {DMZ: NAT.ports[DMZ], 9: new, LAN: new._replace(successor=9)}
    gateway.plane.swap(replace(NAT, ports=ports))
    (reply,) = gateway.receive(tcp(backend(), INSIDE, "SA")).frames
    assert reply.port == 9
    assert reply.data[:12] == mac_bytes(client().mac) + new.mac


def test_a_backend_without_next_hop_is_counted_until_it_has_one(engine: MakePlane) -> None:
    gateway = Gateway(engine, replace(NAT, hops={}))
    assert gateway.reason(SYN) is Reason.NO_NEXT_HOP
    gateway.plane.swap(replace(NAT, hops={packed(backend().address): hop_to("a")}))
    gateway.expect(SYN, Reason.FORWARDED, tcp(INSIDE, backend(), "S", ttl=63))


def test_one_armed_replies_leave_by_the_port_they_came_in(engine: MakePlane) -> None:
    hop = hop_to("a")._replace(port=LAN)
    gateway = Gateway(engine, replace(NAT, hops={packed(backend().address): hop}))
    (sent,) = gateway.receive(SYN).frames
    assert sent.port == LAN
    reply = frame(tcp(backend(), INSIDE, "SA"))
    (back,) = gateway.receive(Frame(LAN, reply.data)).frames
    assert back == frame(tcp(vip(), client(), "SA", ttl=63))
