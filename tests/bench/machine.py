"""The machine that the figures belong to, and the versions of all that took part."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from pktlb import __version__

VERSIONS: Final = {
    "nftables": ("nft", "--version"),
    "HAProxy": ("haproxy", "-v"),
    "nginx": ("nginx", "-v"),
    "iperf3": ("iperf3", "--version"),
    "compiler": ("cc", "--version"),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A description, in the order in which it is to be read."""

    facts: dict[str, str]

    @classmethod
    def here(cls) -> Self:
        facts = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "CPU": cpu_model(),
            "cores": str(os.cpu_count()),
            "kernel": platform.release(),
            "Python": platform.python_version(),
            "pktlb": __version__,
            "load average at the start": f"{os.getloadavg()[0]:.2f}",
        }
        return cls(facts | {name: version(*argv) for name, argv in VERSIONS.items()})

    def __str__(self) -> str:
        return "  " + "\n  ".join(f"{name}: {value}" for name, value in self.facts.items())


def cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def version(*argv: str) -> str:
    """The first line in which a program says its version (nginx says it as a complaint)."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return (done.stdout + done.stderr).strip().partition("\n")[0]
