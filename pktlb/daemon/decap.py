"""`pktlb decap`: the backend's end of a tunnel, for machines without a tunnel device of their own.

Packets come out of a TUN device that holds the VIPs, so the servers on this machine can accept them
and answer the clients directly. IPv4 and IPv6 may come in either. The kernel's own ends of tunnels
are kept out of the way, see `pktlb.host.tunnels`.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from pktlb.daemon.rights import DECAP
from pktlb.engine.datapath.decap import unwrap
from pktlb.engine.datapath.packet import TUNNELLED
from pktlb.engine.wire.raw import RawSocket
from pktlb.engine.wire.tun import Tun
from pktlb.errors import KernelError
from pktlb.host import device, privilege, sysctl, tunnels
from pktlb.host.lock import claim
from pktlb.host.machine import Link, Machine
from pktlb.host.netlink import Kernel
from pktlb.host.owned_table import OwnedTable
from pktlb.host.presence import ready
from pktlb.model import Reason, format_address

log: Final = logging.getLogger(__name__)

_TUN: Final = "pktlb-decap"
_BATCH: Final = 64
_BADLY_MARKED: Final = (
    "outer and inner ECN fields that have no use together (RFC 6040, section 4.2): "
    "something on the way from the balancer changes them"
)


async def run(vips: Collection[bytes]) -> None:
    """Unwrap until cancelled. Raises `KernelError` before it is ready."""
    counts: Counter[Reason] = Counter()
    badly_marked = 0
    async with AsyncExitStack() as stack:
        stack.enter_context(claim("decap"))
        privilege.give_up(DECAP)
        kernel = await stack.enter_async_context(Kernel())
        _warn_of_arp(await kernel.read(()), vips)
        _keep_kernel_away(stack, vips, await kernel.links_of(tunnels.DEVICES))
        tun = Tun(_TUN)
        stack.callback(tun.close)
        sizes = {len(vip) for vip in vips}
        inner_protos = [proto for proto, size in TUNNELLED.items() if size in sizes]
        sockets = [RawSocket(size, proto) for size in _families() for proto in inner_protos]
        for raw in sockets:
            stack.callback(raw.close)
        await device.prepare(kernel, tun.name, vips, ipv6=16 in sizes)

        def read(raw: RawSocket) -> None:
            nonlocal badly_marked
            for data, traffic in raw.receive(_BATCH):
                unwrapped = unwrap(data, raw.proto, vips, traffic)
                counts[unwrapped.reason] += 1
                badly_marked += not unwrapped.is_marked_well
                if unwrapped.packet is not None:
                    tun.write(unwrapped.packet, unwrapped.offload)

        loop = asyncio.get_running_loop()
        for raw in sockets:
            loop.add_reader(raw, read, raw)
            stack.callback(loop.remove_reader, raw)
        ready(f"vips={','.join(map(format_address, vips))}")
        try:
            await asyncio.Event().wait()
        finally:
            for reason, count in counts.items():
                log.info("%d packets: %s: %s", count, reason.name, reason.sentence)
            if badly_marked:
                log.info("%d packets: %s", badly_marked, _BADLY_MARKED)
            for error, count in sum((raw.errors for raw in sockets), tun.errors).items():
                log.info("%d packets: %s", count, error)


def _families() -> list[int]:
    """Lengths of the addresses that a balancer can send to; a kernel may have no IPv6."""
    return [4, 16] if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else [4]


def _keep_kernel_away(
    stack: AsyncExitStack, vips: Collection[bytes], devices: Iterable[Link]
) -> None:
    """Drop what the kernel's own tunnels make of the packets for `vips`, until the stack unwinds;
    say which there are."""
    try:
        stack.enter_context(OwnedTable(tunnels.TABLE, tunnels.rules(vips)))
    except KernelError as error:
        log.warning(
            "%s. Where the kernel has a module for tunnels, it answers the balancer with "
            '"port unreachable", or gives the servers each packet a second time',
            error,
        )
        return
    for link in devices:
        if link.up:
            log.warning(
                "the tunnel device %s is up: what it unwraps for a VIP is dropped, for it would "
                "come twice; use either that device or pktlb decap (docs/services.md)",
                link.name,
            )
        else:
            log.warning(
                "there is a tunnel device %s, which is down: the kernel's answers to the "
                'balancer, "port unreachable", are dropped',
                link.name,
            )


def _warn_of_arp(machine: Machine, vips: Collection[bytes]) -> None:
    """A backend on the VIP's own network must not answer for it there. By neighbour discovery it
    never does, see `pktlb.host.device`."""
    for vip in vips:
        home = machine.connected(vip)
        if home is None or len(vip) != 4:
            continue
        name = machine.links[home].name
        if sysctl.effective("arp_ignore", name) == 0:
            log.warning(
                "%s answers ARP for %s and would take it from the balancer; "
                "set net.ipv4.conf.%s.arp_ignore=1 and arp_announce=2",
                name, format_address(vip), name,
            )  # fmt: skip
