"""Persistence: which backend a client stays with.

A pin outlives the flows that refer to it. It does not age while it has flows. When its last flow
ends, it joins a queue of pins without flows. It is forgotten after its service's time without a new
flow, or when there are too many pins: then the one that joined the queue first makes way. Whether
the backend still takes flows is decided elsewhere.
"""

from collections import OrderedDict
from typing import Final

from pktlb.engine.datapath.address import masked
from pktlb.engine.datapath.tables import ServiceKey, ServiceTable
from pktlb.engine.datapath.tally import Tally

_Key = tuple[ServiceKey, bytes]
"A service, and the prefix of a client's address that is one client to it."


class Pin:
    """The backend that a client of a service stays with."""

    __slots__ = ("key", "life_s", "refs", "seen", "tally")

    def __init__(self, key: _Key, tally: Tally) -> None:
        self.key: Final = key
        self.tally = tally
        self.refs = 0
        "Flows of the client, to whatever backend."
        self.seen = 0.0
        "Seconds: when it last got a flow, or when the last packet of its last flow came by."
        self.life_s = 0
        "Seconds that it lasts after `seen`."


class Pins:
    """At most `capacity` pins. The flow table must not hold more flows than that."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pins: dict[_Key, Pin] = {}
        self._idle: OrderedDict[_Key, Pin] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pins)

    def find(self, table: ServiceTable, client: bytes, now: float) -> Pin | None:
        """The pin of a client (its address). Forgets it instead where its time is over."""
        pin = self._pins.get(_key(table, client))
        if pin is not None and _is_over(pin, now):
            self._forget(pin)
            return None
        return pin

    def hold(self, table: ServiceTable, client: bytes, tally: Tally, now: float) -> Pin:
        """Note that a new flow of the client goes to a backend (its tally): later ones go there
        too, until this is called with another."""
        key = _key(table, client)
        pin = self._pins.get(key)
        if pin is None:
            pin = self._make(key, tally)
        elif not pin.refs:
            del self._idle[key]
        pin.tally.pins -= 1
        tally.pins += 1
        pin.tally = tally
        pin.refs += 1
        pin.seen = now
        pin.life_s = table.persist_s
        return pin

    def release(self, pin: Pin, seen: float) -> None:
        """Note that a flow of the pin has ended, whose last packet was `seen` then (seconds)."""
        pin.refs -= 1
        if not pin.refs:
            pin.seen = max(pin.seen, seen)
            self._idle[pin.key] = pin

    def in_order(self) -> list[Pin]:
        """All pins: first those without flows in the order of their queue, then the others."""
        held = [pin for pin in self._pins.values() if pin.refs]
        return [*self._idle.values(), *held]

    def restore(self, key: _Key, tally: Tally, seen: float, life_s: int) -> Pin | None:
        """Take in a pin of an earlier process, without flows so far. None where the client has
        one, or there are too many."""
        if key in self._pins or len(self._pins) >= self._capacity:
            return None
        pin = self._make(key, tally)
        pin.seen, pin.life_s = seen, life_s
        self._idle[key] = pin
        return pin

    def refer(self, pin: Pin) -> None:
        """Note that one more flow refers to the pin."""
        if not pin.refs:
            del self._idle[pin.key]
        pin.refs += 1

    def expire(self, now: float, most: int) -> int:
        """Forget up to `most` pins whose time is over; returns how many."""
        left = most
        while self._idle and left:
            pin = next(iter(self._idle.values()))
            if not _is_over(pin, now):
                break
            self._forget(pin)
            left -= 1
        return most - left

    def _make(self, key: _Key, tally: Tally) -> Pin:
        if len(self._pins) >= self._capacity:
            self._forget(next(iter(self._idle.values())))
        self._pins[key] = Pin(key, tally)
        tally.pins += 1
        return self._pins[key]

    def _forget(self, pin: Pin) -> None:
        pin.tally.pins -= 1
        del self._pins[pin.key], self._idle[pin.key]


def _key(table: ServiceTable, client: bytes) -> _Key:
    prefix = table.persist4 if len(client) == 4 else table.persist6
    return table.key, masked(client, prefix)


def _is_over(pin: Pin, now: float) -> bool:
    return not pin.refs and now - pin.seen >= pin.life_s
