"""Signals of netlink that something on the machine has changed; what it is now has to be asked.

So a signal that is lost in a full queue costs nothing: the queue's overrun is a signal, too.
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
    """A netlink socket that is told of changes, from its construction on. Raises `KernelError`."""

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
        """Set `event` at each signal, from now to the end of the `with` block, which closes the
        socket."""
        loop = asyncio.get_running_loop()
        with self._socket:
            loop.add_reader(self._socket, self._tell, event)
            try:
                yield
            finally:
                loop.remove_reader(self._socket)

    def _tell(self, event: asyncio.Event) -> None:
        """Empty the queue. ENOBUFS, the queue's overrun, counts as a signal."""
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
    """Sleep after the `with` block for `share` times the CPU time that the block took.

    So frames have most of the time, however often the machine changes. The time by the clock does
    not count: in an overload frames have had most of it already.
    """
    before = time.thread_time()
    yield
    await asyncio.sleep(share * (time.thread_time() - before))
