"""A program that runs in a host of a laboratory, its output kept in files."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from netns.errors import LabError
from netns.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parent.parent
"The directory that holds the packages pktlb and netns; every program can import them."

READY_TIMEOUT: Final = 10.0
"Seconds that a program may take to say that it is ready."


class Process:
    """A started program. It leads a session of its own, so that it can be signalled with all its
    children and a key pressed at the terminal does not reach it.
    """

    def __init__(self, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.argv = list(argv)
        self._out = log.with_suffix(".out")
        self._err = log.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def stdout(self) -> str:
        """The standard output up to now, also after the end."""
        return self._out.read_bytes().decode(errors="replace")

    @property
    def stderr(self) -> str:
        """The standard error up to now, also after the end."""
        return self._err.read_bytes().decode(errors="replace")

    @property
    def status(self) -> int | None:
        """Its exit status (minus the signal that killed it); None while it runs."""
        return self._child.poll()

    def __str__(self) -> str:
        return " ".join(self.argv)

    def wait_for(self, text: str, timeout: float = READY_TIMEOUT) -> None:
        """Return when `text` is in its standard output or error. Raises `LabError` after `timeout`
        seconds, or at once if the program ends before."""

        def said_or_ended() -> bool:
            return self.status is not None or text in self.stdout or text in self.stderr

        wait_until(said_or_ended, timeout, f"{self} says {text!r}")
        if text not in self.stdout and text not in self.stderr:
            complaint = self.stderr.strip() or self.stdout.strip() or "no word why"
            raise LabError(f"{self} ended with status {self.status}: {complaint}")

    def send_signal(self, number: int) -> None:
        """Send a signal to it and all its children."""
        if self.status is None:
            os.killpg(self.pid, number)

    def wait(self, timeout: float = READY_TIMEOUT) -> int:
        """Wait for its end; return the exit status."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"waited {timeout:g} s in vain until {self} ends") from None

    def stop(self, number: int = signal.SIGTERM, timeout: float = READY_TIMEOUT) -> int:
        """Send a signal that ends it, and wait for that; return the exit status."""
        self.send_signal(number)
        return self.wait(timeout)

    def kill(self) -> int:
        """End it without asking, as a crash would."""
        return self.stop(signal.SIGKILL)
