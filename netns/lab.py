"""A laboratory: hosts, switches and cables, made of network namespaces, gone at the end.

    with Lab("try") as lab:
        client, gw = lab.host("client"), lab.host("gw")
        lab.link(client, "eth0", gw, "lan")
        client.address("eth0", "10.0.1.2/24")
        gw.address("lan", "10.0.1.1/24")
        print(client.run("ping", "-c1", "10.0.1.1").stdout)

Each laboratory has a random name (`try-3f2a`), which its namespaces bear (`try-3f2a-client`), so
any number of them can run side by side. Interface names, addresses and MAC addresses repeat: the
namespaces keep them apart. Whatever way the owner ends, the janitor takes everything away.

With `rehearse=True` nothing is done; `script()` then tells which commands would do it.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from netns import janitor, namespace
from netns.errors import LabError, RefusedError, UsageError
from netns.host import Host, Switch
from netns.kernel import Kernel, NetlinkError
from netns.process import ROOT, Process
from netns.step import AddBridge, AddCable, AddHost, End, SetSysctls, Step

NAME: Final = re.compile(r"[a-z][a-z0-9]{0,14}")
TAG: Final = re.compile(r"[a-z0-9]{1,15}")
TAG_BYTES: Final = 2
SWEEP_TIMEOUT: Final = 30.0

KEPT: Final = "kept"
"The mark of a laboratory that outlives its owner: a file in its directory."

HOST_SETTINGS: Final = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "2",
}
"A host as Debian sets it up; a new namespace would take the settings of the machine around it."

WITHOUT_IPV6: Final = {
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
}
"No router solicitations and the like in captures and counters."

WITH_IPV6: Final = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.forwarding": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv6.conf.default.router_solicitations": "0",
}
"Link-local addresses can be used at once, and no host looks for routers."


class Lab:
    """A network of namespaces, for the length of a `with` block."""

    def __init__(
        self, kind: str, tag: str = "", *, ipv6: bool = False, rehearse: bool = False
    ) -> None:
        check_name(kind, NAME)
        if tag:
            check_name(tag, TAG)
        self.kind = kind
        self.name = f"{kind}-{tag}" if tag else ""
        "The name of this run; a random one is chosen on entering."
        self.ipv6 = ipv6
        self.rehearse = rehearse
        self.hosts: dict[str, Host] = {}
        self.processes: list[Process] = []
        self.kernel = Kernel()
        self.steps: list[Step] = []
        "All that has been done so far."
        self._files = 0
        self._janitor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self.rehearse:
            self.name = self.name or f"{self.kind}-lab"
            return self
        require_root()
        self._claim_name()
        self._janitor = hire_janitor(self.name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def directory(self) -> Path:
        """The directory of output and captures; the janitor removes it with the laboratory."""
        return janitor.LABS / self.name

    def do(self, step: Step) -> None:
        """Take a step, and remember it."""
        self.steps.append(step)
        if self.rehearse:
            return
        try:
            step.apply(self.kernel)
        except (OSError, NetlinkError) as error:
            raise RefusedError(f"refused: {step.shell()}: {error}") from error

    def script(self) -> str:
        """The commands that do what has been done so far."""
        return "\n".join(step.shell() for step in self.steps)

    def host(self, name: str) -> Host:
        """A new host; it forwards nothing before `forwards`."""
        return self._add(Host(self, self._new_name(name), len(self.hosts) + 1))

    def bridge(self, name: str) -> Switch:
        """A new switch."""
        switch = Switch(self, self._new_name(name), len(self.hosts) + 1)
        self._add(switch)
        mac = switch.new_mac(switch.bridge)
        self.do(AddBridge(switch.namespace, switch.bridge, mac))
        return switch

    def link(
        self, left: Host, left_ifname: str, right: Host, right_ifname: str, mtu: int = 1500
    ) -> None:
        """Lay a cable between two hosts; the end at a switch becomes a port of it."""
        index = left.new_index()
        self.do(AddCable(end(left, left_ifname), end(right, right_ifname), index, mtu))

    def new_file(self, host: Host | str, what: str) -> Path:
        """A path for output of something that runs on `host`, never given twice."""
        self._files += 1
        return self.directory / f"{self._files:03}-{host}-{what}"

    def keep(self) -> None:
        """Let the laboratory outlive its owner; `netns.janitor.sweep` takes it down later."""
        (self.directory / KEPT).touch()
        self._dismiss_janitor(janitor.KEEP)
        self.processes.clear()
        self.kernel.close()

    def close(self) -> None:
        """Take everything down; the janitor does it, as it would after a crash."""
        self.kernel.close()
        self._dismiss_janitor(b"")
        for process in self.processes:
            process.wait()  # it is dead already: this only collects its exit status

    def _dismiss_janitor(self, last_word: bytes) -> None:
        if self._janitor is None:
            return
        self._janitor.communicate(last_word, SWEEP_TIMEOUT)
        self._janitor = None

    def _add(self, host: Host) -> Host:
        self.hosts[host.name] = host
        self.do(AddHost(host.namespace))
        settings = HOST_SETTINGS | (WITH_IPV6 if self.ipv6 else WITHOUT_IPV6)
        self.do(SetSysctls(host.namespace, settings))
        return host

    def _new_name(self, name: str) -> str:
        check_name(name, NAME)
        if name in self.hosts:
            raise UsageError(f"the laboratory has a host {name} already")
        return name

    def _claim_name(self) -> None:
        """Take a name that no other laboratory has. Making the directory decides whose it is."""
        wanted = self.name
        while True:
            self.name = wanted or f"{self.kind}-{secrets.token_hex(TAG_BYTES)}"
            if not namespace.names(self.name) and self._make_directory():
                return
            if wanted:
                raise UsageError(f"there is a laboratory {wanted} already")

    def _make_directory(self) -> bool:
        """Make the directory of the name; whether it was not there before."""
        try:
            self.directory.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            return False
        return True


def require_root() -> None:
    """Raise `RefusedError` now if a laboratory would fail later."""
    if os.geteuid() != 0:
        raise RefusedError("network namespaces need root: run this as root, or with sudo")
    if shutil.which("ip") is None:
        raise RefusedError("the command `ip` is missing: install the package iproute2")


def end(host: Host, ifname: str) -> End:
    """The end of a cable at a host; it gets the host's next MAC address."""
    bridge = host.bridge if isinstance(host, Switch) else ""
    return End(host.namespace, ifname, host.new_mac(ifname), bridge)


def check_name(name: str, pattern: re.Pattern[str]) -> None:
    """Raise `UsageError` if a name cannot be a part of file names and commands."""
    if not pattern.fullmatch(name):
        raise UsageError(f"{name!r} is not a name of at most 15 small letters and digits")


def hire_janitor(run: str) -> subprocess.Popen[bytes]:
    """Start the janitor of a laboratory, which notices by itself when this process ends."""
    try:
        return subprocess.Popen(
            [sys.executable, "-S", "-m", "netns.janitor", run],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
    except OSError as error:
        raise LabError(f"cannot start the janitor of {run}: {error}") from error
