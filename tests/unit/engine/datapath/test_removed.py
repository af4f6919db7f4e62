"""Flows whose backend was removed from its service, and flows that an operator has killed."""

from dataclasses import replace

import pytest

from pktlb.engine.datapath.tcp import State
from pktlb.model import Mode, OnRemove, Proto, Reason
from tests.support.cases import each_world
from tests.support.gateway import ANY, TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import (
    DMZ,
    LAN,
    V6,
    Trouble,
    World,
    backend,
    client,
    fragmented,
    frame,
    icmp_error,
    parsed,
    tcp,
    udp,
    via,
    vip,
)
from tests.support.removal import after, before, key_of, on_the_way, removed, rst, segment

MODES = pytest.mark.parametrize("mode", Mode)
EACH_ON_REMOVE = pytest.mark.parametrize("on_remove", OnRemove)
RESET, DROP, KEEP = OnRemove.RESET, OnRemove.DROP, OnRemove.KEEP


@MODES
def test_an_rst_of_either_end_of_a_removed_backend_s_connection_is_sent_on(
    engine: MakePlane, mode: Mode
) -> None:
    gateway = removed(engine, RESET, mode)
    assert gateway.reason(segment(client(), vip(), "RA", ack=3)) is Reason.FORWARDED
    assert gateway.reason(segment(client(), vip(), "A", ack=3)) is Reason.RESET
    if mode is Mode.NAT:
        end = segment(backend(), via(DMZ, client()), "R")
        assert gateway.reason(end) is Reason.RETURNED
        gateway.plane.swap(replace(after(RESET, mode), ports={}))
        gateway.expect(end, Reason.REMOVED)
    gateway.plane.swap(replace(after(RESET, mode), hops={}))
    gateway.expect(segment(client(), vip(), "RA", ack=3), Reason.REMOVED)
    assert gateway.reason(segment(client(), vip(), "A", ack=3)) is Reason.RESET


@MODES
def test_drop_discards_the_packets_of_a_removed_backend_s_connection(
    engine: MakePlane, mode: Mode
) -> None:
    gateway = removed(engine, DROP, mode)
    for flags in ("A", "FA", "R", "SA"):
        gateway.expect(tcp(client(), vip(), flags), Reason.REMOVED, now=3.0)
    if mode is Mode.NAT:
        gateway.expect(tcp(backend(), via(DMZ, client()), "A"), Reason.REMOVED, now=3.0)
    (flow,) = gateway.plane.flows
    assert flow.seen == 0.0, "so its time ends"
    assert flow.state is not State.CLOSED


@MODES
def test_keep_lets_a_removed_backend_s_connection_go_on_to_its_end(
    engine: MakePlane, mode: Mode
) -> None:
    gateway = removed(engine, KEEP, mode)
    assert gateway.sends(tcp(client(), vip(), "A")).dst == backend("a").mac
    assert gateway.sends(tcp(client(), vip(), "S")).dst == backend("a").mac
    if mode is Mode.NAT:
        assert gateway.reason(tcp(backend(), via(DMZ, client()), "FA")) is Reason.RETURNED
    assert gateway.sends(tcp(client(), vip(), "FA")).dst == backend("a").mac
    assert gateway.sends(tcp(client(), vip(), "S")).dst == backend("b").mac


@MODES
@pytest.mark.parametrize("on_remove", [RESET, DROP])
def test_a_client_of_a_removed_backend_may_open_a_new_connection_at_once(
    engine: MakePlane, mode: Mode, on_remove: OnRemove
) -> None:
    gateway = removed(engine, on_remove, mode)
    assert gateway.sends(tcp(client(), vip(), "S")).dst == backend("b").mac
    assert gateway.sends(tcp(client(), vip(), "A")).dst == backend("b").mac
    assert len(gateway.plane.flows) == 1


@MODES
@EACH_ON_REMOVE
def test_datagrams_to_a_removed_backend_go_to_another_at_once(
    engine: MakePlane, mode: Mode, on_remove: OnRemove
) -> None:
    gateway = Gateway(engine, before(mode, Proto.UDP))
    question = udp(client(), vip(), bytes(64))
    first, later = fragmented(udp(client(), vip(), bytes(64)), 32, 9)[:2]
    gateway.sends(question)
    gateway.sends(first)
    gateway.plane.swap(after(on_remove, mode, Proto.UDP))
    if mode is Mode.NAT:
        assert gateway.reason(udp(backend(), via(DMZ, client()))) is Reason.RETURNED
    assert gateway.sends(later).dst == backend("a").mac, "with its first fragment"
    assert gateway.sends(question).dst == backend("b").mac
    assert len(gateway.plane.flows) == 1
    reply = udp(backend("b"), via(DMZ, client()))
    if mode is Mode.NAT:
        assert gateway.reason(reply) is Reason.RETURNED


@EACH_ON_REMOVE
def test_datagrams_of_a_removed_service_are_not_ours(
    engine: MakePlane, on_remove: OnRemove
) -> None:
    gateway = Gateway(engine, before(Mode.NAT, Proto.UDP))
    gateway.sends(udp(client(), vip()))
    gateway.plane.swap(tables(removed=after(on_remove, Mode.NAT, Proto.UDP).removed))
    gateway.expect(udp(client(), vip()), Reason.NOT_OURS)
    assert len(gateway.plane.flows) == 0


def test_connections_of_a_removed_service_are_reset(engine: MakePlane) -> None:
    gateway = removed(engine, RESET)
    gateway.plane.swap(tables(removed=after(RESET, Mode.NAT).removed))
    given = segment(client(), vip(), "A", seq=3, ack=4)
    on = on_the_way(rst(via(DMZ, client()), backend(), 3, 4))
    gateway.expect(given, Reason.RESET, rst(vip(), client(), 4), on)
    gateway.expect(tcp(client(), vip(), "S"), Reason.NOT_OURS)


@pytest.mark.parametrize("on_remove", [RESET, DROP])
def test_later_fragments_of_a_removed_backend_s_connection_are_dropped(
    engine: MakePlane, on_remove: OnRemove
) -> None:
    gateway = Gateway(engine, before(Mode.NAT))
    gateway.sends(tcp(client(), vip(), "S"))
    first, later, *_ = fragmented(tcp(client(), vip(), "A", bytes(200), df=False), 64)
    gateway.sends(first)
    gateway.plane.swap(after(on_remove, Mode.NAT))
    gateway.expect(later, Reason.REMOVED)


def test_an_error_about_a_removed_backend_s_connection_is_sent_on(engine: MakePlane) -> None:
    gateway = removed(engine, RESET)
    inside = tcp(via(DMZ, client()), backend(), "A")
    error = icmp_error(Trouble.HOST, inside, backend(), via(DMZ, client()))
    assert gateway.reason(error) is Reason.RELATED


def test_a_frame_that_was_sent_to_many_gets_no_rst(engine: MakePlane) -> None:
    gateway = removed(engine, RESET)
    all_stations = vip()._replace(mac="ff:ff:ff:ff:ff:ff")
    gateway.expect(tcp(client(), all_stations, "A"), Reason.REMOVED)
    (flow,) = gateway.plane.flows
    assert flow.state is not State.CLOSED


@EACH_ON_REMOVE
def test_a_connection_moves_to_another_next_hop_unless_it_is_kept(
    engine: MakePlane, on_remove: OnRemove
) -> None:
    was = service(Mode.DSR, {"a": 1}, at=ANY)
    gateway = Gateway(engine, tables(was))
    there = vip(address="203.0.113.7")
    assert gateway.sends(tcp(client(), there, "S")).dst == backend("a").mac
    gone = {(was.key, was.backends[0]): on_remove}
    gateway.plane.swap(tables(service(Mode.DSR, {"b": 1}, at=ANY), removed=gone))
    name = "a" if on_remove is KEEP else "b"
    assert gateway.sends(tcp(client(), there, "A")).dst == backend(name).mac


@each_world
@MODES
def test_a_connection_can_be_killed(engine: MakePlane, mode: Mode, world: World) -> None:
    c, v = world.client(), world.vip()
    gateway = Gateway(engine, before(mode, world=world))
    gateway.sends(tcp(c, v, "S"))
    gateway.sends(tcp(world.client(4001), v, "S"))
    unknown = [key_of(world.client(4002), v), key_of(world.backend(), c), key_of(v, c)]
    assert gateway.plane.kill(unknown) == 0
    assert gateway.plane.kill(iter([key_of(c, v), key_of(c, v)])) == 2
    assert {flow.key for flow in gateway.plane.flows if flow.killed} == {key_of(c, v)}
    answer, *on = gateway.receive(segment(c, v, "A", b"x", ack=8)).frames
    assert answer == frame(rst(v, c, 8))
    assert [parsed(each).dst for each in on] == [world.backend().mac]
    if mode is Mode.NAT:
        given = segment(world.backend(), via(DMZ, c), "SA", seq=4, ack=5)
        answer, *on = gateway.receive(given).frames
        assert answer == frame(rst(via(DMZ, c), world.backend(), 5))
        assert on == [frame(on_the_way(rst(via(LAN, v), c, 4, 5)))]
    assert gateway.reason(tcp(world.client(4001), v, "A")) is Reason.FORWARDED
    assert gateway.reason(tcp(c, v, "S")) is Reason.OPENED
    assert gateway.reason(tcp(c, v, "A")) is Reason.FORWARDED
    assert {flow.mode for flow in gateway.plane.flows} == {mode}


def test_a_killed_connection_is_reset_even_if_its_backend_was_removed(engine: MakePlane) -> None:
    gateway = removed(engine, KEEP)
    assert gateway.plane.kill([key_of(client(), vip())]) == 1
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.RESET
    gateway.plane.swap(after(DROP, Mode.NAT))
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.RESET


def test_killed_flows_of_datagrams_are_forgotten(engine: MakePlane) -> None:
    both = tables(service(Mode.NAT, {"a": 1, "b": 1}, proto=Proto.UDP))
    gateway = Gateway(engine, both)
    assert gateway.sends(udp(client(), vip())).dst == backend("a").mac
    key = key_of(client(), vip(), Proto.UDP)
    assert gateway.plane.kill([key, key]) == 1
    assert len(gateway.plane.flows) == 0
    assert gateway.sends(udp(client(), vip())).dst == backend("b").mac


def test_a_killed_connection_is_forgotten_as_a_closed_one(engine: MakePlane) -> None:
    gateway = removed(engine, KEEP)
    gateway.plane.kill([key_of(client(), vip())])
    gateway.receive(tcp(client(), vip(), "A"), 1.0)
    assert gateway.plane.expire(TIMEOUTS.fin + 0.5) == 0
    assert gateway.plane.expire(TIMEOUTS.fin + 1.0) == 1


def test_thousands_of_keys_are_killed_in_one_call(engine: MakePlane) -> None:
    gateway = Gateway(engine, before(Mode.DSR, Proto.UDP))
    peers = [client(port) for port in range(1024, 4524)]
    for peer in peers[:300]:
        gateway.receive(udp(peer, vip()))
    assert gateway.plane.kill(key_of(peer, vip(), Proto.UDP) for peer in peers) == 300


def test_a_killed_connection_stays_killed_in_the_next_process(engine: MakePlane) -> None:
    gateway = removed(engine, KEEP, Mode.NAT, V6)
    gateway.plane.kill([key_of(V6.client(), V6.vip())])
    next_one = Gateway(engine, after(KEEP, Mode.NAT, world=V6))
    assert next_one.plane.load(gateway.plane.dump(1.0), 1.0) == 1
    next_one.goes_on(gateway)
    assert next_one.reason(tcp(V6.client(), V6.vip(), "A"), 1.0) is Reason.RESET


def test_a_removed_backend_s_connection_stays_removed_in_the_next_process(
    engine: MakePlane,
) -> None:
    gateway = removed(engine, DROP)
    next_one = Gateway(engine, after(DROP, Mode.NAT))
    assert next_one.plane.load(gateway.plane.dump(1.0), 1.0) == 1
    next_one.goes_on(gateway)
    assert next_one.reason(tcp(client(), vip(), "A"), 1.0) is Reason.REMOVED


def test_a_backend_that_comes_back_has_its_connections_again(engine: MakePlane) -> None:
    gateway = removed(engine, DROP)
    gateway.receive(tcp(client(), vip(), "A"))
    gateway.plane.swap(before(Mode.NAT))
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.FORWARDED
