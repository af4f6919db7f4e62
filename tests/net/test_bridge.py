"""A restart at which the next process is held up while it starts: frames move all the same.

It waits for a word from the test before it has imported anything of pktlb; the process that moves
the frames meanwhile is its only child.
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
from tests.net.test_operating import ask, service
from tests.net.world import World

EVEN = {"a": 2, "b": 2, "c": 2}
WAITING = """
import os
if "PKTLB_HANDOVER" in os.environ:
    with open({path!r}) as word:
        word.read()
"""
"What Python runs before anything else."
SILENT = """
if "PKTLB_TRIAL" in os.environ:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
"""
"A version that knows no bridge says nothing of it when it is tried."
REFUSED = """
def refuse(*_):
    {before}
    raise OSError("no such program")
os.execve = refuse
"""
"The next process cannot be started, though it could when it was tried."
KILL = (
    "[os.kill(int(it), 9) for it in open(f'/proc/self/task/{os.getpid()}/children').read().split()]"
)
"What goes wrong besides."
MORE_THAN_A_RING = 20_000
AT_A_TIME = 50


class Restart:
    """Of a pktlb, held up for as long as the test wants."""

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
        """What each process runs besides."""
        with self._program.open("a") as file:
            file.write(program)

    def ask(self) -> None:
        self.command = self.world.balancer.start(*pktlb_command("restart"))

    def begin(self) -> int:
        """Until the next process waits; the number of the one that moves frames meanwhile."""
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
        """The next process goes on, and serves; the other one is gone, without a trace."""
        self.release()
        assert self.command.wait(30) == 0, self.command.stderr
        assert not self.children()
        assert self.balancer.status is None

    def children(self) -> list[int]:
        """Those of the balancer, also those that have ended and nobody has asked for."""
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
    """Whoever is to ask for its status may not have done so."""
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
        assert world.who(6) == EVEN
        with closing(connected(world)) as during:
            talk(during)
            restart.end()
            talk(before)
            talk(during)
            assert world.who(6) == EVEN
    assert "flows taken over" in restart.balancer.stderr


def test_what_is_counted_meanwhile_counts(restart: Restart) -> None:
    world = restart.world
    restart.balance()
    world.who(3)
    restart.begin()
    world.who(6)
    world.hang_up()
    restart.end()
    status = ask(world.balancer, "status")
    assert status["reasons"]["OPENED"] == 9
    backends = status["services"][0]["backends"]
    assert [backend["connections"] for backend in backends] == [3, 3, 3]


def test_more_frames_pass_meanwhile_than_rings_could_hold(restart: Restart) -> None:
    """Each is answered, in small portions; then the ring goes on where it was left."""
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


def test_it_is_gone_when_the_next_process_is_killed(restart: Restart) -> None:
    world = restart.world
    before = world.balancer.state()
    balancer = restart.balance()
    pid = restart.begin()
    os.kill(balancer.pid, signal.SIGKILL)
    wait_until(lambda: has_ended(pid), 10, "it is gone")
    restart.command.kill()
    again = world.balance()
    assert world.who(6) == EVEN
    assert again.stop() == 0
    assert world.balancer.state() == before


@pytest.mark.parametrize("end", ["stop it", "kill it"])
def test_one_that_hangs_is_gone_as_well_when_the_next_process_is_killed(
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
def test_connections_go_on_without_it(restart: Restart, harm: signal.Signals, reason: str) -> None:
    world = restart.world
    balancer = restart.balance()
    with closing(connected(world)) as before:
        talk(before)
        os.kill(restart.begin(), harm)
        restart.end()
        talk(before)
        assert world.who(6) == EVEN
    assert f"the process that moved frames meanwhile failed: {reason}" in balancer.stderr
    assert "flows taken over" in balancer.stderr


def test_an_earlier_version_gets_none(restart: Restart) -> None:
    """It would not know how to end it."""
    restart.also(SILENT)
    restart.balance()
    with closing(connected(restart.world)) as before:
        talk(before)
        restart.wait()
        assert not restart.children()
        restart.end()
        talk(before)


@pytest.mark.parametrize("besides", ["pass", KILL])
def test_where_there_is_no_next_process_the_old_one_goes_on(restart: Restart, besides: str) -> None:
    world = restart.world
    restart.also(REFUSED.format(before=besides))
    balancer = restart.balance()
    with closing(connected(world)) as before:
        talk(before)
        restart.ask()
        balancer.wait_for("cannot start the next pktlb: no such program; going on")
        restart.command.kill()
        talk(before)
        assert world.who(6) == EVEN
    assert not restart.children()
    assert ("going on with new rings" in balancer.stderr) == (besides == KILL)


def test_a_stop_meanwhile_undoes_everything(restart: Restart) -> None:
    """The signal is for the whole group, as of a terminal."""
    world = restart.world
    before = world.balancer.state()
    balancer = restart.balance()
    pid = restart.begin()
    balancer.send_signal(signal.SIGTERM)
    assert world.who(6) == EVEN
    restart.release()
    assert balancer.wait() == 0
    assert has_ended(pid)
    restart.command.kill()
    assert world.balancer.state() == before


@pytest.mark.parametrize(
    "change",
    ["workers = 3", "max_flows = 1000", 'engine = "python"', 'interfaces = ["wan", "lan", "more"]'],
)
def test_flows_go_on_whatever_only_a_restart_can_change(
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
        assert world.who(6) == EVEN


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
        """Not while it listens to an nft."""
        return [] if "pipe:[]" in (files := open_files()) else files

    files = wait_until(files_at_rest, 10, "its files are known")
    for _ in range(10):
        world.balancer.ask("restart")
        wait_until(lambda: not restart.children(), 10, "no process is left")
        wait_until(lambda: open_files() == files, 10, "no file is left open")
    assert world.who(6) == EVEN
    assert balancer.stderr.count("flows taken over") == 10
    assert balancer.stop() == 0
    assert world.balancer.state() == before
