"""A restart whose next process is held up while it starts: the bridge moves frames meanwhile.

The next process waits for a word from the test before it imports anything of pktlb. The bridge is
its only child.
"""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netns.host import pktlb_command
from netns.process import ROOT, Process
from netns.waiting import wait_until
from tests.net.test_lifecycle import talk
from tests.net.test_operating import service
from tests.net.world import World, ask

EVEN = {"a": 2, "b": 2, "c": 2}
WAITING = """
import os
if "PKTLB_HANDOVER" in os.environ:
    with open({path!r}) as word:
        word.read()
"""
"A module that Python imports at its start."
SILENT = """
if "PKTLB_TRIAL" in os.environ:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
"""
"A version without a bridge does not mention it when it is tried."
REFUSED = """
def refuse(*_):
    {before}
    raise OSError("no such program")
os.execve = refuse
"""
"The next process cannot be started, though its trial went well."
KILL = (
    "[os.kill(int(it), 9) for it in open(f'/proc/self/task/{os.getpid()}/children').read().split()]"
)
"Other things that go wrong."
MORE_THAN_A_RING = 20_000
AT_A_TIME = 50


class Restart:
    """A restart of a pktlb, held up until the test lets it go on."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.fifo = directory / "word"
        os.mkfifo(self.fifo)
        self._program = directory / "sitecustomize.py"
        self._program.write_text(WAITING.format(path=str(self.fifo)))
        self.environment = f"PYTHONPATH={directory}:{ROOT}"
        self.balancer: Process
        self.command: Process
        self._word = -1

    def balance(self, *arguments: str) -> Process:
        """Start pktlb, whose next process will wait."""
        command = pktlb_command(*(arguments or self.world.arguments()))
        self.balancer = self.world.balancer.start(
            "env", self.environment, *command, ready="pktlb: ready"
        )
        return self.balancer

    def also(self, program: str) -> None:
        """Add to the program that each process runs at its start."""
        with self._program.open("a") as file:
            file.write(program)

    def ask(self) -> None:
        self.command = self.world.balancer.start(*pktlb_command("restart"))

    def begin(self) -> int:
        """Restart pktlb, and wait until the next process waits; the process id of the bridge."""
        self.wait()
        (pid,) = self.children()
        return pid

    def wait(self) -> None:
        self.ask()
        wait_until(self._is_waiting, 20, "the next process is there")

    def _is_waiting(self) -> bool:
        try:
            self._word = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """The next process goes on."""
        os.close(self._word)
        self._word = -1

    def end(self) -> None:
        """Let the next process go on until it serves; the bridge is gone without a trace."""
        self.release()
        assert self.command.wait(30) == 0, self.command.stderr
        assert not self.children()
        assert self.balancer.status is None

    def children(self) -> list[int]:
        """The processes of the balancer, also dead ones whose status has not been read."""
        pid = self.balancer.pid
        return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def close(self) -> None:
        if self._word >= 0:
            self.release()


@pytest.fixture
def restart(nat_world: World, tmp_path: Path) -> Iterator[Restart]:
    with closing(Restart(nat_world, tmp_path)) as restart:
        yield restart


def has_ended(pid: int) -> bool:
    """Whether a process has ended, though its parent may not have read its status."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


def connected(world: World) -> socket.socket:
    with world.client.enter():
        return socket.create_connection(world.vip, timeout=10)


def test_flows_go_on_and_are_opened_while_the_next_process_starts(restart: Restart) -> None:
    world = restart.world
    restart.balance()
    with closing(connected(world)) as before:
        talk(before)
        restart.begin()
        talk(before)
        assert world.answers(6) == EVEN
        with closing(connected(world)) as during:
            talk(during)
            restart.end()
            talk(before)
            talk(during)
            assert world.answers(6) == EVEN
    assert "flows taken over" in restart.balancer.stderr


def test_the_bridge_s_counts_are_in_the_next_process_s_counts(restart: Restart) -> None:
    world = restart.world
    restart.balance()
    world.answers(3)
    restart.begin()
    world.answers(6)
    world.hang_up()
    restart.end()
    status = ask(world.balancer, "status")
    assert status["reasons"]["OPENED"] == 9
    backends = status["services"][0]["backends"]
    assert [backend["connections"] for backend in backends] == [3, 3, 3]


def test_more_frames_pass_over_the_bridge_than_rings_could_hold(restart: Restart) -> None:
    """Each frame is answered, in small portions; then the ring goes on where it was left."""
    world = restart.world
    address, port = world.vip
    arguments = world.arguments()
    arguments[arguments.index(f"{address}:{port}")] += "/udp"
    restart.balance(*arguments)
    with world.client.enter():
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(datagrams):
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        datagrams.connect(world.vip)
        datagrams.settimeout(10)

        def pass_through(count: int) -> None:
            for _ in range(count):
                datagrams.send(b"?")
            for _ in range(count):
                datagrams.recv(2048)

        restart.begin()
        for _ in range(MORE_THAN_A_RING // AT_A_TIME):
            pass_through(AT_A_TIME)
        restart.end()
        pass_through(AT_A_TIME)
    reasons = ask(world.balancer, "status")["reasons"]
    assert reasons["FORWARDED"] + reasons["OPENED"] == MORE_THAN_A_RING + AT_A_TIME


def test_the_bridge_ends_when_the_next_process_is_killed(restart: Restart) -> None:
    world = restart.world
    before = world.balancer.state()
    balancer = restart.balance()
    pid = restart.begin()
    os.kill(balancer.pid, signal.SIGKILL)
    wait_until(lambda: has_ended(pid), 10, "it is gone")
    restart.command.kill()
    again = world.balance()
    assert world.answers(6) == EVEN
    assert again.stop() == 0
    assert world.balancer.state() == before


@pytest.mark.parametrize("end", ["stop it", "kill it"])
def test_a_bridge_that_hangs_ends_as_well_when_the_next_process_is_killed(
    restart: Restart, end: str
) -> None:
    balancer = restart.balance()
    pid = restart.begin()
    os.kill(pid, signal.SIGSTOP)
    os.kill(balancer.pid, signal.SIGKILL if end == "kill it" else signal.SIGTERM)
    restart.release()
    wait_until(lambda: has_ended(pid), 10, "it is gone")
    restart.command.kill()


@pytest.mark.parametrize(
    ("harm", "reason"), [(signal.SIGKILL, "it ended"), (signal.SIGSTOP, "no answer in time")]
)
def test_connections_go_on_over_a_restart_without_a_bridge(
    restart: Restart, harm: signal.Signals, reason: str
) -> None:
    world = restart.world
    balancer = restart.balance()
    with closing(connected(world)) as before:
        talk(before)
        os.kill(restart.begin(), harm)
        restart.end()
        talk(before)
        assert world.answers(6) == EVEN
    assert f"the process that moved frames meanwhile failed: {reason}" in balancer.stderr
    assert "flows taken over" in balancer.stderr


def test_an_earlier_version_gets_no_bridge(restart: Restart) -> None:
    """An earlier version could not end a bridge."""
    restart.also(SILENT)
    restart.balance()
    with closing(connected(restart.world)) as before:
        talk(before)
        restart.wait()
        assert not restart.children()
        restart.end()
        talk(before)


@pytest.mark.parametrize("besides", ["pass", KILL])
def test_the_old_process_goes_on_if_the_next_one_cannot_be_started(
    restart: Restart, besides: str
) -> None:
    world = restart.world
    restart.also(REFUSED.format(before=besides))
    balancer = restart.balance()
    with closing(connected(world)) as before:
        talk(before)
        restart.ask()
        balancer.wait_for("cannot start the next pktlb: no such program; going on")
        restart.command.kill()
        talk(before)
        assert world.answers(6) == EVEN
    assert not restart.children()
    assert ("going on with new rings" in balancer.stderr) == (besides == KILL)


def test_a_stop_during_a_restart_undoes_everything(restart: Restart) -> None:
    """The signal goes to the whole process group, as from a terminal."""
    world = restart.world
    before = world.balancer.state()
    balancer = restart.balance()
    pid = restart.begin()
    balancer.send_signal(signal.SIGTERM)
    assert world.answers(6) == EVEN
    restart.release()
    assert balancer.wait() == 0
    assert has_ended(pid)
    restart.command.kill()
    assert world.balancer.state() == before


@pytest.mark.parametrize(
    "change",
    ["workers = 3", "max_flows = 1000", 'engine = "python"', 'interfaces = ["wan", "lan", "more"]'],
)
def test_flows_go_on_over_a_change_that_needs_a_restart(
    restart: Restart, tmp_path: Path, change: str
) -> None:
    world = restart.world
    file = tmp_path / "pktlb.toml"
    text = service(world, {"a": 1, "b": 1, "c": 1})
    file.write_text(f"[balancer]\nworkers = 1\n{text}")
    restart.balance("run", "-c", str(file))
    world.lab.link(world.balancer, "more", world.lab.host("other"), "eth0")
    file.write_text(f"[balancer]\n{change}\n{text}")
    with closing(connected(world)) as before:
        talk(before)
        restart.begin()
        with closing(connected(world)) as during:
            talk(during)
            restart.end()
            talk(before)
            talk(during)
        assert world.answers(6) == EVEN


@pytest.mark.load
def test_many_restarts_leave_nothing_behind(restart: Restart) -> None:
    world = restart.world
    before = world.balancer.state()
    balancer = world.balance()
    restart.balancer = balancer

    def open_files() -> list[str]:
        place = Path(f"/proc/{balancer.pid}/fd")
        try:
            return sorted(re.sub(r"\d+", "", os.readlink(each)) for each in place.iterdir())
        except FileNotFoundError:  # one was just closed
            return []

    def files_at_rest() -> list[str]:
        """Signal pktlb while it waits for no nft."""
        return [] if "pipe:[]" in (files := open_files()) else files

    files = wait_until(files_at_rest, 10, "its files are known")
    for _ in range(10):
        world.balancer.ask("restart")
        wait_until(lambda: not restart.children(), 10, "no process is left")
        wait_until(lambda: open_files() == files, 10, "no file is left open")
    assert world.answers(6) == EVEN
    assert balancer.stderr.count("flows taken over") == 10
    assert balancer.stop() == 0
    assert world.balancer.state() == before
