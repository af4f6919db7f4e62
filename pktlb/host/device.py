"""The set-up of pktlb's own TUN devices: an address, and no filter of its own against us.

A device without an address is refused everything by a loose reverse-path filter. The settings of a
device vanish with it; those of the host are never touched, only spoken of.
"""

import logging
import socket
from collections.abc import Iterable
from typing import Final

from pktlb.host import sysctl
from pktlb.host.netlink import Kernel

log: Final = logging.getLogger(__name__)


async def prepare(kernel: Kernel, name: str, addresses: Iterable[bytes]) -> None:
    """Bring up the TUN device `name` with `addresses`."""
    link = socket.if_nametoindex(name)
    sysctl.write(f"net/ipv6/conf/{name}/disable_ipv6", "1")
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
