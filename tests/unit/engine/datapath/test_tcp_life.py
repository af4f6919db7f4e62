"""The states of a TCP flow, with both directions in view and with the client's alone."""

import pytest

from pktlb.engine.datapath.packet import ACK, FIN, PSH, RST, SYN
from pktlb.engine.datapath.tcp import Event, State, event_of, opens
from pktlb.model import Mode, Reason, Timeouts
from tests.support.gateway import TIMEOUTS, Gateway, MakePlane, service, tables
from tests.support.packets import DMZ, Packet, backend, client, tcp, via, vip

NAT = tables(service(Mode.NAT))
INSIDE = via(DMZ, client())

TWO_WAY = [
    ("> S", State.SYN_SENT),
    ("> S  > S", State.SYN_SENT),
    ("> S  < SA", State.SYN_RECEIVED),
    ("> S  < SA  < A", State.SYN_RECEIVED),
    ("> S  > A", State.SYN_SENT),
    ("> S  < SA  > A", State.ESTABLISHED),
    ("> S  < SA  > PA  < PA", State.ESTABLISHED),
    ("> S  < SA  > A  > S", State.ESTABLISHED),
    ("> S  < SA  > A  > FA", State.CLIENT_FIN),
    ("> S  < SA  > A  > FA  < A  < PA", State.CLIENT_FIN),
    ("> S  < SA  > A  > FA  > FA", State.CLIENT_FIN),
    ("> S  < SA  > A  > FA  < FA", State.CLOSED),
    ("> S  < SA  > A  < FA", State.BACKEND_FIN),
    ("> S  < SA  > A  < FA  < FA", State.BACKEND_FIN),
    ("> S  < SA  > A  < FA  > A", State.BACKEND_FIN),
    ("> S  < SA  > A  < FA  > FA", State.CLOSED),
    ("> S  < SA  > A  < FA  > FA  < A  > A", State.CLOSED),
    ("> S  < SA  > FA", State.CLIENT_FIN),
    ("> S  < SA  < FA", State.BACKEND_FIN),
    ("> S  < FA", State.BACKEND_FIN),
    ("> S  > FA", State.CLIENT_FIN),
    ("> S  < RA", State.CLOSED),
    ("> S  > R", State.CLOSED),
    ("> S  < SA  > R", State.CLOSED),
    ("> S  < SA  > A  < R", State.CLOSED),
    ("> S  < SA  > A  > RA", State.CLOSED),
    ("> S  < SA  > A  > FA  > R", State.CLOSED),
    ("> S  < SA  > A  < FA  > R", State.CLOSED),
    ("> S  < SA  > A  > R  > A", State.CLOSED),
    ("> S  < SA  > A  > FA  < FA  > R", State.CLOSED),
    ("> S  < RA  < SA", State.CLOSED),
]
ONE_WAY = [
    ("> S", State.SYN_SENT),
    ("> S  > S", State.SYN_SENT),
    ("> S  > A", State.ESTABLISHED),
    ("> S  > A  > PA", State.ESTABLISHED),
    ("> S  > A  > S", State.ESTABLISHED),
    ("> S  > FA", State.CLOSED),
    ("> S  > A  > FA", State.CLOSED),
    ("> S  > A  > FA  > A", State.CLOSED),
    ("> S  > R", State.CLOSED),
    ("> S  > A  > R", State.CLOSED),
    ("> S  > A  > RA  > A", State.CLOSED),
]


def packets(story: str) -> list[Packet]:
    """ "> S  < SA": what the client sends and what the backend answers."""
    steps = [step.split() for step in story.split("  ")]
    return [
        tcp(client(), vip(), flags) if way == ">" else tcp(backend(), INSIDE, flags)
        for way, flags in steps
    ]


@pytest.mark.parametrize(("story", "state"), TWO_WAY)
def test_the_state_of_a_flow_with_both_directions_in_view(
    engine: MakePlane, story: str, state: State
) -> None:
    gateway = Gateway(engine, NAT)
    for packet in packets(story):
        assert gateway.reason(packet) in (Reason.OPENED, Reason.FORWARDED, Reason.RETURNED)
    (flow,) = gateway.plane.flows
    assert flow.state is state
    assert flow.tally.active == (state is not State.CLOSED)


@pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
@pytest.mark.parametrize(("story", "state"), ONE_WAY)
def test_the_state_of_a_flow_with_only_the_client_in_view(
    engine: MakePlane, mode: Mode, story: str, state: State
) -> None:
    gateway = Gateway(engine, tables(service(mode)))
    for packet in packets(story):
        assert gateway.reason(packet) in (Reason.OPENED, Reason.FORWARDED)
    (flow,) = gateway.plane.flows
    assert flow.state is state
    assert flow.tally.active == (state is not State.CLOSED)


CLOSING = ["> S  < SA  > A  > FA  < FA", "> S  < SA  > A  < FA  > FA", "> S  < RA", "> S  > R"]


@pytest.mark.parametrize("story", CLOSING)
def test_a_syn_on_a_closed_flow_opens_a_new_one(engine: MakePlane, story: str) -> None:
    gateway = Gateway(engine, NAT)
    for packet in packets(story):
        gateway.receive(packet)
    (old,) = gateway.plane.flows
    assert gateway.reason(packets("> S")[0]) is Reason.OPENED
    (new,) = gateway.plane.flows
    assert new is not old
    assert new.state is State.SYN_SENT


def test_a_new_connection_of_an_old_port_may_go_to_another_backend(engine: MakePlane) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, {"a": 1, "b": 1})))
    assert gateway.sends(packets("> S")[0])[1].dst == "10.0.2.2"
    gateway.receive(packets("> R")[0])
    assert gateway.sends(packets("> S")[0])[1].dst == "10.0.2.3"
    assert gateway.reason(packets("< SA")[0]) is Reason.NO_FLOW, "late, of the old backend"


@pytest.mark.parametrize("story", ["> A", "> SA", "> FA", "> PA", "> RS", "> FS"])
def test_a_closed_flow_is_not_opened_by_anything_else(engine: MakePlane, story: str) -> None:
    gateway = Gateway(engine, NAT)
    for packet in packets("> S  > R"):
        gateway.receive(packet)
    assert gateway.reason(packets(story)[0]) is Reason.FORWARDED


def test_a_syn_of_the_backend_does_not_open_a_closed_flow(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT)
    for packet in packets("> S  > R"):
        gateway.receive(packet)
    assert gateway.reason(packets("< S")[0]) is Reason.RETURNED


@pytest.mark.parametrize("story", ["> S  < SA  > A", "> S  < SA  > A  > FA", "> S  < SA"])
def test_a_syn_on_a_live_flow_stays_with_it(engine: MakePlane, story: str) -> None:
    gateway = Gateway(engine, tables(service(Mode.NAT, {"a": 1, "b": 1})))
    for packet in packets(story):
        gateway.receive(packet)
    assert gateway.sends(packets("> S")[0])[1].dst == "10.0.2.2"


def test_a_closed_flow_of_a_service_that_is_gone_does_not_open_again(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT)
    for packet in packets("> S  > R"):
        gateway.receive(packet)
    gateway.plane.swap(tables())
    assert gateway.reason(packets("> S")[0]) is Reason.NOT_OURS


def test_a_closed_flow_stays_when_its_successor_has_no_ttl_left(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT)
    for packet in packets("> S  > R"):
        gateway.receive(packet)
    assert gateway.reason(tcp(client(), vip(), "S", ttl=1)) is Reason.TTL_EXPIRED
    assert len(gateway.plane.flows) == 1


TIMES = [
    ("> S", TIMEOUTS.syn),
    ("> S  < SA", TIMEOUTS.syn),
    ("> S  < SA  > A", TIMEOUTS.tcp),
    ("> S  < SA  > A  > FA", TIMEOUTS.tcp),
    ("> S  < SA  > A  < FA", TIMEOUTS.tcp),
    ("> S  < SA  > A  < FA  > FA", TIMEOUTS.fin),
    ("> S  > R", TIMEOUTS.fin),
]


@pytest.mark.parametrize(("story", "timeout"), TIMES)
def test_a_flow_is_forgotten_when_idle_for_the_time_of_its_state(
    engine: MakePlane, story: str, timeout: float
) -> None:
    start = 1000.0
    for idle, reason in [(timeout - 0.25, Reason.FORWARDED), (timeout, Reason.NOT_OPEN)]:
        gateway = Gateway(engine, NAT)
        for packet in packets(story):
            gateway.receive(packet, now=start)
        assert gateway.reason(packets("> A")[0], now=start + idle) is reason


@pytest.mark.parametrize(("story", "timeout"), TIMES)
def test_each_packet_starts_the_idle_time_anew(
    engine: MakePlane, story: str, timeout: float
) -> None:
    gateway = Gateway(engine, NAT)
    for packet in packets(story):
        gateway.receive(packet, now=0.0)
    assert gateway.reason(packets("< A")[0], now=timeout - 1) is Reason.RETURNED
    assert gateway.reason(packets("< A")[0], now=2 * timeout - 2) is Reason.RETURNED
    assert gateway.reason(packets("< A")[0], now=3 * timeout - 2) is Reason.NO_FLOW


def test_time_outs_are_those_of_the_limits(engine: MakePlane) -> None:
    gateway = Gateway(engine, NAT, timeouts=Timeouts(syn=1, tcp=2, fin=3, udp=4))
    gateway.receive(packets("> S")[0], now=0.0)
    assert gateway.plane.expire(0.75) == 0
    assert gateway.plane.expire(1.0) == 1


EVENTS = [
    (SYN, Event.CLIENT_SYN, Event.BACKEND_SYN),
    (SYN | ACK, Event.CLIENT_SYN, Event.BACKEND_SYN),
    (ACK, Event.CLIENT_ACK, Event.BACKEND_ACK),
    (PSH | ACK, Event.CLIENT_ACK, Event.BACKEND_ACK),
    (0, Event.CLIENT_ACK, Event.BACKEND_ACK),
    (FIN | ACK, Event.CLIENT_FIN, Event.BACKEND_FIN),
    (FIN | SYN, Event.CLIENT_FIN, Event.BACKEND_FIN),
    (RST, Event.RESET, Event.RESET),
    (RST | FIN | SYN | ACK, Event.RESET, Event.RESET),
]


@pytest.mark.parametrize(("flags", "of_client", "of_backend"), EVENTS)
def test_rst_beats_fin_and_fin_beats_syn(flags: int, of_client: Event, of_backend: Event) -> None:
    assert event_of(flags, from_client=True) is of_client
    assert event_of(flags, from_client=False) is of_backend


@pytest.mark.parametrize("flags", range(256))
def test_only_a_syn_without_ack_rst_and_fin_opens_a_flow(flags: int) -> None:
    asks = {"S"} == {n for b, n in [(1, "F"), (2, "S"), (4, "R"), (16, "A")] if flags & b}
    assert opens(flags) is asks
