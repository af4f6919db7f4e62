"""The set-up of pktlb's own TUN devices: addresses, and a reverse-path filter that lets all pass.

With a loose reverse-path filter the kernel drops all IPv4 packets of a device without an IPv4
address; for IPv6 it has no such filter. Settings of a device vanish with it. Settings of the host
are never changed: a wrong one is named in the log.

The kernel answers neighbour solicitations only for addresses of the link that they come in on, so
it answers none on other links for an IPv6 address of such a device (tried on Linux 6.18). It does
answer ARP for an IPv4 address, unless arp_ignore forbids it.
"""

import logging
import socket
from collections.abc import Collection
from typing import Final

from pktlb.host import sysctl
from pktlb.host.netlink import Kernel

log: Final = logging.getLogger(__name__)

_IPV6: Final = {
    "disable_ipv6": "0",
    "addr_gen_mode": "1",  # no link-local address: the link has no other end
    "accept_ra": "0",
    "router_solicitations": "0",
    "accept_dad": "0",
}


async def prepare(kernel: Kernel, name: str, addresses: Collection[bytes], ipv6: bool) -> None:
    """Bring up the TUN device `name` with packed `addresses`; `ipv6` says whether it takes IPv6
    packets, too. Raises `KernelError`."""
    link = socket.if_nametoindex(name)
    for setting, value in (_IPV6 if ipv6 else {"disable_ipv6": "1"}).items():
        sysctl.write(f"net/ipv6/conf/{name}/{setting}", value)
    sysctl.write(f"net/ipv4/conf/{name}/rp_filter", "0")
    for address in addresses:
        await kernel.add_address(link, address)
    await kernel.set_up(link)
    if sysctl.effective("rp_filter", name) == 1:
        log.warning(
            "net.ipv4.conf.all.rp_filter is 1 (strict): the kernel drops what pktlb gives it "
            "through the device %s; set it to 2 (loose) or 0",
            name,
        )
