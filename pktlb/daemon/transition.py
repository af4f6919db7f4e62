"""Changes of the configuration of a running balancer: worked out, told, and carried out.

They come one at a time: the caller of `Operation` holds its `changing`.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pktlb.config import file
from pktlb.config.config import Config
from pktlb.config.conflicts import check_together
from pktlb.daemon.balancer import Balancer
from pktlb.daemon.flows import held, look_at_all
from pktlb.daemon.surroundings import Surroundings
from pktlb.errors import ConfigError
from pktlb.model import OnRemove
from pktlb.plan.caveat import pending_anew
from pktlb.plan.change import Change, Transition, effect, said_change, touches_flows, transition

log: Final = logging.getLogger(__name__)


class Transitions:
    """What a new configuration does, and its way into use."""

    def __init__(
        self, balancer: Balancer, source: str | None, beside: Mapping[str, Any],
        surroundings: Surroundings,
    ) -> None:  # fmt: skip
        self._balancer: Final = balancer
        self._surroundings: Final = surroundings
        self.source: Final = source
        "The file that the balancer was started with."
        self._beside: Final = beside
        "Settings of the command line, which count for more than the file."

    async def plan(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        """What `apply` would do, or a restart with this; `ConfigError` where it cannot be."""
        change = self._to(wanted, on_remove)
        placement = await self._balancer.check(change, force)
        told = await self._effect(change)
        pending = pending_anew(self._balancer.site.placement, placement)
        caveats = await self._surroundings.caveats(change, placement)
        return replace(told, warnings=(*pending, *caveats))

    async def apply(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        """Make it so; `ConfigError` or `KernelError` where it cannot be: nothing has changed.

        With `force`, addresses are taken that another machine uses.
        """
        change = self._to(wanted, on_remove)
        told = await self._effect(change)
        before = self._balancer.site.placement
        await self._balancer.apply(change, force)
        after = self._balancer.site.placement
        pending = pending_anew(before, after)
        caveats = await self._surroundings.caveats(change, after)
        self._surroundings.tell(pending, caveats)
        return replace(told, warnings=(*pending, *caveats))

    async def reload(self, force: bool = False) -> Change:
        """`apply` what the file says now."""
        change = await self.apply(await self.read_file(None), force=force)
        text = f"reloaded {self.source}: changes: {len(change.items)}"
        log.info("%s", text)
        self._balancer.events.publish("reload", text, changes=len(change.items))
        return change

    async def read_file(self, text: str | None) -> Config:
        """The configuration in `text`; None: in the file that the balancer was started with."""
        name = str(self.source)
        if text is None:
            if self.source is None:
                raise ConfigError("expected a pktlb that was started with a file (run -c FILE)")
            config = await asyncio.to_thread(file.load, name, True)
        else:
            config = await asyncio.to_thread(file.read, text, "-")
        return replace(config, **self._beside)

    def _to(self, wanted: Config, on_remove: OnRemove | None) -> Transition:
        before = self._balancer.config
        return transition(before, check_together(wanted, before), on_remove)

    async def _effect(self, change: Transition) -> Change:
        balancer = self._balancer
        total = len(balancer.plane.flows)
        if not touches_flows(change, total):
            return said_change(change, total)
        return effect(change, await look_at_all(balancer.engine, held))
