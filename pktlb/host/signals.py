"""Signals that something on the machine has changed. What it is now has to be asked for.

So a notification that was lost, or a queue that overran, costs nothing but a moment.
"""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Self

from pktlb.errors import refused

_NETLINK_NETFILTER: Final = 12
_NETWORK: Final = 0x1 | 0x4 | 0x10 | 0x100 | 0x40 | 0x400
"RTMGRP_LINK, _NEIGH, _IPV4_IFADDR and _IPV6_IFADDR, _IPV4_ROUTE and _IPV6_ROUTE."
_RULES: Final = 1 << (7 - 1)  # NFNLGRP_NFTABLES


class Signals:
    """Tells that something has changed, from the moment it is made."""

    def __init__(self, protocol: int, groups: int) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
            )
            self._socket.bind((0, groups))
        except OSError as error:
            raise refused("cannot watch netlink", error, "CAP_NET_ADMIN") from error

    @classmethod
    def of_network(cls) -> Self:
        """Links, addresses, routes and neighbours."""
        return cls(socket.NETLINK_ROUTE, _NETWORK)

    @classmethod
    def of_rules(cls) -> Self:
        """The nftables ruleset."""
        return cls(_NETLINK_NETFILTER, _RULES)

    @contextmanager
    def told_to(self, event: asyncio.Event) -> Iterator[None]:
        """Set `event` at each change, from now to the end of the `with` block."""
        loop = asyncio.get_running_loop()
        with self._socket:
            loop.add_reader(self._socket, self._tell, event)
            try:
                yield
            finally:
                loop.remove_reader(self._socket)

    def _tell(self, event: asyncio.Event) -> None:
        """Forget what was signalled; an overrun is a change like any other."""
        event.set()
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


@asynccontextmanager
async def rest_after(share: int) -> AsyncIterator[None]:
    """Rest after the `with` block for `share` times what it took of the CPU.

    However restless the machine is, most of the time belongs to frames then. What it took by the
    clock does not matter: in an overload that is mostly time that frames have had already.
    """
    before = time.thread_time()
    yield
    await asyncio.sleep(share * (time.thread_time() - before))
