"""The arrival of a process that another one has handed something to: what it goes on with."""

import logging
from typing import Final

from pktlb.config import file
from pktlb.config.config import Config
from pktlb.daemon.restart.bridge import Bridge
from pktlb.daemon.restart.handover import Handover
from pktlb.daemon.restart.past import Past
from pktlb.daemon.start import abandon
from pktlb.engine.choose import choose
from pktlb.errors import ConfigError
from pktlb.host.netlink import Kernel
from pktlb.plan.change import said, transition
from pktlb.plan.footprint import backend_addresses
from pktlb.plan.leaving import Leaver, Served
from pktlb.plan.placement import newly_refused, place_served

log: Final = logging.getLogger(__name__)


async def arrive(
    handed: Handover | None, wanted: Config | ConfigError | None
) -> tuple[Config, Past]:
    """The configuration to serve, and what there was before.

    `wanted` is what the file or the flags say; None: whatever was served before. Where that is an
    error, or the machine has no way for it, a process that took over goes on with the configuration
    of before. Without a handover, an error is raised.
    """
    if not handed:
        if isinstance(wanted, ConfigError):
            raise wanted
        assert wanted is not None, "only a handover has a configuration of its own"
        return wanted, Past()
    before = file.read(handed.config, "what was handed over")
    past = Past(
        handover=handed,
        bridge=Bridge(*handed.bridge) if handed.bridge else None,
    )
    config = await _possible(before, wanted, past)
    change = transition(before, config)
    for text in said(change.items):
        log.info("%s", text)
    return change.after, past._replace(leaving=change.leaving(_left_behind(handed)))


async def _possible(before: Config, wanted: Config | ConfigError | None, past: Past) -> Config:
    """What is wanted, where that can be; else the configuration of before."""
    if not wanted or wanted == before:
        return before
    try:
        return await _rehearsed(before, wanted, past)
    except ConfigError as error:
        for line in error.lines:
            log.error("%s", line)
        log.error("going on with the configuration of before")
        return before
    except BaseException:  # told to end before a balancer has taken charge of what is there
        await abandon(dict(past.handover.added if past.handover else {}))
        raise


async def _rehearsed(before: Config, wanted: Config | ConfigError, past: Past) -> Config:
    """What is wanted; `ConfigError` where it is one, or where the machine has no way for it."""
    if isinstance(wanted, ConfigError):
        raise wanted
    choose(wanted.engine)
    async with Kernel() as kernel:
        machine = await kernel.read(backend_addresses((*before.services, *wanted.services)))
    now, then = (
        place_served(config, Served(config), machine, {}, past.before(machine))
        for config in (before, wanted)
    )
    for pending in newly_refused(then, now):
        raise ConfigError(str(pending))
    return wanted


def _left_behind(handed: Handover) -> list[Leaver]:
    """The backends that were leaving when this process was handed everything."""
    found = (file.read(text, "what was handed over").services[0] for text in handed.leaving)
    return [Leaver(service, service.backends[0], service.on_remove) for service in found]
