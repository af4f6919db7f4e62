"""Start, stop, crash and new start: the host is as before, and clients are served at once."""

import re
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from netns import dsr
from netns.host import pktlb_command
from netns.server import blocks
from netns.waiting import wait_until
from tests.net.topologies import ONE_ARMED
from tests.net.world import World, serving

DOCS = Path(__file__).parents[2] / "docs" / "systemd.md"
ENDINGS = pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
EVEN = {"a": 2, "b": 2, "c": 2}
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@ENDINGS
def test_a_stop_undoes_everything(world: World, ending: signal.Signals) -> None:
    """Under load as well: a connection is open, and packets come in."""
    before = world.balancer.state()
    balancer = world.balance()
    assert world.balancer.state() != before
    world.hold()
    flood = world.client.start("ping", "-q", "-i", "0.002", world.vip[0])
    assert world.answers(6) == EVEN
    assert balancer.stop(ending) == 0
    flood.kill()
    assert world.balancer.state() == before
    assert set(world.balancer.interfaces()) == {"lo", *world.balancer.macs}


def test_a_second_signal_does_not_disturb_a_stop(world: World) -> None:
    """The second signal reaches the child processes, too, as Ctrl-C at a terminal does."""
    before = world.balancer.state()
    balancer = world.balance()
    balancer.send_signal(signal.SIGTERM)
    assert balancer.stop(signal.SIGINT) == 0
    assert world.balancer.state() == before


@ENDINGS
def test_a_stop_during_the_start_undoes_everything(
    nat_world: World, ending: signal.Signals
) -> None:
    """pktlb waits for a backend that does not answer, and is not ready yet."""
    world = nat_world
    world.lab.hosts["c"].run("ip", "link", "set", "eth0", "down")
    before = world.balancer.state()
    balancer = world.balancer.start(*pktlb_command(*world.arguments()))
    wait_until(lambda: "pktlb" in world.balancer.interfaces(), 5, "the start is under way")
    assert balancer.stop(ending, timeout=2) == 0
    assert balancer.stdout == ""
    assert world.balancer.state() == before


def test_a_signal_that_asks_for_counts_is_answered_during_the_start(nat_world: World) -> None:
    world = nat_world
    world.lab.hosts["c"].run("ip", "link", "set", "eth0", "down")
    balancer = world.balancer.start(*pktlb_command(*world.arguments()))
    wait_until(lambda: "pktlb" in world.balancer.interfaces(), 5, "the start is under way")
    balancer.send_signal(signal.SIGUSR1)
    balancer.wait_for("pktlb: ready")
    assert "not ready yet" in balancer.stderr
    assert world.answers(4) == {"a": 2, "b": 2}


def test_a_stop_at_any_moment_of_the_start_undoes_everything(nat_world: World) -> None:
    before = nat_world.balancer.state()
    for hundredths in range(0, 30, 2):
        balancer = nat_world.balancer.start(*pktlb_command(*nat_world.arguments()))
        let_pass(hundredths / 100)
        assert balancer.stop() in (0, -signal.SIGTERM)  # SIGINT ends it before Python has started
        assert nat_world.balancer.state() == before


def test_after_a_crash_the_next_start_works_at_once(world: World) -> None:
    before = world.balancer.state()
    for _ in range(3):
        balancer = world.balance()
        assert world.answers(6) == EVEN
        assert balancer.kill() == -signal.SIGKILL
    balancer = world.balance()
    assert world.answers(6) == EVEN
    assert balancer.stop() == 0
    assert world.balancer.state() == before


def test_what_a_crash_leaves_can_be_taken_away_by_a_short_run(nat_world: World) -> None:
    """docs/systemd.md gives this command with a timeout, which is not awaited here."""
    (command,) = re.findall(r"`timeout \d+ pktlb (run)`", DOCS.read_text())
    before = nat_world.balancer.state()
    nat_world.balance().kill()
    assert nat_world.balancer.state() != before
    assert nat_world.balancer.pktlb(command).stop() == 0
    assert nat_world.balancer.state() == before


def test_after_a_crash_another_vip_replaces_the_old_one(nat_world: World) -> None:
    world = nat_world
    before = world.balancer.state()
    world.balance("--snat", "10.0.2.201-10.0.2.203").kill()
    assert "10.0.1.100" in world.balancer.state()
    a, *_ = world.topology.backends.values()
    balancer = world.balancer.pktlb(
        "run", "--mode", "nat", "--vip", "10.0.1.101:81", "--backend", a
    )
    state = world.balancer.state()
    assert [it for it in ("10.0.1.100", "10.0.2.201", "10.0.2.203") if it in state] == []
    assert "10.0.1.101" in state
    assert world.answers(3, "http://10.0.1.101:81") == {"a": 3}
    assert balancer.stop() == 0
    assert world.balancer.state() == before


def test_after_a_crash_pktlb_starts_in_another_mode(dsr_world: World) -> None:
    world = dsr_world
    before = world.balancer.state()
    nat = ["run", "--mode", "nat", "--vip", "10.0.2.100:80", "--snat", "10.0.2.201"]
    nat += [it for address in dsr.BACKENDS.values() for it in ("--backend", address)]
    world.balance().kill()
    crashed = world.balancer.pktlb(*nat)
    assert {it.client for it in world.ask(6)} == {"10.0.2.201"}
    crashed.kill()
    balancer = world.balance()
    assert {it.client for it in world.ask(6)} == {"10.0.1.2"}
    assert balancer.stop() == 0
    assert world.balancer.state() == before


def test_after_a_crash_with_one_arm_nothing_is_left_in_the_way() -> None:
    """The guard and the VIP stay until the next start, so that clients wait and are not refused."""
    with serving(ONE_ARMED) as world:
        before = world.balancer.state()
        world.balance().kill()
        waits = world.client.run("curl", "-s", "-m", "1", world.url, check=False)
        assert waits.returncode == 28
        balancer = world.balance()
        assert world.answers(6) == EVEN
        assert balancer.stop() == 0
        assert world.balancer.state() == before


def test_a_second_pktlb_is_refused_and_does_not_disturb_the_first(world: World) -> None:
    first = world.balance()
    state = world.balancer.state()
    second = world.try_pktlb(*world.arguments())
    assert second.returncode == 3
    assert second.stdout == ""
    complaint = "pktlb: another `pktlb run` runs in this network namespace: process "
    assert second.stderr.startswith(complaint)
    assert world.balancer.state() == state
    assert world.answers(6) == EVEN
    assert first.status is None


def test_a_socket_that_any_user_can_bind_holds_up_no_start(nat_world: World) -> None:
    """An abstract name belongs to the first process that binds it, whoever runs it."""
    with nat_world.balancer.enter():
        squatter = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        squatter.bind("\0pktlb/run")
    with squatter:
        nat_world.balance()
        assert nat_world.answers(6) == EVEN


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_after_a_restart_under_load_old_connections_are_reset_and_new_ones_work(
    world: World, ending: str
) -> None:
    """pktlb forgets its flows when it ends, cleanly or not.

    From `ready` on new connections are served. Packets of old ones are left to the kernel, which
    resets them: a client learns it at once with its next packet. (A client that only waits learns
    nothing, as with any router that was exchanged.)
    """
    balancer = world.balance()
    file = world.lab.new_file(world.client, "payload")
    file.write_bytes(b"".join(blocks(20_000_000)))
    upload = world.client.start(
        *("curl", "-sv", "--limit-rate", "5M", "--max-time", "60"),
        *("--upload-file", str(file), f"{world.url}/upload"),
        ready="> PUT",
    )
    with world.client.enter():
        kept = socket.create_connection(world.vip, timeout=5)
    with closing(kept):
        kept.sendall(REQUEST)
        assert kept.recv(4000)
        getattr(balancer, ending)()
        world.balance()
        assert world.answers(6) == EVEN
        with pytest.raises(ConnectionResetError):
            talk(kept)
    assert upload.wait(5) in (55, 56)  # sending or receiving failed: not 28, "timed out"


def talk(connection: socket.socket) -> None:
    """Ask twice: the answer to the first packet may come while it is still being sent."""
    for _ in range(2):
        connection.sendall(REQUEST)
        connection.recv(4000)


def let_pass(seconds: float) -> None:
    """Sleep without a condition: the test tries a stop at just this moment."""
    due = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= due, seconds + 1, "it is time")
