"""Source addresses and ports that stand in for the clients' (source NAT, RFC 3022).

Flows to different backends may have the same source address and port, so each backend has a pool of
its own. An endpoint that is given back waits behind `REST` others before it is used again: by then
the last packets of the old connection have passed. A pool needs memory only for endpoints that were
in use once. It does not know which flow has an endpoint.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from pktlb.engine.datapath.keys import EndpointKey
from pktlb.model import Endpoint

REST: Final = 4096
"As long as there are fresh endpoints, so many that were given back wait at least."


class _Pool:
    """The endpoints towards one backend, by number: ports first, each with all addresses."""

    __slots__ = ("claimed", "fresh", "returned")

    def __init__(self) -> None:
        self.claimed: set[int] = set()
        "Numbers that an earlier process gave out, until `settle`."
        self.fresh = 0
        "How many endpoints have been given out at least once."
        self.returned: deque[Endpoint] = deque()


class SourcePorts:
    """Allots source endpoints per backend, and takes them back."""

    def __init__(self, addresses: Iterable[bytes], ports: Sequence[int]) -> None:
        every = sorted(addresses)
        self._addresses = {size: [a for a in every if len(a) == size] for size in (4, 16)}
        self.ports: Final = ports
        self._pools: dict[EndpointKey, _Pool] = {}
        self._place: dict[int, int] = {}
        "The place of each port in `ports`; filled when a claim needs it."

    def addresses(self, size: int) -> Sequence[bytes]:
        """The addresses of one family (`size`: 4 or 16 bytes), in order. Where there are none,
        clients keep their own."""
        return self._addresses[size]

    def take(self, backend: EndpointKey) -> Endpoint | None:
        """An endpoint that no other flow to this backend has; None where all are taken."""
        pool = self._pools.setdefault(backend, _Pool())
        addresses = self._addresses[len(backend) - 3]
        fresh = pool.fresh < len(addresses) * len(self.ports)
        if fresh and len(pool.returned) < REST:
            port, address = divmod(pool.fresh, len(addresses))
            pool.fresh += 1
            return Endpoint(addresses[address], self.ports[port])
        return pool.returned.popleft() if pool.returned else None

    def claim(self, backend: EndpointKey, endpoint: Endpoint) -> bool:
        """Mark an endpoint as given out by an earlier process. False where it is none of the
        pool's, or claimed already. `settle` ends the claims."""
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
        """Undo a claim."""
        addresses = self._addresses[len(backend) - 3]
        number = self._place[endpoint.port] * len(addresses) + addresses.index(endpoint.address)
        self._pools[backend].claimed.remove(number)

    def settle(self) -> None:
        """Make the endpoints that were not claimed ready to be given out."""
        for backend, pool in self._pools.items():
            addresses = self._addresses[len(backend) - 3]
            pool.fresh = max(pool.claimed, default=-1) + 1
            for number in range(pool.fresh):
                if number not in pool.claimed:
                    port, address = divmod(number, len(addresses))
                    pool.returned.append(Endpoint(addresses[address], self.ports[port]))
            pool.claimed.clear()

    def give_back(self, backend: EndpointKey, endpoint: Endpoint) -> None:
        """Take an endpoint back: its flow has ended."""
        self._pools[backend].returned.append(endpoint)
