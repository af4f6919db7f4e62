"""The end of a process that leaves its work to the next one: `pktlb restart`, or systemd's."""

import asyncio
import logging
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final

from pktlb.config import file
from pktlb.config.config import Config
from pktlb.control.events import Events
from pktlb.daemon.balancer import Balancer
from pktlb.daemon.drain import LOOK_S
from pktlb.daemon.restart.bridge import Bridge
from pktlb.daemon.restart.handover import Handover, in_memory, left
from pktlb.daemon.restart.successor import become_next, leave
from pktlb.errors import KernelError

if TYPE_CHECKING:
    from pktlb.control.server import Server

log: Final = logging.getLogger(__name__)

_ANSWERS_S: Final = 1.0
"Time for the answers to requests that came before a restart."


class Departure:
    """Hands over what a process has: sockets, flows, addresses, the lock, the control socket."""

    def __init__(self, lock: int, events: Events) -> None:
        self._lock: Final = lock
        "Descriptor."
        self._events: Final = events
        self.is_under_way = False

    async def become_next(
        self, balancer: Balancer, server: "Server | None", with_bridge: bool
    ) -> None:
        """Become the next process. Where that is refused, go on as if nothing had been asked."""
        self.is_under_way = True
        self._events.publish("restart", "restarting")
        await asyncio.sleep(2 * LOOK_S)  # until removals under way have noticed it
        if server:
            await server.fall_silent(_ANSWERS_S)
        engine, site = balancer.engine, balancer.site
        engine.stop()
        bridge = None
        if with_bridge and not engine.needs_loop:
            bridge = Bridge.build(engine, site.ports, site.tun)
        try:
            become_next(self._handover(balancer, server, bridge))
        except KernelError as error:
            log.error("%s; going on", error)
            self.is_under_way = False
            if bridge:
                bridge.give_back(site.ports)
            engine.start()
            if server:
                server.take_back()

    def leave(self, balancer: Balancer, server: "Server | None") -> None:
        """Leave everything with the service manager, for the process that it starts next.

        `OSError` where it does not take it: nothing has changed then, but that no frames move.
        """
        balancer.engine.stop()
        leave(self._handover(balancer, server))

    def _handover(
        self, balancer: Balancer, server: "Server | None", bridge: Bridge | None = None
    ) -> Handover:
        dump = in_memory(balancer.plane.dump(monotonic()))
        leaving = [
            replace(each.service, backends=(each.backend,), on_remove=each.on_remove)
            for each in balancer.leaving
            if each.on_remove
        ]
        return Handover(
            engine=balancer.engine.name,
            ports=left(balancer.site.ports),
            indexes={port.name: port.index for port in balancer.site.ports},
            tun=balancer.site.tun.fileno(),
            lock=self._lock,
            control=server.hand_over() if server else -1,
            added=balancer.site.added,
            dump=dump,
            config=file.write(balancer.config),
            leaving=[file.write(Config((service,))) for service in leaving],
            names=balancer.site.names,
            bridge=bridge.place if bridge else None,
        )
