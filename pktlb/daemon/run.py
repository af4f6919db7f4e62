"""`pktlb run`: starts everything, follows what is asked of it, and undoes it all in the end."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, Final

from pktlb.config.collector import quieten, uncollected
from pktlb.config.config import Config
from pktlb.control.events import Events
from pktlb.control.server import serving
from pktlb.daemon.arrival import arrive
from pktlb.daemon.balancer import Balancer
from pktlb.daemon.operation import Operation
from pktlb.daemon.report import Report
from pktlb.daemon.restart.handover import Handover
from pktlb.daemon.restart.past import Past
from pktlb.daemon.restart.successor import receive
from pktlb.daemon.start import start
from pktlb.daemon.watch import ReplacedError, Watch
from pktlb.errors import ConfigError, KernelError, PktlbError
from pktlb.host import fdstore
from pktlb.host.netlink import Kernel
from pktlb.host.presence import claim, ready, watchdog_interval

log: Final = logging.getLogger(__name__)

_AGAIN_S: Final = 0.5


async def run(
    wanted: Config | ConfigError, source: str | None = None,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Serve until cancelled.

    `source` is the file that `wanted` was read from, and that is read again at a reload; the
    settings `beside` it count for more. Raises `ConfigError` or `KernelError` before it is ready.
    """
    async with AsyncExitStack() as stack:
        handed = receive()
        lock = stack.enter_context(claim("run", handed.lock if handed else None))
        events = Events()
        operation = Operation(source, beside, events, lock.fileno())
        config, past = await arrive(handed, wanted if source or not handed else None)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, log.info, "not ready yet")
        while True:
            try:
                async with AsyncExitStack() as parts:
                    kernel = await parts.enter_async_context(Kernel())
                    with uncollected():
                        watch = await start(config, kernel, parts, events, past)
                    report = Report(watch.balancer.engine)
                    parts.callback(report.explain)
                    loop.add_signal_handler(signal.SIGUSR1, report.explain)
                    await _serve(operation, watch, report, stack, handed)
            except ReplacedError as news:
                log.warning("%s; going on with the new one", news)
                config, past = operation.config, _of_this_process(operation.balancer)
            except (ConfigError, KernelError) as error:
                if not operation.is_serving:
                    raise
                log.error("starting over does not work yet: %s", error)
                await asyncio.sleep(_AGAIN_S)


def _of_this_process(balancer: Balancer) -> Past:
    """What a balancer that comes instead of this one, in this process, takes over."""
    return Past(balancer.plane, balancer.site.placement.names, balancer.leaving)


async def _serve(operation: Operation, watch: Watch, report: Report,
                 stack: AsyncExitStack, handed: Handover | None) -> None:  # fmt: skip
    """Be at work; the control socket is opened the first time, and stays."""
    balancer = operation.balancer = watch.balancer
    quieten(balancer.engine.name)
    if not operation.is_serving:
        fd = handed.control if handed and handed.control >= 0 else None
        operation.server = await stack.enter_async_context(serving(operation, balancer.config, fd))
        if operation.source:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, lambda: operation.start(_reloaded(operation)))
    ready(balancer.describe())
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
