"""Python's garbage collector, where it would only look again and again at what stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Many values and no cycles among them: those of a file, and what imports leave."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def quieten(engine: str) -> None:
    """Keep the collector from pauses that grow with the services or with the flow table.

    Services and flows make no cycles, so counting references frees them, and what exists now is not
    looked at again. The reference engine makes values for each flow on this heap: with it, only the
    young generations are searched for the cycles of other code.
    """
    if gc.get_freeze_count():  # of a start before this one, which has left cycles
        gc.unfreeze()
        gc.collect()
    gc.freeze()
    if engine == "python":
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, 1_000_000)
