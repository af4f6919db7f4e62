"""What is counted for each backend: flows, packets and bytes in each direction."""

from dataclasses import replace

import pytest

from pktlb.engine.datapath.tally import Count
from pktlb.model import Mode, Proto, Reason, Scheduler
from tests.support.cases import each_world
from tests.support.gateway import TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    V4,
    World,
    at,
    backend,
    client,
    fragmented,
    frame,
    gso,
    ip_bytes,
    packed,
    tcp,
    udp,
    via,
    vip,
)

MODES = pytest.mark.parametrize("mode", Mode)
INSIDE = via(DMZ, client())


def counted(gateway: Gateway, world: World = V4) -> dict[str, Count]:
    """What was counted for each backend, by its letter."""
    names = {packed(address): name for name, address in world.backends.items()}
    return {names[end.address]: count for (_, end), count in gateway.plane.tallies().items()}


@each_world
@MODES
def test_packets_and_bytes_of_clients_count_for_their_backend(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, tables(service(mode, {"a": 1, "b": 1}, at=world.vip())))
    sent = [tcp(world.client(), world.vip(), flags, b"x" * 9) for flags in ("S", "A", "PA")]
    for packet in sent:
        gateway.sends(packet)
    size = sum(len(ip_bytes(packet)) for packet in sent)
    assert counted(gateway, world) == {"a": Count(1, 0, 1, 3, size), "b": Count()}


@each_world
@MODES
def test_replies_count_where_they_pass_the_balancer(
    engine: MakePlane, mode: Mode, world: World
) -> None:
    gateway = Gateway(engine, tables(service(mode, at=world.vip())))
    gateway.sends(tcp(world.client(), world.vip(), "S"))
    here = world.backend() if mode is Mode.NAT else at(world.vip(), world.backend())
    reply = tcp(here, world.inside, "SA", b"hello")
    assert gateway.reason(reply) is Reason.RETURNED
    count = counted(gateway, world)["a"]
    assert (count.packets_out, count.bytes_out) == (1, len(ip_bytes(reply)))


def test_a_frame_of_many_segments_counts_once_with_all_its_bytes(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.TUNNEL)))
    gateway.sends(tcp(client(), vip(), "S"))
    large = gso(tcp(client(), vip(), "A", bytes(5000)), 1000)
    assert len(gateway.receive(large).frames) == 5
    count = counted(gateway)["a"]
    assert (count.packets_in, count.bytes_in) == (2, 40 + 5040)


def test_padding_does_not_count(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT)))
    short = frame(tcp(client(), vip(), "S"))
    short.data.extend(bytes(6))
    gateway.sends(short)
    assert counted(gateway)["a"].bytes_in == 40


def test_each_fragment_counts(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, at=vip(53), proto=Proto.UDP)))
    pieces = fragmented(udp(client(), vip(53), bytes(400), df=False), 160)
    assert len(pieces) == 3
    gateway.sends_all(pieces[1], pieces[2], pieces[0])
    count = counted(gateway)["a"]
    assert (count.connections, count.packets_in) == (1, 3)
    assert count.bytes_in == sum(len(ip_bytes(piece)) for piece in pieces)


def test_refused_packets_and_icmp_errors_do_not_count(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT)))
    gateway.sends(tcp(client(), vip(), "S"))
    before = counted(gateway)
    assert gateway.reason(tcp(client(), vip(), "A", ttl=1)) is Reason.TTL_EXPIRED
    gateway.plane.swap(replace(tables(service(Mode.NAT)), hops={}))
    gateway.receive(tcp(backend(), INSIDE, "SA"))
    gateway.receive(tcp(client(), vip(), "A"))
    after = counted(gateway)
    assert after["a"].packets_in == before["a"].packets_in
    assert after["a"].packets_out == 1


def test_open_and_closed_flows_count_apart(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT)))
    for port in (1, 2, 3):
        gateway.sends(tcp(client(port), vip(), "S"))
    gateway.sends(tcp(client(1), vip(), "R"))
    assert counted(gateway)["a"][:3] == (2, 1, 3)
    gateway.plane.expire(TIMEOUTS.fin)
    assert counted(gateway)["a"][:3] == (0, 0, 3)


@MODES
def test_each_single_datagram_counts_as_a_connection(engine: MakePlane, mode: Mode) -> None:
    single = service(mode, at=vip(53), proto=Proto.UDP, one_packet=True)
    gateway = Gateway(engine, tables(single))
    for _ in range(3):
        gateway.sends(udp(client(), vip(53), b"q"))
    count = counted(gateway)["a"]
    known = mode is Mode.NAT
    assert count == Count(1 if known else 0, 0, 1 if known else 3, 3, 3 * 29)


def test_counts_outlive_flows_and_weight_but_not_membership(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, {"a": 1})))
    gateway.sends(tcp(client(), vip(), "S"))
    idle = tables(service(Mode.NAT, {"a": 0, "b": 1}))
    gateway.plane.swap(idle)
    gateway.plane.expire(TIMEOUTS.syn)
    gateway.plane.swap(idle)
    assert counted(gateway)["a"] == Count(0, 0, 1, 1, 40)
    gateway.plane.swap(tables(service(Mode.NAT, {"b": 1})))
    assert counted(gateway) == {"b": Count()}
    gateway.plane.swap(idle)
    assert counted(gateway)["a"] == Count()


@pytest.mark.parametrize("last", ["S", "R"])
def test_a_removed_backend_is_counted_while_it_has_flows(engine: MakePlane, last: str) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, {"a": 1})))
    gateway.sends(tcp(client(), vip(), "S"))
    gateway.receive(tcp(client(), vip(), last))
    gateway.plane.swap(tables())
    assert counted(gateway)["a"].packets_in == 2
    gateway.plane.swap(tables(service(Mode.NAT, {"a": 1, "b": 1}, scheduler=Scheduler.LC)))
    assert counted(gateway)["a"].packets_in == 2, "it is the same one that returns"
    gateway.plane.swap(tables())
    gateway.plane.expire(TIMEOUTS.tcp)
    assert counted(gateway) == {}


def test_each_service_has_counts_of_its_own(engine: MakePlane) -> None:
    both = [service(Mode.NAT, at=vip(port)) for port in (80, 81)]
    gateway = Gateway(engine, tables(*both))
    gateway.sends(tcp(client(), vip(81), "S"))
    counts = gateway.plane.tallies()
    assert {key: count.connections for (key, _), count in counts.items()} == {
        both[0].key: 0,
        both[1].key: 1,
    }
