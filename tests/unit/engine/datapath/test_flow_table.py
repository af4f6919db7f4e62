"""The flow table: both directions, idle times, room, and what it reports."""

from pktlb.engine.datapath.flow import Flow, FlowTable
from pktlb.engine.datapath.keys import flow_key
from pktlb.engine.datapath.schedule import Chosen
from pktlb.engine.datapath.tally import Tally
from pktlb.engine.datapath.tcp import State
from pktlb.model import Mode, Proto, Timeouts
from tests.support.packets import backend, client, vip

TIMES = Timeouts(syn=10, tcp=100, fin=20, udp=50)


def nat(port: int, tally: Tally | None = None) -> Flow:
    """A NAT flow of a client's port."""
    forth = flow_key(Proto.TCP, client(port).endpoint, vip().endpoint)
    back = flow_key(Proto.TCP, backend().endpoint, client(port).endpoint)
    return Flow(forth, back, Chosen(backend().endpoint, tally or Tally(), Mode.NAT))


def dsr(port: int) -> Flow:
    forth = flow_key(Proto.TCP, client(port).endpoint, vip().endpoint)
    return Flow(forth, None, Chosen(backend().endpoint, Tally(), Mode.DSR))


def test_a_nat_flow_is_found_in_both_directions_and_a_dsr_flow_in_one() -> None:
    table = FlowTable(8, TIMES)
    first, second = nat(1), dsr(2)
    table.add(first, State.ESTABLISHED, 0.0)
    table.add(second, State.ESTABLISHED, 0.0)
    assert first.reverse
    assert table.find(first.key, 0.0) is first
    assert table.find(first.reverse, 0.0) is first
    assert table.find(second.key, 0.0) is second
    assert table.find(nat(2).reverse or second.key, 0.0) is None
    assert len(table) == 2


def test_a_flow_that_is_forgotten_is_forgotten_in_both_directions() -> None:
    table = FlowTable(8, TIMES)
    flow = nat(1)
    assert flow.reverse
    table.add(flow, State.ESTABLISHED, 0.0)
    assert table.find(flow.reverse, 100.0) is None
    assert table.find(flow.key, 0.0) is None
    assert len(table) == 0
    assert list(table) == []


def test_each_flow_that_leaves_the_table_is_reported_once() -> None:
    left: list[Flow] = []
    table = FlowTable(8, TIMES, left.append)
    flows = [nat(port) for port in range(3)]
    for flow in flows:
        table.add(flow, State.SYN_SENT, 0.0)
    table.remove(flows[1])
    assert left == [flows[1]]
    table.find(flows[0].key, 10.0)
    assert left == [flows[1], flows[0]]
    table.expire(10.0, 8)
    assert left == [flows[1], flows[0], flows[2]]


def test_expiry_forgets_the_idlest_first_and_no_more_than_allowed() -> None:
    table = FlowTable(8, TIMES)
    flows = [nat(port) for port in range(4)]
    for at, flow in enumerate(flows):
        table.add(flow, State.SYN_SENT, at)
    table.touch(flows[0], 3.5)
    assert table.expire(10.75, 8) == 0
    assert table.expire(12.5, 1) == 1
    assert list(table) == [flows[2], flows[3], flows[0]]
    assert table.expire(12.5, 8) == 1
    assert table.expire(13.49, 8) == 1
    assert table.expire(13.5, 8) == 1
    assert len(table) == 0


def test_a_flow_that_changes_state_expires_with_its_new_state() -> None:
    table = FlowTable(8, TIMES)
    first, second = nat(1), nat(2)
    table.add(first, State.SYN_SENT, 0.0)
    table.add(second, State.SYN_SENT, 0.0)
    table.move(first, State.ESTABLISHED)
    table.touch(first, 1.0)
    assert table.expire(99.0, 8) == 1
    assert list(table) == [first]
    assert table.expire(101.0, 8) == 1


def test_expiry_forgets_flows_of_every_state() -> None:
    table = FlowTable(16, TIMES)
    for port, state in enumerate(State):
        table.add(nat(port), state, 0.0)
    assert table.expire(9.99, 16) == 0
    assert table.expire(10.0, 16) == 2
    assert table.expire(20.0, 16) == 1
    assert table.expire(50.0, 16) == 1
    assert table.expire(99.99, 16) == 0
    assert table.expire(100.0, 16) == 3


def test_only_expired_flows_make_room() -> None:
    table = FlowTable(2, TIMES)
    assert table.make_room(0.0)
    table.add(nat(1), State.SYN_SENT, 0.0)
    assert table.make_room(0.0)
    table.add(nat(2), State.ESTABLISHED, 0.0)
    assert not table.make_room(9.99)
    assert len(table) == 2
    assert table.make_room(10.0)
    assert [flow.state for flow in table] == [State.ESTABLISHED]


def test_no_flow_is_forgotten_before_room_is_needed() -> None:
    table = FlowTable(2, TIMES)
    table.add(nat(1), State.SYN_SENT, 0.0)
    assert table.make_room(1000.0)
    assert len(table) == 1


def test_a_tally_counts_open_flows() -> None:
    table, tally = FlowTable(8, TIMES), Tally()
    first, second = nat(1, tally), nat(2, tally)
    table.add(first, State.SYN_SENT, 0.0)
    table.add(second, State.SYN_SENT, 0.0)
    assert tally.active == 2
    table.move(first, State.ESTABLISHED)
    assert tally.active == 2
    table.move(first, State.CLOSED)
    assert tally.active == 1
    table.remove(first)
    assert tally.active == 1
    table.remove(second)
    assert tally.active == 0
