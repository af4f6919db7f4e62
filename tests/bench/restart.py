"""How long frames wait over a restart: the longest delay of datagrams that are sent all the while.

    python -m tests.bench.restart [--restarts N] [--engine ENGINE]

One every two milliseconds, over a server and back; the median of so many restarts is printed, and
what was lost. To compare two versions, run it in both trees, by turns.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from netns import nat
from netns.host import ENGINE, pktlb_command
from netns.lab import require_root
from tests.net.world import World, serving

EVERY_S: Final = 0.002
BEFORE, AFTER = 100, 300
"Datagrams."
LAST_S: Final = 2.0


class Datagrams:
    """Sent and answered, each with a number."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sent: dict[int, float] = {}
        self.delays: list[float] = []

    def send(self, count: int) -> None:
        for number in range(len(self._sent), len(self._sent) + count):
            self._sent[number] = time.monotonic()
            self._sock.send(b"#%d" % number)
            time.sleep(EVERY_S)

    def hear(self) -> None:
        """Until nothing has come for a while."""
        try:
            while True:
                number = int(self._sock.recv(2048).rpartition(b"#")[2])
                self.delays.append(time.monotonic() - self._sent[number])
        except TimeoutError:
            return

    @property
    def lost(self) -> int:
        return len(self._sent) - len(self.delays)


def restart(world: World) -> Datagrams:
    """What became of datagrams before, during and after one."""
    with world.client.enter():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(sock):
        sock.connect(world.vip)
        sock.settimeout(LAST_S)
        datagrams = Datagrams(sock)
        hearing = threading.Thread(target=datagrams.hear)
        hearing.start()
        datagrams.send(BEFORE)
        command = world.balancer.start(*pktlb_command("restart"))
        while command.status is None:
            datagrams.send(1)
        if command.status:
            raise subprocess.CalledProcessError(command.status, "pktlb restart")
        datagrams.send(AFTER)
        hearing.join()
        return datagrams


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restart", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--restarts", type=int, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--engine", default="native", help="(%(default)s)")
    options = parser.parse_args(argv)
    require_root()
    os.environ[ENGINE] = f"--engine {options.engine}"
    with serving(nat.TOPOLOGY) as world:
        vip = world.topology.vip
        arguments = [f"{it}/udp" if it == vip else it for it in world.arguments()]
        world.balancer.pktlb(*arguments)
        rounds = [restart(world) for _ in range(options.restarts)]
    longest = [max(each.delays) * 1000 for each in rounds]
    lost = sum(each.lost for each in rounds)
    each = ", ".join(f"{delay:.1f}" for delay in longest)
    print(f"longest delay: {statistics.median(longest):.1f} ms, median of {each}; {lost} lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
