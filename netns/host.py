"""A host of a laboratory: a network namespace with interfaces, addresses, routes and programs."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from netns import namespace
from netns.capture import Capture, tcpdump
from netns.errors import LabError
from netns.network import Network
from netns.process import READY_TIMEOUT, Process
from netns.step import AddAddress, AddRoute, AddRules, SetOffloads, SetSysctls

SERVER: Final = Path(__file__).with_name("server.py")
RUN_TIMEOUT: Final = 60.0
RECOGNISABLE: Final = 160

SERVER_READY: Final = "listening"
PKTLB_READY: Final = "pktlb: ready"

ENGINE: Final = "PKTLB_LAB_ENGINE"
"Environment variable: flags that choose the engine of each `pktlb run` in a laboratory."

INDEXES_PER_HOST: Final = 100

STATE: Final = (
    "ip -details address show",
    "ip route show table all",
    "ip rule show",
    "ip -6 rule show",
    "ip neighbour show nud permanent",
    "nft --stateless list ruleset",
    "sysctl -a --pattern ^net\\.ipv[46]\\.(conf|ip_forward)",
)
"Commands that print all of a host that a program may change; packets do not change it."


class Host:
    """One host. `Lab.host` makes it."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.network = network
        self.name = name
        self.number = number
        self.namespace = f"{network.name}-{name}"
        self.macs: dict[str, str] = {}
        "The MAC addresses of its interfaces, by interface."

    def __str__(self) -> str:
        return self.name

    def new_mac(self, ifname: str) -> str:
        """The MAC address for one more interface: locally administered, with the number of the host
        and of the interface in the last bytes."""
        self.macs[ifname] = mac = f"02:00:00:00:{self.number:02x}:{len(self.macs) + 1:02x}"
        return mac

    def new_index(self) -> int:
        """An interface number that no other host of the laboratory has."""
        return self.number * INDEXES_PER_HOST + len(self.macs) + 1

    def address(self, ifname: str, address: str) -> None:
        """Give an interface an address, such as 10.0.1.2/24."""
        self.network.do(AddAddress(self.namespace, ifname, address))

    def route(self, destination: str, via: str, ifname: str = "") -> None:
        """Route a prefix, or `default` (IPv6: `::/0`), to a neighbour, on an interface if given."""
        self.network.do(AddRoute(self.namespace, destination, via, ifname))

    def rules(self, rules: str) -> None:
        """Load nftables rules."""
        self.network.do(AddRules(self.namespace, rules))

    def forwards(self) -> None:
        """Make it a router for IPv4, and for IPv6 if the laboratory has that."""
        self.sysctl("net.ipv4.ip_forward", "1")
        if self.network.ipv6:
            self.sysctl("net.ipv6.conf.all.forwarding", "1")

    def sysctl(self, key: str, value: str) -> None:
        """Set a key below `net.` for this host."""
        self.network.do(SetSysctls(self.namespace, {key: value}))

    def offloads(self, ifname: str, on: bool) -> None:
        """Leave segmentation and checksums to the device, or let the kernel do them itself."""
        self.network.do(SetOffloads(self.namespace, ifname, on))

    def enter(self) -> AbstractContextManager[None]:
        """Let the current thread live in this host, to open sockets there."""
        return namespace.entered(self.namespace)

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in this host, as a person would type it."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that name the control socket of this host's balancer, as all hosts share one
        file system."""
        return {"PKTLB_SOCKET": str(self.network.directory / f"{self.name}.sock")}

    def ask(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of pktlb to its end."""
        return self.run(*pktlb_command(*arguments), check=check)

    def run(
        self, *argv: str, timeout: float = RUN_TIMEOUT, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. Raises `LabError` after `timeout` seconds, and if the program
        fails and `check` is set."""
        line = shortened(f"{self.name}: {' '.join(argv)}")
        try:
            done = subprocess.run(
                self.command(*argv),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env={**os.environ, **self.environment},
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"waited {timeout:g} s in vain until {line} ends") from None
        if check and done.returncode != 0:
            complaint = done.stderr.strip() or done.stdout.strip() or "no word why"
            raise LabError(f"{line}: status {done.returncode}: {complaint}")
        return done

    def start(self, *argv: str, ready: str = "", timeout: float = READY_TIMEOUT) -> Process:
        """Start a program; return when it runs, and has printed `ready` if that is given."""
        log = self.network.new_file(self.name, Path(argv[0]).name)
        process = Process(self.command(*argv), log, self.environment)
        self.network.processes.append(process)
        if ready:
            process.wait_for(ready, timeout)
        return process

    def serve(self, port: int = 80, address: str = "0.0.0.0", name: str = "") -> Process:
        """Start the HTTP and UDP server, by default under the host's name; it listens on return."""
        return self.start(
            *server_command(name or self.name, f"{address}:{port}"), ready=SERVER_READY
        )

    def pktlb(self, *arguments: str) -> Process:
        """Start `pktlb ARGUMENTS`; return when it has said that it is ready."""
        return self.start(*pktlb_command(*arguments), ready=PKTLB_READY)

    def capture(self, ifname: str, bpf_filter: str = "") -> Capture:
        """Record the frames of an interface; tcpdump listens on return."""
        file = self.network.new_file(self.name, ifname).with_suffix(".pcap")
        return Capture(self.start(*tcpdump(ifname, bpf_filter, file)), file)

    def counters(self, ifname: str) -> dict[str, int]:
        """The counters of an interface: rx_packets, tx_packets, rx_bytes, tx_bytes and so on."""
        return self.network.kernel.counters(self.namespace, ifname)

    def interfaces(self) -> dict[str, str]:
        """The interfaces that there are now, with their MAC addresses."""
        return self.network.kernel.links(self.namespace)

    def state(self) -> str:
        """All that a program may change here, as text, to be compared before and after."""
        return "".join(self.run(*line.split()).stdout for line in STATE)


class Switch(Host):
    """A host that is nothing but a bridge: it has no address and passes frames on."""

    bridge: Final = "br0"


def shortened(line: str) -> str:
    """The beginning of a command line, by which people recognise it."""
    return line if len(line) <= RECOGNISABLE else f"{line[:RECOGNISABLE]} …"


def server_command(name: str, listen: str) -> list[str]:
    """The command line of netns/server.py. -IS makes the start quick; the server needs only the
    standard library."""
    return [sys.executable, "-IS", str(SERVER), "--name", name, "--listen", listen]


def pktlb_command(*arguments: str) -> list[str]:
    """The command line of pktlb, which does not have to be installed."""
    if arguments[:1] == ("run",) and not {"--engine", "-c"} & set(arguments):
        arguments = ("run", *os.environ.get(ENGINE, "").split(), *arguments[1:])
    return [sys.executable, "-m", "pktlb", *arguments]
