"""Source addresses and ports that stand in for the clients' (source NAT).

The same address and port may serve several flows as long as they go to different backends, so each
backend has a pool of its own. One that is given back waits behind `REST` others before it is used
again, which keeps it clear of the old connection's last packets, and the pool no larger than what
is in use at a time.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from pktlb.engine.datapath.keys import EndpointKey
from pktlb.model import Endpoint

REST: Final = 4096
"How many endpoints that were given back wait at least, as long as there are fresh ones."


class _Pool:
    """What is to be had towards one backend."""

    __slots__ = ("claimed", "fresh", "returned")

    def __init__(self) -> None:
        self.claimed: set[int] = set()
        "Those that an earlier process gave out."
        self.fresh = 0
        "How many endpoints have been given out for the first time."
        self.returned: deque[Endpoint] = deque()


class SourcePorts:
    """Allots source endpoints per backend, and takes them back."""

    def __init__(self, addresses: Iterable[bytes], ports: Sequence[int]) -> None:
        every = sorted(addresses)
        self._addresses = {size: [a for a in every if len(a) == size] for size in (4, 16)}
        self.ports: Final = ports
        self._pools: dict[EndpointKey, _Pool] = {}
        self._place: dict[int, int] = {}
        "Of each port, where it is needed."

    def addresses(self, size: int) -> Sequence[bytes]:
        """Those of one family, in order; without any clients keep their own."""
        return self._addresses[size]

    def take(self, backend: EndpointKey) -> Endpoint | None:
        """An endpoint that no other flow to this backend has, or None where all are taken."""
        pool = self._pools.setdefault(backend, _Pool())
        addresses = self._addresses[len(backend) - 3]
        fresh = pool.fresh < len(addresses) * len(self.ports)
        if fresh and len(pool.returned) < REST:
            port, address = divmod(pool.fresh, len(addresses))
            pool.fresh += 1
            return Endpoint(addresses[address], self.ports[port])
        return pool.returned.popleft() if pool.returned else None

    def claim(self, backend: EndpointKey, endpoint: Endpoint) -> bool:
        """An endpoint that an earlier process has given out is taken. False where it is none of
        the pool's. When all are known, `settle` makes the others ready to be given out."""
        addresses = self._addresses[len(backend) - 3]
        if not self._place:
            self._place = {port: place for place, port in enumerate(self.ports)}
        if endpoint.address not in addresses or endpoint.port not in self._place:
            return False
        number = self._place[endpoint.port] * len(addresses) + addresses.index(endpoint.address)
        claimed = self._pools.setdefault(backend, _Pool()).claimed
        if number in claimed:
            return False
        claimed.add(number)
        return True

    def disclaim(self, backend: EndpointKey, endpoint: Endpoint) -> None:
        """The flow that claimed `endpoint` was not taken over."""
        addresses = self._addresses[len(backend) - 3]
        number = self._place[endpoint.port] * len(addresses) + addresses.index(endpoint.address)
        self._pools[backend].claimed.remove(number)

    def settle(self) -> None:
        for backend, pool in self._pools.items():
            addresses = self._addresses[len(backend) - 3]
            pool.fresh = max(pool.claimed, default=-1) + 1
            for number in range(pool.fresh):
                if number not in pool.claimed:
                    port, address = divmod(number, len(addresses))
                    pool.returned.append(Endpoint(addresses[address], self.ports[port]))
            pool.claimed.clear()

    def give_back(self, backend: EndpointKey, endpoint: Endpoint) -> None:
        """The flow that had `endpoint` is over."""
        self._pools[backend].returned.append(endpoint)
