"""Waits until something becomes true: by looking, with a deadline."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from netns.errors import LabError

POLL_INTERVAL: Final = 0.005
"Seconds between two looks: short beside anything a laboratory waits for."

Seen = TypeVar("Seen")


def wait_until(
    predicate: Callable[[], Seen], timeout: float, what: str, interval: float = POLL_INTERVAL
) -> Seen:
    """The predicate's first true value. Raises `LabError` if `what` does not happen within
    `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (seen := predicate()):
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:g} s in vain until {what}")
        time.sleep(interval)
    return seen
