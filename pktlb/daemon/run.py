"""`pktlb run`: starts everything, follows what is asked of it, and undoes it all in the end."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from pktlb.config.collector import quieten, uncollected
from pktlb.config.config import Config
from pktlb.control.events import Events
from pktlb.daemon.arrival import arrive
from pktlb.daemon.operation import Operation
from pktlb.daemon.report import Report
from pktlb.daemon.restart.successor import receive
from pktlb.daemon.rights import needs_of
from pktlb.daemon.start import start
from pktlb.daemon.surroundings import Surroundings
from pktlb.daemon.watch import Watch
from pktlb.errors import ConfigError, PktlbError
from pktlb.host import fdstore, privilege
from pktlb.host.listeners import Listeners
from pktlb.host.lock import claim
from pktlb.host.netlink import Kernel
from pktlb.host.presence import ready, watchdog_interval

log: Final = logging.getLogger(__name__)


def load_server() -> None:
    """Load the server of the control socket: aiohttp takes as long as all the rest."""
    import_module("pktlb.control.server")


async def run(
    wanted: Config | ConfigError, source: str | None = None,
    beside: Mapping[str, Any] = MappingProxyType({}), insists: bool = False,
) -> None:  # fmt: skip
    """Serve until cancelled. One that `insists` adds addresses that other machines use.

    `source` is the file that `wanted` was read from, and that is read again at a reload; the
    settings `beside` it count for more. Raises `ConfigError` or `KernelError` before it is ready.
    """
    async with AsyncExitStack() as stack:
        handed = receive()
        lock = stack.enter_context(claim("run", handed.lock if handed else None))
        events = Events()
        config, past = await arrive(handed, wanted if source or not handed else None)
        fd = handed.control if handed and handed.control >= 0 else None
        listeners = Listeners()
        listeners.read()  # with the names of their processes, which are not seen later
        privilege.give_up(needs_of(config, source, has_control=fd is not None))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, log.info, "not ready yet")
        kernel = await stack.enter_async_context(Kernel())
        with uncollected():
            # While a start waits for answers to its probes, there is time to load the server. Until
            # `start` can undo what was handed over, nothing may be waited for.
            loading = None if handed else asyncio.ensure_future(asyncio.to_thread(load_server))
            if handed:
                load_server()
            # A file was right once. Flags were typed now: what the machine lacks is a slip.
            may_wait = source is not None or handed is not None
            watch = await start(config, kernel, stack, events, past, may_wait, insists)
            if loading:
                await loading
        balancer = watch.balancer
        report = Report(balancer.engine)
        stack.callback(report.explain)
        loop.add_signal_handler(signal.SIGUSR1, report.explain)
        quieten(balancer.engine.name)
        surroundings = Surroundings(balancer, listeners)
        await surroundings.tell_at_start()
        operation = Operation(balancer, source, beside, lock.fileno(), surroundings)
        from pktlb.control.server import serving  # noqa: PLC0415 - see above

        operation.server = await stack.enter_async_context(serving(operation, config, fd))
        if source:
            loop.add_signal_handler(signal.SIGHUP, lambda: operation.start(_reloaded(operation)))
        ready(balancer.describe())
        await _work(operation, watch, report)


async def _work(operation: Operation, watch: Watch, report: Report) -> None:
    """Be at work until cancelled; then leave everything to the next process, where there is one."""
    try:
        interval_s = watchdog_interval()
        await watch.work(report.watch(), *([report.feed(interval_s)] if interval_s else []))
    except asyncio.CancelledError:
        if fdstore.is_restarting():
            _leave(operation, report)
        raise


def _leave(operation: Operation, report: Report) -> None:
    """End without undoing anything: the service manager starts the next process at once."""
    report.explain()
    try:
        operation.leave()
    except OSError as error:
        log.error("the service manager keeps nothing (FileDescriptorStoreMax=?): %s", error)
        return
    log.info("everything is left to the next one")
    os._exit(0)


async def _reloaded(operation: Operation) -> None:
    """SIGHUP: the file may have changed."""
    try:
        async with operation.changing:
            await operation.reload()
    except PktlbError as error:
        for line in error.lines:
            log.error("not reloaded: %s", line)
