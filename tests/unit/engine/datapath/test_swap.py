"""Swapping of tables: what flows keep, and what changes with the next frame."""

from dataclasses import replace

import pytest

from pktlb.engine.datapath.tables import NextHop
from pktlb.model import Mode, Reason, Scheduler
from tests.support.gateway import Gateway, MakePlane, hop_to, service, tables
from tests.support.packets import DMZ, backend, client, mac_bytes, packed, syn, tcp, via, vip

A = tables(service(Mode.NAT, {"a": 1}))
B = tables(service(Mode.NAT, {"b": 1}))
INSIDE = via(DMZ, client())


@pytest.mark.parametrize("mode", Mode)
def test_a_flow_keeps_its_backend_and_new_flows_go_by_the_new_tables(
    engine: MakePlane, mode: Mode
) -> None:
    gateway = Gateway(engine, tables(service(mode, {"a": 1})))
    gateway.receive(syn())
    gateway.plane.swap(tables(service(mode, {"b": 1})))
    assert gateway.sends(tcp(client(), vip(), "A")).dst == backend("a").mac
    assert gateway.sends(syn(4001)).dst == backend("b").mac


def test_a_flow_whose_service_is_gone_runs_on_both_ways(engine: MakePlane) -> None:
    gateway = Gateway(engine, A)
    gateway.receive(syn())
    gateway.plane.swap(tables())
    assert gateway.reason(tcp(client(), vip(), "A")) is Reason.FORWARDED
    assert gateway.reason(tcp(backend(), INSIDE, "A")) is Reason.RETURNED
    assert gateway.reason(syn(4001)) is Reason.NOT_OURS


def test_a_flow_keeps_its_mode(engine: MakePlane) -> None:
    gateway = Gateway(engine, A)
    gateway.receive(syn())
    gateway.plane.swap(tables(service(Mode.DSR, {"a": 1})))
    assert gateway.sends(tcp(client(), vip(), "A"))[1].dst == backend().address
    assert gateway.sends(syn(4001))[1].dst == vip().address


def test_another_next_hop_takes_effect_at_once(engine: MakePlane) -> None:
    gateway = Gateway(engine, A)
    gateway.receive(syn())
    elsewhere = NextHop(7, mac_bytes("02:00:00:00:07:02") + mac_bytes("02:00:00:00:07:01"), 1500)
    gateway.plane.swap(replace(A, hops={packed(backend().address): elsewhere}))
    (sent,) = gateway.receive(tcp(client(), vip(), "A")).frames
    assert sent.port == 7
    assert sent.data[:12] == elsewhere.macs


def test_a_smaller_link_takes_effect_at_once(engine: MakePlane) -> None:
    gateway = Gateway(engine, A)
    gateway.receive(syn())
    gateway.plane.swap(replace(A, hops={packed(backend().address): hop_to("a", 600)}))
    assert gateway.reason(tcp(client(), vip(), "A", bytes(561))) is Reason.TOO_BIG
    assert gateway.reason(tcp(client(), vip(), "A", bytes(560))) is Reason.FORWARDED


def test_a_backend_that_leaves_and_returns_keeps_its_count_of_flows(engine: MakePlane) -> None:
    both = tables(service(Mode.NAT, {"a": 1, "b": 1}, scheduler=Scheduler.LC))
    only_b = tables(service(Mode.NAT, {"b": 1}, scheduler=Scheduler.LC))
    gateway = Gateway(engine, both)
    first = [gateway.sends(syn(port))[1].dst for port in range(6)]
    assert first.count(backend("a").address) == 3
    gateway.plane.swap(only_b)
    gateway.receive(tcp(client(1), vip(), "R"))
    gateway.plane.swap(both)
    chosen = [gateway.sends(syn(port))[1].dst for port in range(10, 13)]
    assert chosen.count(backend("a").address) == 1, "3 and 2 become 4 and 4"


def test_a_service_that_is_gone_for_good_leaves_nothing_behind(engine: MakePlane) -> None:
    both = tables(service(Mode.NAT, {"a": 1, "b": 1}))
    gateway = Gateway(engine, both)
    assert gateway.sends(syn(1))[1].dst == backend("a").address
    gateway.receive(tcp(client(1), vip(), "R"))
    gateway.plane.swap(tables())
    gateway.plane.swap(both)
    assert gateway.sends(syn(2), now=1.0)[1].dst == backend("b").address, "there is a flow still"
    assert gateway.plane.expire(100.0) == 2
    gateway.plane.swap(tables())
    gateway.plane.swap(both)
    assert gateway.sends(syn(3), now=100.0)[1].dst == backend("a").address, "the round begins anew"


def test_the_round_goes_on_when_tables_are_swapped(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, {"a": 1, "b": 1})))
    assert gateway.sends(syn(1))[1].dst == backend("a").address
    gateway.plane.swap(tables(service(Mode.NAT, {"a": 1, "b": 1})))
    assert gateway.sends(syn(2))[1].dst == backend("b").address


def test_counts_are_a_copy(engine: MakePlane) -> None:
    gateway = Gateway(engine, A)
    gateway.plane.counts[Reason.OPENED] += 5
    assert gateway.plane.counts[Reason.OPENED] == 0
    assert set(gateway.plane.counts) == set(Reason)
