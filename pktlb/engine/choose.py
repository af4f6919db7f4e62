"""The choice of the engine, and how many workers it gets.

The native engine may not have been built: this module alone imports it, and only where it is used.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.engine import Engine
from pktlb.engine.loop import PythonEngine
from pktlb.engine.plane import Plane
from pktlb.engine.wire.port import Port
from pktlb.engine.wire.tun import Tun
from pktlb.errors import ConfigError, KernelError

log: Final = logging.getLogger(__name__)

_SYS: Final = Path("/sys/class/net")


def choose(asked: str) -> str:
    """The engine to use, "native" or "python", where the operator asked for "auto", "native" or
    "python". Raises `ConfigError` where "native" was asked for and is not built."""
    if asked == "python":
        return asked
    try:
        import pktlb.engine.native._core  # noqa: F401, PLC0415 - it may not have been built
    except ImportError as error:
        if asked == "native":
            raise ConfigError(f"--engine native: it is not built here ({error})") from error
        log.warning("the native engine is not built here (%s): using the slow one", error)
        return "python"
    return "native"


def worker_count(asked: int | None, engine: str, interfaces: Sequence[str]) -> int:
    """How many workers `engine` gets: as many as the operator asked for. None: one a core, but no
    more than the receive queues of the interface that has most. "python" always has one."""
    if engine == "python":
        return 1
    if asked is not None:
        return asked
    return max(
        1, min(len(os.sched_getaffinity(0)), max(map(_receive_queues, interfaces), default=1))
    )


def _receive_queues(interface: str) -> int:
    """How many queues an interface receives on; one where the kernel does not tell."""
    return len(list((_SYS / interface / "queues").glob("rx-*"))) or 1


def make_plane(engine: str, tables: Tables, limits: Limits) -> Plane:
    """The plane of an engine; raises `KernelError` where there is not the memory for it."""
    if engine == "python":
        return Dataplane(tables, limits)
    from pktlb.engine.native.dataplane import NativeDataplane  # noqa: PLC0415 - as above

    try:
        return NativeDataplane(tables, limits)
    except MemoryError as error:
        raise KernelError(f"no memory for --max-flows {limits.max_flows}") from error


def make_engine(
    plane: Plane, ports: Sequence[Port], tun: Tun, busy_us: int, realtime: bool | None
) -> Engine:
    """The engine of a plane that `make_plane` made. For `busy_us` and `realtime`, which the native
    engine alone has, see `NativeEngine`. Raises `ConfigError` where there are too many ports."""
    if isinstance(plane, Dataplane):
        return PythonEngine(plane, ports, tun)
    from pktlb.engine.native.dataplane import NativeDataplane  # noqa: PLC0415 - as above
    from pktlb.engine.workers import MAX_PORTS, NativeEngine  # noqa: PLC0415

    if len(ports) > MAX_PORTS:
        raise ConfigError(f"--interface: expected at most {MAX_PORTS}, these are {len(ports)}")
    assert isinstance(plane, NativeDataplane)
    return NativeEngine(plane, ports, tun, busy_us, realtime)
