"""The start of a balancer: clean up, decide, open, guard, add addresses, resolve.

What an earlier balancer left, of this process or of another, is taken over. Everything done here is
undone in reverse order at the end: the addresses go first and the guard last, so that the kernel
never answers for a VIP.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Final

from pktlb.config.config import Config
from pktlb.control.events import Events
from pktlb.daemon.balancer import Balancer, Parts
from pktlb.daemon.claims import Claims
from pktlb.daemon.restart.bridge import cross
from pktlb.daemon.restart.handover import Handover
from pktlb.daemon.restart.past import Past, take_over
from pktlb.daemon.site import Site
from pktlb.daemon.vicinity import Vicinity
from pktlb.daemon.watch import Watch
from pktlb.engine.choose import choose, make_engine
from pktlb.engine.wire.tun import Tun
from pktlb.errors import ConfigError
from pktlb.host import nft
from pktlb.host.netlink import Kernel
from pktlb.host.signals import Signals
from pktlb.model import format_address
from pktlb.plan.leaving import Served, serve
from pktlb.plan.placement import TUN, place_served

log: Final = logging.getLogger(__name__)


async def start(
    config: Config,
    kernel: Kernel,
    stack: AsyncExitStack,
    events: Events,
    past: Past,
    may_wait: bool,
    insists: bool = False,
) -> Watch:
    """A balancer at work, with the watch that keeps it true to the machine.

    `stack` undoes everything. `may_wait`: for interfaces and networks that the machine does not
    have yet. One that `insists` adds addresses that other machines use. Raises `ConfigError` where
    the machine has no way for the configuration, `KernelError` where it refuses.
    """
    handed = past.handover
    stack.callback(nft.remove)
    if past.bridge:
        stack.callback(past.bridge.close)
    added = dict(handed.added) if handed else {}
    stack.push_async_callback(_remove, added)
    if not handed:
        await _clean_up(kernel)
    served = serve(config, past.leaving)
    machine = await kernel.read(served.destinations)
    before = past.before(machine)
    placement = place_served(config, served, machine, added, before)
    for pending in placement.pending:
        if pending.is_refused and not may_wait:
            raise ConfigError(str(pending))
    vicinity = Vicinity(kernel, machine, served.destinations)
    claims = Claims(events, vicinity.changed, insists)
    stack.push_async_callback(claims.close)
    claims.begin(claims.unjudged(placement.addresses, added, machine), machine)
    await claims.settled()
    if withheld := claims.withheld():
        before = before._replace(withheld=withheld)
        placement = place_served(config, served, machine, added, before)
    tun = Tun(TUN, handed.tun if handed else None)
    stack.callback(tun.close)
    site = Site(kernel, served, placement, tun)
    site.added.update(added)
    site.names.update(past.handover.names if past.handover else {})
    site.note_names(config, machine)
    added.clear()
    stack.callback(site.close)
    stack.push_async_callback(site.remove_addresses)
    stack.push_async_callback(claims.close)
    balancer = Balancer(config, Parts(kernel, site, vicinity, claims, events), past.leaving)
    await _open(balancer, served, past)
    stack.enter_context(_reading(balancer))
    if past.bridge:
        past.bridge.close()
    return await _settled(balancer)


async def abandon(added: dict[bytes, int]) -> None:
    """Take away everything that was handed over, where this process cannot go on with it."""
    await _remove(added)
    nft.remove()


async def _clean_up(kernel: Kernel) -> None:
    """Remove the addresses that a pktlb which was killed has left."""
    for address, home in nft.owned():
        log.info("removing %s, left by a pktlb that was killed", format_address(address))
        await kernel.remove_address(home, address)


async def _open(balancer: Balancer, served: Served, past: Past) -> None:
    """Sockets, addresses, tables and the engine.

    During a restart the bridge owns the sockets until tables and addresses are in place.
    """
    config, site, handed = balancer.config, balancer.site, past.handover
    kind = choose(config.engine)
    workers = balancer.workers(kind, site.placement)
    dump = handed.flows() if handed else b""
    if not past.bridge:
        _open_sockets(site, kind, workers, handed)
    site.sentry.put()
    await site.add_addresses()
    now = asyncio.get_running_loop().time()
    balancer.tables = balancer.layout.tables(served, balancer.around(), now)
    plane = past.plane_for(kind, balancer.tables, config, site.placement.own_ports, dump)
    dumps = [dump]
    if past.bridge and handed:
        handed, dumps = cross(past.bridge, handed, dump)
        _open_sockets(site, kind, workers, handed)
    take_over(plane, dumps, config.max_flows)
    balancer.engine = make_engine(plane, site.ports, site.tun, config.busy_poll_us, config.realtime)


async def _settled(balancer: Balancer) -> Watch:
    """Next hops are known, and addresses that only the process before needed are gone."""
    watch = Watch(balancer)
    balancer.settle_on(balancer.site.placement)
    await balancer.site.remove_addresses(a for a, _ in balancer.site.placement.addresses)
    balancer.claims.hold(balancer.site.added, balancer.vicinity.machine)
    await balancer.vicinity.settle()
    await watch.update()
    balancer.is_ready = True
    for address in balancer.unreachable():
        log.warning("backend %s cannot be reached", format_address(address))
    return watch


def _open_sockets(site: Site, kind: str, workers: int, handed: Handover | None) -> None:
    """New sockets, but for the inherited ones that the same engine can go on with."""
    indexes = {link.name: link.index for link in site.placement.ports}
    site.open(workers, handed.inherited(kind, workers, indexes) if handed else {})


@contextmanager
def _reading(balancer: Balancer) -> Iterator[None]:
    """Frames move, and the kernel signals changes of the machine."""
    with ExitStack() as stack:
        stack.enter_context(Signals.of_network().told_to(balancer.vicinity.changed))
        stack.enter_context(balancer.site.sentry.listening())
        stack.enter_context(balancer.engine.working())
        yield


async def _remove(added: dict[bytes, int]) -> None:
    """Take away the addresses of the process before that this one has not taken over.

    A process that was told to end while it opened its netlink socket cannot use that one any more.
    """
    if added:
        async with Kernel() as kernel:
            for address, link in added.items():
                await kernel.remove_address(link, address)
