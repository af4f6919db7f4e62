"""What a host needs of the laboratory that it belongs to."""

from pathlib import Path
from typing import Protocol

from netns.kernel import Kernel
from netns.process import Process
from netns.step import Step


class Network(Protocol):
    """A laboratory as its hosts see it; `netns.lab.Lab` is one."""

    name: str
    "Unique on this machine: the names of the namespaces begin with it."
    ipv6: bool
    "Whether the hosts have IPv6, beside IPv4."
    kernel: Kernel
    processes: list[Process]
    "All programs that the hosts have started."

    @property
    def directory(self) -> Path:
        """The directory of output and captures."""

    def do(self, step: Step) -> None:
        """Take a step, and remember it. Raises `RefusedError`."""

    def new_file(self, host: str, what: str) -> Path:
        """A path for output of something that runs on a host; no call returns one twice."""
