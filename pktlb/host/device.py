"""The set-up of pktlb's own TUN devices: an address, and no filter of its own against us.

A device without an IPv4 address is refused everything by a loose reverse-path filter; IPv6 has no
such filter in the kernel. The settings of a device vanish with it; those of the host are never
touched, only spoken of.

An address on such a device is not answered for on other links where it is IPv6: the kernel answers
neighbour solicitations only for addresses of the link that they come in on (tried on Linux 6.18).
ARP it does answer, unless arp_ignore says otherwise.
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
    "addr_gen_mode": "1",  # no link-local address: nobody is there to talk to
    "accept_ra": "0",
    "router_solicitations": "0",
    "accept_dad": "0",
}


async def prepare(kernel: Kernel, name: str, addresses: Collection[bytes], ipv6: bool) -> None:
    """Bring up the TUN device `name` with `addresses`, for IPv6 packets as well or not."""
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
