"""Only segments whose numbers fit move a flow: RFC 5961, seen from between the ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from pktlb.engine.datapath.frame import NEEDS_CHECKSUM, Frame, Offload
from pktlb.engine.datapath.tcp import State
from pktlb.engine.datapath.track import CHECKED
from pktlb.model import Mode, Reason
from tests.support.gateway import TIMEOUTS, MakePlane
from tests.support.packets import WORLDS, Packet, World, fragmented, frame, partial
from tests.support.talk import STARTS, Talk

each_start = pytest.mark.parametrize("starts", STARTS, ids=str)
each_mode = pytest.mark.parametrize("mode", Mode)
each_family = pytest.mark.parametrize("world", WORLDS, ids=str)
ATTACKER = "02:00:00:00:66:66"


@dataclass(frozen=True)
class Story:
    """What both ends send behind the three packets of an open connection, and the state then."""

    sentence: str
    told: Callable[[Talk], Sequence[Packet]]
    state: State

    def __str__(self) -> str:
        return self.sentence


def stream(t: Talk, size: int, of: int) -> list[Packet]:
    """`of` segments of the backend of `size` bytes each."""
    return [t.backend("PA", 1 + i * size, 1, size) for i in range(of)]


WELL = [
    Story("both close after data",
          lambda t: [t.client("PA", 1, 1, 10), t.backend("PA", 1, 11, 20),
                     t.client("FA", 11, 21), t.backend("FA", 21, 12), t.client("A", 12, 22)],
          State.CLOSED),
    Story("a lost FIN is sent again",
          lambda t: [t.client("FA"), t.client("FA"), t.backend("A", 1, 2), t.backend("FA", 1, 2),
                     t.backend("FA", 1, 2)],
          State.CLOSED),
    Story("a FIN behind lost data waits for nothing",
          lambda t: [t.client("FA", 20_001), t.client("PA", 1, 1, 20_000), t.backend("A", 1, 1),
                     t.backend("FA", 1, 20_002)],
          State.CLOSED),
    Story("a keep-alive has a number that was acknowledged",
          lambda t: [t.client("A", 0, 1), t.backend("A"), t.backend("A", 0, 1), t.client("A"),
                     t.client("FA"), t.backend("FA", 1, 2)],
          State.CLOSED),
    Story("a probe of a closed window carries one byte",
          lambda t: [t.backend("PA", 1, 1, 10), t.client("A", 1, 11, window=0),
                     t.backend("A", 10, 1, 1), t.backend("A", 11, 1, 1), t.client("A", 1, 12),
                     t.client("FA", 1, 12), t.backend("FA", 12, 2)],
          State.CLOSED),
    Story("segments overtake each other",
          lambda t: [*reversed(stream(t, 1000, 40)), t.client("A", 1, 20_001),
                     t.client("A", 1, 10_001), t.client("FA", 1, 40_001),
                     t.backend("FA", 40_001, 2)],
          State.CLOSED),
    Story("all is sent again from where a loss was",
          lambda t: [*stream(t, 1000, 60), t.client("A"), *stream(t, 1000, 60),
                     t.client("FA", 1, 60_001), t.backend("FA", 60_001, 2)],
          State.CLOSED),
    Story("an acknowledgement names blocks beyond a hole (SACK)",
          lambda t: [*stream(t, 1000, 3)[1:],
                     t.client("A", 1, 1, tcp_options=[("SAck", (2000, 4000))]),
                     t.client("FA", 1, 1), t.backend("FA", 3001, 2)],
          State.CLOSED),
    Story("a window with a scale holds more than 64 KiB",
          lambda t: [t.client("A", window=8000),
                     *(t.backend("PA", 1 + i * 50_000, 1, 50_000) for i in range(20)),
                     t.client("FA", 1, 1), t.backend("FA", 1_000_001, 2)],
          State.CLOSED),
    Story("a burst as long as the window was lost in front of us",
          lambda t: [t.client("A", window=8000), t.backend("PA", 900_001, 1, 100),
                     t.client("FA"), t.backend("FA", 900_101, 2)],
          State.CLOSED),
    Story("a client's reset with the number of its next byte",
          lambda t: [t.client("PA", 1, 1, 10), t.client("RA", 11, 1)], State.CLOSED),
    Story("a client's reset with the number that the backend has acknowledged",
          lambda t: [t.client("PA", 1, 1, 10), t.backend("A", 1, 6), t.client("R", 6, 1)],
          State.CLOSED),
    Story("a backend's reset with the number of its next byte",
          lambda t: [t.backend("PA", 1, 1, 10), t.backend("R", 11, 0)], State.CLOSED),
    Story("a reset behind a FIN",
          lambda t: [t.client("FA"), t.client("R", 2, 0)], State.CLOSED),
    Story("data that crosses a reset has the last word taken back by another reset",
          lambda t: [t.client("RA"), t.backend("PA", 1, 1, 100), t.client("R", 1, 0)],
          State.CLOSED),
]  # fmt: skip


@each_start
@pytest.mark.parametrize("story", WELL, ids=str)
def test_what_real_ends_send_moves_the_flow(
    engine: MakePlane, story: Story, starts: tuple[int, int]
) -> None:
    talk = Talk(engine, Mode.NAT, starts=starts)
    talk.open()
    talk.take(*story.told(talk))
    assert talk.state() is story.state
    assert talk.flow.tally.active == (story.state is not State.CLOSED)


ONE_WAY_WELL = [
    ("FA", 1, 1), ("FA", 1, 60_001), ("FA", 5_000_000, 1), ("RA", 1, 1), ("R", 1, 0), ("R", 0, 0),
]  # fmt: skip


@each_start
@pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
@pytest.mark.parametrize(("flags", "seq", "ack"), ONE_WAY_WELL)
def test_what_a_real_client_sends_moves_the_flow(
    engine: MakePlane, mode: Mode, flags: str, seq: int, ack: int, starts: tuple[int, int]
) -> None:
    talk = Talk(engine, mode, starts=starts)
    talk.open()
    talk.take(talk.client("A", 1, 1, window=8000), talk.client(flags, seq, ack))
    assert talk.state() is State.CLOSED


FORGED: list[tuple[str, int, int]] = [
    ("R", 2, 0), ("R", -1, 0), ("R", 10_000, 0), ("RA", 1 << 31, 1), ("RA", -70_000, 1),
    ("S", 0, 0), ("S", 1, 0), ("S", 1 << 30, 0),
    ("FA", 1 << 30, 1), ("FA", 1, 1 << 30), ("FA", -(1 << 24), 1), ("FA", 1, -(1 << 24)),
    ("F", 1, 1), ("A", 1 << 31, 1 << 31), ("A", 1, 1 << 31), ("A", 1 << 29, 1), ("PA", 5, 2**31),
    ("SA", 1 << 30, 1 << 30), ("", 1, 1), ("P", 1, 1), ("SF", 1, 1), ("SR", 7, 1), ("U", 1, 1),
]  # fmt: skip


@each_family
@each_mode
@pytest.mark.parametrize(("flags", "seq", "ack"), FORGED)
def test_a_segment_that_does_not_fit_is_sent_on_and_changes_nothing(
    engine: MakePlane, mode: Mode, world: World, flags: str, seq: int, ack: int
) -> None:
    talk = Talk(engine, mode, world)
    talk.open(now=1.0)
    before = talk.memory
    forged = talk.client(flags, seq, ack, mac=ATTACKER)
    assert talk.take(forged, now=2.0).reason is Reason.FORWARDED
    assert talk.memory == before
    again = talk.client("S", 77, 0, mac=ATTACKER)
    assert talk.take(again, now=3.0).reason is Reason.FORWARDED
    assert talk.memory == before
    if mode is Mode.NAT:
        forged = talk.backend(flags, seq, ack)
        assert talk.take(forged, now=4.0).reason is Reason.RETURNED
        assert talk.memory == before


BLIND = [("R", 1), ("S", 0), ("SA", 0), ("FA", 1), ("A", 1)]


@pytest.mark.parametrize(("flags", "seq"), BLIND)
def test_no_backend_answers_a_syn_by_guesses(engine: MakePlane, flags: str, seq: int) -> None:
    talk = Talk(engine)
    talk.take(talk.client("S", 0, 0))
    talk.take(talk.backend(flags, seq, 1 << 30))
    assert talk.state() is State.SYN_SENT
    talk.take(talk.backend("RA", -5000, 1))
    assert talk.state() is State.CLOSED, "a backend that refuses acknowledges the SYN"


@pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
def test_a_guess_does_not_establish_what_only_the_client_is_seen_of(
    engine: MakePlane, mode: Mode
) -> None:
    talk = Talk(engine, mode)
    talk.take(talk.client("S", 0, 0), talk.client("A", 1 << 20, 1))
    assert talk.state() is State.SYN_SENT
    talk.take(talk.client("A"), talk.client("A"))
    assert talk.state() is State.ESTABLISHED


@each_mode
def test_a_syn_on_a_live_flow_goes_to_its_backend_as_it_is(engine: MakePlane, mode: Mode) -> None:
    talk = Talk(engine, mode)
    talk.open()
    (first,) = talk.take(talk.client("A")).frames
    (again,) = talk.take(talk.client("S", 12_345, 0)).frames
    assert again.data[:6] == first.data[:6]


def test_data_takes_a_flow_back_that_a_reset_has_closed(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.open(now=1.0)
    for number, alive in enumerate((talk.client("PA", 1, 1, 10), talk.backend("PA", 1, 1, 10))):
        talk.take(talk.client("R", 1 + 10 * (number > 0), 0), now=2.0)
        assert (talk.state(), talk.flow.tally.active) == (State.CLOSED, 0)
        talk.take(talk.client("A"), now=3.0)
        assert talk.state() is State.CLOSED, "nothing in it is new"
        talk.take(alive, now=4.0)
        assert (talk.state(), talk.flow.tally.active) == (State.ESTABLISHED, 1)
    assert talk.take(talk.client("A"), now=4.0 + TIMEOUTS.tcp - 1).reason is Reason.FORWARDED


@pytest.mark.parametrize("mode", [Mode.DSR, Mode.TUNNEL])
def test_the_client_s_data_takes_a_flow_back(engine: MakePlane, mode: Mode) -> None:
    talk = Talk(engine, mode)
    talk.open()
    talk.take(talk.client("R", 1, 0))
    assert talk.state() is State.CLOSED
    talk.take(talk.client("A", 1, 500))
    assert talk.state() is State.ESTABLISHED


def test_a_flow_that_was_half_closed_is_so_again(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.open()
    talk.take(talk.client("FA"), talk.client("R", 2, 0), talk.backend("PA", 1, 2, 9))
    assert talk.state() is State.CLIENT_FIN
    talk.take(talk.client("R", 2, 0), talk.backend("FPA", 10, 2, 9))
    assert (talk.state(), talk.flow.tally.active) == (State.CLOSED, 0)
    talk.take(talk.client("A", 2, 20))
    assert talk.state() is State.CLOSED, "two FINs are the end"


def test_nothing_takes_a_flow_back_that_both_have_closed(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.open()
    talk.take(talk.client("FA"), talk.backend("FA", 1, 2), talk.client("PA", 2, 2, 10))
    assert talk.state() is State.CLOSED


def spoilt(packet: Packet) -> Frame:
    made = frame(packet)
    made.data[-1] ^= 1  # of options or data, which a checksum alone protects
    return made


@each_family
@each_mode
@pytest.mark.parametrize("flags", ["FA", "RA"])
def test_a_wrong_checksum_ends_nothing(
    engine: MakePlane, mode: Mode, world: World, flags: str
) -> None:
    talk = Talk(engine, mode, world)
    talk.open()
    end = talk.client(flags, tcp_options=[("NOP", None)] * 4)
    talk.take_unsound(spoilt(end))
    assert talk.state() is State.ESTABLISHED
    talk.gateway.receive(end)
    assert talk.state() is not State.ESTABLISHED


def test_a_syn_with_a_wrong_checksum_does_not_replace_a_closed_flow(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.open()
    talk.take(talk.client("R", 1, 0))
    again = talk.client("S", 9999, 0, tcp_options=[("MSS", 1000)])
    assert talk.take_unsound(spoilt(again)) is Reason.FORWARDED
    assert talk.gateway.reason(again) is Reason.OPENED


def test_a_checksum_that_a_device_vouches_for_is_right(engine: MakePlane) -> None:
    for flag in (NEEDS_CHECKSUM, CHECKED):
        talk = Talk(engine)
        talk.open()
        made = partial(talk.client("FA"))
        if flag == CHECKED:
            made = frame(talk.client("FA"))
            made.offload = Offload(CHECKED, 0, 0, 0, 0, 0)
        talk.gateway.receive(made)
        assert talk.state() is State.CLIENT_FIN


def test_a_first_fragment_ends_nothing(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.open()
    for piece in fragmented(talk.client("FA", size=100), 64):
        talk.take(piece)
    assert talk.state() is State.ESTABLISHED
    talk.take(talk.backend("A", 1, 102), talk.client("FA", 1, 1, 100), talk.backend("FA", 1, 102))
    assert talk.state() is State.CLOSED


def test_a_simultaneous_open_is_a_connection(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.take(talk.client("S", 0, 0), talk.backend("S", 0, 0), talk.client("SA", 0, 1))
    talk.take(talk.backend("SA", 0, 1))
    assert talk.state() is State.SYN_RECEIVED
    talk.take(talk.client("PA", 1, 1, 5))
    assert talk.state() is State.ESTABLISHED


def test_a_forged_syn_during_the_handshake_heals(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.take(talk.client("S", 0, 0), talk.client("S", 1 << 30, 0, mac=ATTACKER))
    talk.take(talk.backend("SA", 0, 1), talk.client("A"), talk.client("PA", 1, 1, 10))
    talk.take(talk.backend("PA", 1, 11, 10), talk.client("A", 11, 11))
    assert talk.state() is State.ESTABLISHED
    talk.take(talk.client("FA", 11, 11), talk.backend("FA", 11, 12))
    assert talk.state() is State.CLOSED


@pytest.mark.parametrize("start", [1, 1 << 28])
@each_mode
def test_a_connection_that_is_picked_up_teaches_its_numbers(
    engine: MakePlane, mode: Mode, start: int
) -> None:
    talk = Talk(engine, mode, pick_up=True)
    assert talk.take(talk.client("A", start, start)).reason is Reason.PICKED_UP
    if mode is Mode.NAT:
        talk.take(talk.backend("PA", start + 3000, start, 100))
    talk.take(talk.client("A", start, start + 3100 * (mode is Mode.NAT)))
    before = talk.memory
    for forged in (("R", 5, 0), ("FA", 1 << 30, 1), ("S", 0, 0)):
        talk.take(talk.client(*forged, mac=ATTACKER))
    assert talk.memory == before
    talk.take(talk.client("R", start, 0))
    assert talk.state() is State.CLOSED


@each_mode
def test_a_client_whose_numbers_fit_gets_its_replies_where_it_is_now(
    engine: MakePlane, mode: Mode
) -> None:
    talk = Talk(engine, mode)
    talk.open()
    moved = "02:00:00:00:01:99"
    talk.take(talk.client("PA", 1, 1, 5, mac=moved))
    assert talk.flow.client_mac == bytes.fromhex(moved.replace(":", ""))


def test_the_opening_syn_may_come_again_another_way(engine: MakePlane) -> None:
    talk = Talk(engine)
    talk.take(talk.client("S", 0, 0))
    talk.take(talk.client("S", 1 << 30, 0, mac=ATTACKER))
    assert talk.flow.client_mac != bytes.fromhex(ATTACKER.replace(":", ""))
    moved = "02:00:00:00:01:99"
    talk.take(talk.client("S", 1 << 30, 0, mac=moved))
    assert talk.flow.client_mac == bytes.fromhex(moved.replace(":", ""))


@each_mode
def test_a_syn_that_has_no_answer_does_not_keep_its_flow(engine: MakePlane, mode: Mode) -> None:
    talk = Talk(engine, mode)
    talk.take(talk.client("S", 0, 0), now=0.0)
    for now in range(3, int(TIMEOUTS.syn), 3):
        assert talk.take(talk.client("S", 0, 0), now=float(now)).reason is Reason.FORWARDED
    late = talk.take(talk.client("S", 0, 0), now=TIMEOUTS.syn)
    assert late.reason is Reason.OPENED


@each_mode
def test_a_reset_does_not_keep_a_closed_flow(engine: MakePlane, mode: Mode) -> None:
    talk = Talk(engine, mode)
    talk.open()
    talk.take(talk.client("R", 1, 0), now=1.0)
    for now in range(2, int(TIMEOUTS.fin), 3):
        talk.take(talk.client("R", 1, 0), now=float(now))
    assert talk.take(talk.client("R", 1, 0), now=1.0 + TIMEOUTS.fin).reason is Reason.NOT_OPEN


@each_mode
def test_the_next_plane_knows_the_numbers(engine: MakePlane, mode: Mode) -> None:
    talk, after = Talk(engine, mode), Talk(engine, mode)
    talk.open()
    talk.take(talk.client("R", 1, 0))
    assert after.gateway.plane.load(talk.gateway.plane.dump(1.0), 1.0) == 1
    after.gateway.goes_on(talk.gateway)
    assert after.memory == talk.memory
    after.take(after.client("PA", 1, 1, 10), now=2.0)
    assert after.state() is State.ESTABLISHED
