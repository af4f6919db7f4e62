"""`pktlb run`: starts everything, follows what is asked of it, and undoes it all in the end."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, Final

from pktlb.config import file
from pktlb.config.collector import uncollected
from pktlb.config.config import Config
from pktlb.control.events import Events
from pktlb.control.server import serving
from pktlb.daemon.balancer import Balancer, ReplacedError, abandon
from pktlb.daemon.operation import Operation
from pktlb.daemon.report import Report
from pktlb.daemon.restart.bridge import Bridge
from pktlb.daemon.restart.handover import Handover, receive
from pktlb.daemon.restart.past import Past
from pktlb.daemon.site import Served, placed
from pktlb.engine.choose import choose
from pktlb.errors import ConfigError, KernelError, PktlbError
from pktlb.host import fdstore
from pktlb.host.netlink import Kernel
from pktlb.host.presence import claim, ready, watchdog_interval
from pktlb.plan.change import difference, said
from pktlb.plan.footprint import backend_addresses
from pktlb.plan.leaving import Leaver, leavers

log: Final = logging.getLogger(__name__)

_AGAIN_S: Final = 0.5


async def _rehearsed(wanted: Config | ConfigError, past: Past) -> Config:
    """What is wanted; `ConfigError` where that is one, or the machine has no way for it."""
    if isinstance(wanted, ConfigError):
        raise wanted
    choose(wanted.engine)
    async with Kernel() as kernel:
        machine = await kernel.read(backend_addresses(wanted.services))
        placed(wanted, Served(wanted), machine, {}, past.known(machine))
    return wanted


async def run(
    wanted: Config | ConfigError, source: str | None = None,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Serve until cancelled; `source` is the file that says so, and may say something else later,
    but for the settings `beside` it.

    Raises `ConfigError` or `KernelError` before it is ready. Where something was handed over, what
    was served before goes on instead of what cannot be.
    """
    async with AsyncExitStack() as stack:
        handed = receive()
        lock = stack.enter_context(claim("run", handed.lock if handed else None))
        events = Events()
        operation = Operation(source, beside, events, lock.fileno())
        bridge = Bridge(*handed.bridge) if handed and handed.bridge else None
        past = Past(handover=handed, bridge=bridge)
        if handed:
            before = file.read(handed.config, "what was handed over")
            past = past._replace(backends=frozenset(backend_addresses(before.services)))
            config = await _inherited(before, wanted if source else None, past)
            past = past._replace(leaving=leavers(before, config, _left_behind(handed)))
        elif isinstance(wanted, ConfigError):
            raise wanted
        else:
            config = wanted
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, log.info, "not ready yet")
        while True:
            try:
                async with AsyncExitStack() as parts:
                    kernel = await parts.enter_async_context(Kernel())
                    with uncollected():
                        balancer = await Balancer.start(config, kernel, parts, events, past)
                    report = Report(balancer.engine)
                    parts.callback(report.explain)
                    loop.add_signal_handler(signal.SIGUSR1, report.explain)
                    await _serve(operation, balancer, report, stack, handed)
                    handed = None
            except ReplacedError as news:
                log.warning("%s; going on with the new one", news)
                config, past = operation.balancer.config, operation.balancer.past
            except (ConfigError, KernelError) as error:
                if not operation.is_serving:
                    raise
                log.error("starting over does not work yet: %s", error)
                await asyncio.sleep(_AGAIN_S)


async def _serve(operation: Operation, balancer: Balancer, report: Report,
                 stack: AsyncExitStack, handed: Handover | None) -> None:  # fmt: skip
    """Be at work; the control socket is opened the first time, and stays."""
    _quieten_collector(balancer.engine.name)
    if not operation.is_serving:
        fd = handed.control if handed and handed.control >= 0 else None
        operation.balancer = balancer
        operation.server = await stack.enter_async_context(serving(operation, balancer.config, fd))
        if operation.source:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, lambda: operation.start(_reloaded(operation)))
    operation.balancer = balancer
    ready(balancer.describe())
    try:
        interval_s = watchdog_interval()
        await balancer.work(report.watch(), *([report.feed(interval_s)] if interval_s else []))
    except asyncio.CancelledError:
        if fdstore.is_restarting():
            _leave(operation, report)
        raise


def _leave(operation: Operation, report: Report) -> None:
    """End without undoing anything: the service manager starts the next one at once."""
    report.explain()
    try:
        operation.leave()
    except OSError as error:
        log.error("the service manager keeps nothing (FileDescriptorStoreMax=?): %s", error)
        return
    log.info("everything is left to the next one")
    os._exit(0)


async def _inherited(before: Config, wanted: Config | ConfigError | None, past: Past) -> Config:
    """What is served from now on by one that something was handed over to."""
    config = before
    if wanted and wanted != before:
        try:
            config = await _rehearsed(wanted, past)
        except ConfigError as error:
            for line in error.lines:
                log.error("%s", line)
            log.error("going on with the configuration of before")
        except BaseException:  # told to end before anybody has taken charge of what is there
            await abandon(dict(past.handover.added if past.handover else {}))
            raise
    for text in said(difference(before, config)):
        log.info("%s", text)
    return config


def _left_behind(handed: Handover) -> list[Leaver]:
    """Who was waiting for its last flow when this process was handed everything."""
    found = (file.read(text, "what was handed over").services[0] for text in handed.leaving)
    return [Leaver(service, service.backends[0], service.on_remove) for service in found]


async def _reloaded(operation: Operation) -> None:
    """SIGHUP: the file may have changed."""
    try:
        async with operation.changing:
            await operation.reload()
    except PktlbError as error:
        for line in error.lines:
            log.error("not reloaded: %s", line)


def _quieten_collector(engine: str) -> None:
    """Keep Python's garbage collector from pauses that grow with the services, or with the flow
    table of the reference engine.

    They make no cycles, so counting references frees them; what there is now is not looked at
    again. For flows the young generations are still searched for the cycles that others make, but
    never the whole heap.
    """
    if gc.get_freeze_count():  # of a start before this one, which has left cycles
        gc.unfreeze()
        gc.collect()
    gc.freeze()
    if engine == "python":
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, 1_000_000)
