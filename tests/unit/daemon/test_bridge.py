"""The child that moves frames while the next process starts: what it says, and that it ends."""

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, NoReturn, cast

import pytest

from netns.waiting import wait_until
from pktlb.daemon.restart.bridge import Bridge, cross, message_of, rings_in
from pktlb.daemon.restart.handover import Handover, pack, unpack
from pktlb.engine.engine import Engine
from pktlb.engine.wire.port import Inherited, Port
from pktlb.engine.wire.tun import Tun
from pktlb.errors import KernelError

RINGS: Final = {"wan": [1, 8192], "lan": [0, 17]}
OLD: Final = b"what the parent knew"
TABLE: Final = b"what the child knew"


@dataclass
class FakePort:
    """A port with descriptors that may be closed."""

    name: str
    sockets: list[socket.socket]
    rings: list[int] = field(default_factory=lambda: [0, 0])


class FakePlane:
    def dump(self, now: float, with_ports: bool = True) -> bytes:
        assert not with_ports
        return TABLE


class FakeEngine:
    """Leaves its rings where it is told to, unless it does something else."""

    plane = FakePlane()

    def __init__(self, ports: Sequence[FakePort]) -> None:
        self.ports = ports

    def start(self) -> None:
        """Nothing moves here."""

    def stop(self) -> None:
        for port in self.ports:
            port.rings = RINGS[port.name]


class FailingEngine(FakeEngine):
    def start(self) -> None:
        raise KernelError("a worker cannot start")


class HangingEngine(FakeEngine):
    def stop(self) -> None:
        signal.pause()


class ConfusedEngine(FakeEngine):
    def stop(self) -> None:
        self.ports[0].rings = [-1]


@pytest.fixture
def ports() -> Iterator[list[FakePort]]:
    ports = [FakePort(name, list(socket.socketpair())) for name in RINGS]
    yield ports
    for each in (raw for port in ports for raw in port.sockets):
        each.close()


def built(ports: Sequence[FakePort], kind: type[FakeEngine] = FakeEngine) -> Bridge:
    bridge = attempt(kind(ports), ports)
    assert bridge
    return bridge


def attempt(engine: FakeEngine, ports: Sequence[FakePort]) -> Bridge | None:
    with open(os.devnull, "rb") as tun:
        return Bridge.build(cast(Engine, engine), cast(list[Port], list(ports)), cast(Tun, tun))


def handed(ports: Sequence[FakePort], bridge: Bridge | None = None) -> Handover:
    left = {p.name: Inherited([s.detach() for s in p.sockets], [5, 5], 1500) for p in ports}
    return Handover(
        "native", left, dict.fromkeys(left, 3), -1, -1, -1, {}, -1, "", [],
        bridge.place if bridge else None,
    )  # fmt: skip


def is_child(pid: int) -> bool:
    """Whether it runs, or waits for its status to be asked for."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def test_the_last_message_of_a_bridge_is_read_as_it_was_written() -> None:
    assert rings_in(message_of(RINGS)) == RINGS


@pytest.mark.parametrize(
    "message",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"format": 2, "rings": {}}', b'{"format": 1}',
     b'{"format": 1, "rings": []}', b'{"format": 1, "rings": {"wan": 1}}',
     b'{"format": 1, "rings": {"wan": [-1]}}', b'{"format": 1, "rings": {"wan": [true]}}',
     b'{"format": 1, "rings": {"wan": [4294967296]}}', b"[" * 100_000],
)  # fmt: skip
def test_another_message_of_a_bridge_is_refused(message: bytes) -> None:
    with pytest.raises(KernelError):
        rings_in(message)


def test_a_bridge_stops_when_told_to_and_leaves_rings_and_flows(ports: list[FakePort]) -> None:
    bridge = built(ports)
    _, pid = bridge.place
    after, dumps = cross(bridge, handed(ports), OLD)
    assert {name: list(left.rings) for name, left in after.ports.items()} == RINGS
    assert dumps == [TABLE, OLD]
    bridge.close()
    bridge.close()
    assert not is_child(pid)


@pytest.mark.parametrize("kind", [FailingEngine, ConfusedEngine])
def test_without_an_answer_of_the_bridge_no_sockets_are_taken_over(
    kind: type[FakeEngine], ports: list[FakePort], caplog: pytest.LogCaptureFixture
) -> None:
    bridge = built(ports, kind)
    _, pid = bridge.place
    before = handed(ports)
    after, dumps = cross(bridge, before, OLD)
    assert not after.ports
    assert dumps == [OLD]
    assert not is_child(pid)
    assert "going on with what was before, and new sockets" in caplog.text
    for left in before.ports.values():
        for descriptor in left.sockets:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)


def test_a_bridge_that_hangs_is_not_waited_for(
    ports: list[FakePort], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pktlb.daemon.restart.bridge._ANSWER_S", 0.05)
    bridge = built(ports, HangingEngine)
    with pytest.raises(KernelError, match="no answer in time"):
        bridge.end()
    assert not is_child(bridge.place[1])


def test_a_bridge_ends_when_the_other_end_is_closed(ports: list[FakePort]) -> None:
    bridge = built(ports)
    descriptor, pid = bridge.place
    with socket.socket(fileno=os.dup(descriptor)) as end:
        end.shutdown(socket.SHUT_RDWR)
    assert os.waitpid(pid, 0) == (pid, 0)
    bridge.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_the_parent_s_to_decide_on(
    ports: list[FakePort], number: signal.Signals
) -> None:
    bridge = built(ports)
    os.kill(bridge.place[1], number)
    assert bridge.end() == (RINGS, TABLE)
    bridge.close()


def test_a_bridge_keeps_only_the_descriptors_that_it_needs(ports: list[FakePort]) -> None:
    reader, writer = socket.socketpair()
    bridge = built(ports)  # which has no copy of them
    with closing(reader):
        writer.close()
        reader.settimeout(10)
        assert not reader.recv(1)
    _, pid = bridge.place

    def targets() -> set[str]:
        return {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)}

    wait_until(lambda: targets() == {os.devnull}, 10, "it speaks to nobody")
    bridge.close()


def test_a_process_that_is_no_child_is_left_alone() -> None:
    ours, its = socket.socketpair()
    with closing(its):
        Bridge(ours.detach(), os.getpid()).close()


def _no_process() -> NoReturn:
    raise BlockingIOError("no more processes")


def _no_socket(*_: object) -> NoReturn:
    raise OSError("no more descriptors")


@pytest.mark.parametrize(("name", "refusal"), [("os.fork", _no_process),
                                               ("socket.socketpair", _no_socket)])  # fmt: skip
def test_frames_wait_where_there_can_be_no_bridge(
    ports: list[FakePort], name: str, refusal: Callable[..., NoReturn],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(f"pktlb.daemon.restart.bridge.{name}", refusal)
    assert attempt(FakeEngine(ports), ports) is None
    assert "frames wait during the restart" in caplog.text
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_the_next_process_finds_the_bridge_in_the_note(ports: list[FakePort]) -> None:
    bridge = built(ports)
    with_one, without = handed(ports, bridge), handed([])
    assert unpack(pack(with_one)).bridge == bridge.place
    with_one.without_ports()
    assert unpack(pack(without)).bridge is None
    assert b"bridge" not in pack(without)
    bridge.close()


@pytest.mark.parametrize("said", [b"1", b"[1]", b'["a", 2]', b"[1, 2, 3]", b"null"])
def test_a_note_with_no_such_bridge_is_refused(said: bytes) -> None:
    note = pack(handed([]))[:-1] + b', "bridge": ' + said + b"}"
    with pytest.raises(KernelError, match="cannot be read"):
        unpack(note)
