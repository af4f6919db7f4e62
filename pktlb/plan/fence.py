"""What the kernel is kept away from, and which packets the raw sockets let in. Pure functions."""

from collections.abc import Container, Sequence

from pktlb.config.config import Config
from pktlb.config.service import Service
from pktlb.engine.wire.filter import EVERYTHING, NOTHING, Program, Side
from pktlb.host.guard import Guard
from pktlb.model import Vip
from pktlb.plan.footprint import dialled, reply_ends, return_ends
from pktlb.plan.placement import Placement


def guard(config: Config, placement: Placement, strays: Sequence[Service] = ()) -> Guard:
    """What the kernel has to be kept away from. Backends of `strays` send; no client dials them."""
    ours = _ours(config, placement.withheld)
    senders = (*ours, *strays)
    return Guard(
        devices=tuple(link.name for link in placement.read),
        services=dialled(ours),
        replies=reply_ends(senders),
        returns=return_ends(senders),
        snat=config.snat,
        own_ports=placement.own_ports,
        owned=placement.addresses,
        forwarded=bool(placement.spread),
    )


def filters(placement: Placement, compiled: Sequence[Program]) -> dict[int, Sequence[Program]]:
    """What the raw sockets of each port must be given, see `pktlb.engine.wire.filter`;
    `compiled` is for the `wanted_ends`."""
    if placement.spread:
        programs = {True: [EVERYTHING], False: [NOTHING]}
        return {port.index: programs[port.index in placement.spread] for port in placement.ports}
    return {port.index: compiled for port in placement.ports}


def wanted_ends(
    config: Config, strays: Sequence[Service] = (), withheld: Container[bytes] = ()
) -> dict[Side, frozenset[Vip]]:
    """The ends that packets for the datapath have: as their source or as their destination.

    `withheld`: see `Placement`.
    """
    ours = _ours(config, withheld)
    senders = (*ours, *strays)
    return {
        Side.SOURCE: reply_ends(senders) | return_ends(senders),
        Side.DESTINATION: dialled(ours),
    }


def _ours(config: Config, withheld: Container[bytes]) -> Sequence[Service]:
    """The services whose VIP is not another machine's."""
    return [service for service in config.services if service.vip.address not in withheld]
