"""Clever tables agree with the slow ones over any operations at any time."""

from hypothesis import assume, given
from hypothesis import strategies as st

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.flow import Flow, FlowTable
from pktlb.engine.datapath.keys import FlowKey, destination, endpoint_key, flow_key
from pktlb.engine.datapath.schedule import Chosen
from pktlb.engine.datapath.snat import SourcePorts
from pktlb.engine.datapath.tally import Tally
from pktlb.engine.datapath.tcp import State
from pktlb.model import Endpoint, Mode, Proto, Timeouts
from tests.support.oracle import SlowFlow, SlowFlowTable, SlowSourcePorts, slow_checksum, slow_sum
from tests.support.packets import backend, client, packed, vip

TIMES = Timeouts(syn=3, tcp=20, fin=5, udp=9)
LASTS = {
    State.SYN_SENT: 3, State.SYN_RECEIVED: 3, State.ESTABLISHED: 20, State.CLIENT_FIN: 20,
    State.BACKEND_FIN: 20, State.CLOSED: 5, State.DATAGRAMS: 9,
}  # fmt: skip
CAPACITY = 4

Step = tuple[str, int, State, float]
steps = st.tuples(
    st.sampled_from(["packet", "packet", "move", "expire", "remove"]),
    st.integers(0, 7),
    st.sampled_from(State),
    st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0, 5.0, 20.0]),
)


def keys(number: int) -> tuple[FlowKey, FlowKey | None]:
    """The keys of a flow; every other one is found in both directions."""
    forth = flow_key(Proto.TCP, client(number + 1).endpoint, vip().endpoint)
    back = flow_key(Proto.TCP, backend().endpoint, client(number + 1).endpoint)
    return forth, back if number % 2 else None


class Pair:
    """The flow table and the slow one, through the same operations."""

    def __init__(self) -> None:
        self.left: list[Flow] = []
        self.fast = FlowTable(CAPACITY, TIMES, self.left.append)
        self.slow = SlowFlowTable(CAPACITY)
        self.now = 0.0

    def step(self, what: str, number: int, state: State) -> None:
        forth, back = keys(number)
        key = back if back and what == "packet" and state is State.CLOSED else forth
        fast, slow = self.fast.find(key, self.now), self.slow.find(key, self.now)
        assert (fast is None) == (slow is None)
        if what == "expire":
            self.expire(number)
        elif fast is None or slow is None:
            self.open(forth, back, state)
        elif what == "remove":
            self.fast.remove(fast)
            self.slow.remove(slow)
        else:
            if what == "move":
                self.fast.move(fast, state)
            self.fast.touch(fast, self.now)
            self.slow.touch(slow, LASTS[fast.state], self.now)
        assert len(self.fast) == len(self.slow.flows) <= CAPACITY
        assert {flow.key for flow in self.fast} == {flow.keys[0] for flow in self.slow.flows}

    def expire(self, most: int) -> None:
        dead = self.slow.dead(self.now)
        self.left.clear()
        assert self.fast.expire(self.now, most) == min(most, len(dead))
        self.bury(dead)

    def open(self, forth: FlowKey, back: FlowKey | None, state: State) -> None:
        dead = self.slow.dead(self.now)
        full = len(self.slow.flows) >= CAPACITY
        self.left.clear()
        assert self.fast.make_room(self.now) == (not full or bool(dead))
        self.bury(dead)
        assert full or not self.left
        if len(self.slow.flows) < CAPACITY:
            chosen = Chosen(backend().endpoint, Tally(), Mode.NAT)
            self.fast.add(Flow(forth, back, chosen), state, self.now)
            self.slow.add((forth, back), LASTS[state], self.now)

    def bury(self, dead: list[SlowFlow]) -> None:
        """Check that all flows which the fast table forgot had expired."""
        gone = [flow.key for flow in self.left]
        assert set(gone) <= {flow.keys[0] for flow in dead}
        for flow in dead:
            if flow.keys[0] in gone:
                self.slow.remove(flow)


@given(st.lists(steps, max_size=60))
def test_the_flow_table_agrees_with_the_slow_one(life: list[Step]) -> None:
    pair = Pair()
    for what, number, state, wait in life:
        pair.now += wait
        pair.step(what, number, state)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 9)), max_size=80))
def test_each_source_port_is_allotted_once_and_none_is_withheld(
    life: list[tuple[int, bool, int]],
) -> None:
    addresses, ports = [packed("10.0.2.8"), packed("10.0.2.9")], range(7000, 7003)
    fast, slow = SourcePorts(addresses, ports), SlowSourcePorts(len(addresses) * len(ports))
    held: dict[int, list[Endpoint]] = {0: [], 1: [], 2: []}
    for number, give_back, which in life:
        key = endpoint_key(Proto.TCP, backend("abc"[number]).endpoint)
        mine = held[number]
        if give_back and mine:
            endpoint = mine.pop(which % len(mine))
            fast.give_back(key, endpoint)
            slow.give_back(key, endpoint)
            continue
        taken = fast.take(key)
        slow.take(key, taken)
        if taken is not None:
            assert taken.address in addresses
            assert taken.port in ports
            mine.append(taken)


@given(st.binary(max_size=80), st.binary(max_size=80).filter(lambda data: len(data) % 2 == 0))
def test_sums_agree_with_the_slow_ones(data: bytes, before: bytes) -> None:
    assert checksum.word_sum(data) == slow_sum(data)
    assert checksum.checksum(data) == slow_checksum(data)
    assert checksum.checksum(data, checksum.word_sum(before)) == slow_checksum(before + data)


@given(st.binary(min_size=24, max_size=24), st.binary(min_size=8, max_size=8))
def test_an_update_by_difference_is_a_sum_made_anew(data: bytes, new: bytes) -> None:
    assume(any(data[:8] + data[16:]))  # a packet is never all zeros
    changed = data[:8] + new + data[16:]
    by = checksum.delta(data[8:16], new)
    assert 0 <= by < 0xFFFF
    updated = checksum.update(slow_checksum(data), by)
    assert updated % 0xFFFF == slow_checksum(changed) % 0xFFFF
    assert checksum.update(updated, -by % 0xFFFF) == slow_checksum(data)
    assert checksum.update_partial(slow_sum(data), by) % 0xFFFF == slow_sum(changed) % 0xFFFF


@given(st.integers(0, 65535), st.integers(0, 65535), st.booleans())
def test_ends_come_out_of_a_key_as_they_went_in(one: int, two: int, six: bool) -> None:
    size = 16 if six else 4
    here = Endpoint(bytes(range(size)), one)
    there = Endpoint(bytes(range(100, 100 + size)), two)
    key = flow_key(Proto.UDP, here, there)
    assert destination(key) == there
    assert destination(flow_key(Proto.UDP, there, here)) == here
