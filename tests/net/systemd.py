"""A systemd of a test's own: PID 1 in namespaces, on the network of a laboratory's host.

It has its own cgroup, /run and /dev/net, and starts only the given units. So a unit is tried with
all that systemd does to the process: user, capabilities, mounts, devices, seccomp.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netns.host import Host
from netns.process import Process
from netns.waiting import wait_until

_OUTSIDE: Final = """
set -e
mount --make-rprivate /
mount -t cgroup2 none "$1/cgroup"
mkdir -p "$1/cgroup/$2"
echo $$ >"$1/cgroup/$2/cgroup.procs"
exec unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --mount-proc \
    sh -c "$3" boot "$1"
"""
_INSTALLED: Final = """
mkdir "$1/root"
mount -t tmpfs none "$1/root"
cd "$1/root"
mkdir upper work merged
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work merged
cd merged
mount -t proc none proc
mount --rbind /dev dev
mount --rbind /sys sys
mount --bind "$1" ".$1"
pivot_root . mnt
umount -l /mnt
rm -f /usr/sbin/policy-rc.d # of images of containers: it keeps packages from stopping services
dpkg --install "$1/package.deb" >"$1/dpkg" 2>&1
"""
_INSIDE: Final = """
set -e
mount --make-rprivate /
@installed@
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mount -t tmpfs none /dev/net
mknod -m 666 /dev/net/tun c 10 200
mkdir -p /run/systemd
cp -r "$1/units" /run/systemd/system
exec env -i container=pktlb PATH="$PATH" \
    /lib/systemd/systemd --unit=idle.target --log-target=console --show-status=no
"""
_CLEAN: Final = """
mount --make-rprivate /
mount -t cgroup2 none "$1/cgroup"
find "$1/cgroup/$2" -depth -type d -exec rmdir {} +
"""
_IDLE: Final = "[Unit]\nDescription=Nothing\nDefaultDependencies=no\n"


@dataclass(frozen=True, slots=True)
class Manager:
    """A running systemd."""

    pid: int
    "The process id of its PID 1 in the laboratory."

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program beside it."""
        enter = ("nsenter", f"--target={self.pid}", "-m", "-p", "-n", "-i", "-u", "-C")
        return subprocess.run(
            [*enter, *argv], check=check, capture_output=True, text=True, timeout=60
        )

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("systemctl", *arguments, check=check).stdout

    def show(self, service: str, what: str) -> str:
        """A property of a service."""
        return self.systemctl("show", "--value", f"--property={what}", service).strip()

    def status_of(self, service: str) -> dict[str, str]:
        """/proc/PID/status of a service's process."""
        path = f"/proc/{self.show(service, 'MainPID')}/status"
        lines = self.run("cat", path).stdout.splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@contextmanager
def booted(
    host: Host, directory: Path, units: dict[str, str], package: Path | None = None
) -> Iterator[Manager]:
    """systemd on `host` with these unit files; all of it ends with the context.

    With a package, in a copy of the machine's files in which it is installed.
    """
    if package:
        shutil.copy(package, directory / "package.deb")
    inside = _INSIDE.replace("@installed@", _INSTALLED if package else "")
    (directory / "cgroup").mkdir()
    for name, text in {"idle.target": _IDLE, **units}.items():
        file = directory / "units" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    group = f"pktlb-{host.namespace}"
    outside = ("unshare", "--mount", "sh", "-c")
    init = host.start(*outside, _OUTSIDE, "boot", str(directory), group, inside)
    try:
        manager = Manager(_first_process(init))
        wait_until(lambda: _is_up(manager), 20, "systemd runs")
        yield manager
    finally:
        init.kill()
        clean = [*outside, _CLEAN, "clean", str(directory), group]
        wait_until(lambda: not subprocess.run(clean, check=False, capture_output=True).returncode,
                   10, "its cgroup is empty")  # fmt: skip


def _first_process(process: Process) -> int:
    """PID 1 of what the scripts have made, once it is systemd."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def found() -> list[int]:
        pids = [int(pid) for pid in children.read_text().split()]
        return [pid for pid in pids if _name(pid) == "systemd"]

    return wait_until(found, 20, "there is a PID 1")[0]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_up(manager: Manager) -> bool:
    asked = manager.run("systemctl", "is-system-running", check=False)
    return asked.stdout.strip() in ("running", "degraded")
