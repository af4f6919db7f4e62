"""CPU cores: who works on which, and how busy one was.

The balancer has core 0 to itself; whatever makes load, answers it or measures it runs on core 1.
A veth delivers in the context of its sender, so a receiving end whose work is to count for the
balancer gets a NAPI thread of its own (a thread of the kernel), which can be pinned like any other.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netns.errors import LabError
from netns.host import Host
from netns.waiting import wait_until

BALANCER: Final = 0
LOAD: Final = 1
PATIENCE: Final = 5.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
NANOSECOND: Final = 1e-9


def on(core: int, *argv: str) -> list[str]:
    """The command line that runs `argv` on one core."""
    return ["taskset", "-c", str(core), *argv]


def pin(pid: int, core: int) -> None:
    """Move all threads of a process to a core."""
    for task in tasks(pid):
        os.sched_setaffinity(task, {core})


def tasks(pid: int) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


def give_thread(host: Host, ifname: str, core: int) -> int:
    """Let a NAPI thread on `core` do the receiving of an interface; return its process id.

    The interface's name has to be unique on the machine: the thread is found by it.
    """
    host.run("ethtool", "-K", ifname, "gro", "on")
    host.run("sh", "-c", f"echo 1 >/sys/class/net/{ifname}/threaded")
    found = wait_until(lambda: napi_threads(ifname), PATIENCE, f"{ifname} has a NAPI thread")
    if len(found) != 1:
        raise LabError(f"expected one NAPI thread of {ifname}, found {len(found)}")
    os.sched_setaffinity(found[0], {core})
    return found[0]


def steer(host: Host, ifname: str, core: int) -> None:
    """Let the softirq work of an interface's receiving be done on a core."""
    host.run("sh", "-c", f"echo {1 << core:x} >/sys/class/net/{ifname}/queues/rx-0/rps_cpus")


def napi_threads(ifname: str) -> list[int]:
    """The threads called napi/IFNAME-NUMBER; the kernel cuts names after 15 characters."""
    running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in running if command_name(pid).startswith(f"napi/{ifname}-")]


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""  # it has ended meanwhile


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that a core has spent so far."""

    busy: float
    "For processes, for the kernel on their behalf, and in interrupts."
    stolen: float
    "For other guests of the machine that this one is a guest of."

    def __sub__(self, earlier: "Times") -> "Times":
        return Times(self.busy - earlier.busy, self.stolen - earlier.stolen)


def times(core: int) -> Times:
    """From /proc/stat: user nice system idle iowait irq softirq steal."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            return Times((user + nice + system + irq + softirq) / TICKS, steal / TICKS)
    raise LabError(f"the machine has no core {core}")


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def process_seconds(pid: int) -> float:
    """CPU time of a process, to the nanosecond (/proc/stat counts in ticks)."""
    total = 0
    for task in tasks(pid):
        total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total * NANOSECOND
