"""A capture of one interface by tcpdump, complete from its start to its stop.

tcpdump says on standard error when it listens; from then on every frame is in its socket. At the
end its statistics (SIGUSR1) tell whether it has written all that the kernel gave it, so nothing
is lost between the wire and the file.
"""

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from netns.process import Process
from netns.waiting import wait_until

if TYPE_CHECKING:
    from scapy.packet import Packet

BUFFER_KIB = 16 * 1024
STATISTICS = re.compile(
    r"(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped"
)
SETTLE_TIMEOUT = 10.0
POLL_INTERVAL = 0.01


def tcpdump(ifname: str, bpf_filter: str, file: Path) -> list[str]:
    """The command line: it writes each frame at once (-U), with a time in nanoseconds."""
    options = f"-i {ifname} -n -U --immediate-mode --time-stamp-precision=nano -B {BUFFER_KIB}"
    return ["tcpdump", *options.split(), "-Z", "root", "-w", str(file), bpf_filter]


class Capture:
    """A running tcpdump; `stop` gives the frames."""

    def __init__(self, process: Process, file: Path) -> None:
        self.file = file
        self._process = process
        process.wait_for("listening on")

    def stop(self) -> "list[Packet]":
        """End the capture; all frames in order, as scapy packets, each with its `time`."""
        self._settle()
        self._process.stop(signal.SIGINT)
        return read_packets(self.file)

    def _settle(self) -> None:
        """Wait until tcpdump has written what the kernel has captured for it."""
        before: tuple[int, ...] = ()

        def settled() -> bool:
            nonlocal before
            written, received, dropped = now = self._statistics()
            unchanged, before = now == before, now
            return unchanged or written + dropped == received

        wait_until(settled, SETTLE_TIMEOUT, "tcpdump has written everything", POLL_INTERVAL)

    def _statistics(self) -> tuple[int, int, int]:
        """Packets written, received and dropped, as tcpdump counts them now."""
        seen = len(STATISTICS.findall(self._process.stderr))
        self._process.send_signal(signal.SIGUSR1)

        def fresh() -> list[tuple[str, str, str]]:
            return STATISTICS.findall(self._process.stderr)[seen:]

        written, received, dropped = wait_until(fresh, SETTLE_TIMEOUT, "tcpdump counts")[0]
        return int(written), int(received), int(dropped)


def read_packets(file: Path) -> "list[Packet]":
    """The frames in a file. Only this function loads scapy, which takes long."""
    from scapy.layers import inet, inet6, l2  # noqa: F401, PLC0415  (they teach rdpcap)
    from scapy.utils import rdpcap  # noqa: PLC0415

    return list(rdpcap(str(file)))
