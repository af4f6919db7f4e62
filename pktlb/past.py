"""What a balancer takes over from the one before it, of this process or of another."""

import logging
import secrets
from collections.abc import Sequence
from random import SystemRandom
from time import monotonic
from typing import Final, NamedTuple

from pktlb import engines
from pktlb.config import Config
from pktlb.datapath.pipeline import SOURCE_PORTS, Limits
from pktlb.datapath.state import StateError, unpack
from pktlb.datapath.tables import Tables
from pktlb.engine import Plane
from pktlb.handover import Handover
from pktlb.leaving import Leaver

log: Final = logging.getLogger(__name__)


class Past(NamedTuple):
    """What there was."""

    plane: Plane | None = None
    "Of this process: its flows are there already."
    names: frozenset[str] = frozenset()
    "Interfaces that there have to be."
    leaving: Sequence[Leaver] = ()
    handover: Handover | None = None
    "Of another process."

    def plane_for(self, kind: str, tables: Tables, config: Config, own_ports: range) -> Plane:
        """A datapath of this kind that remembers what the one before it did."""
        if self.plane:
            self.plane.swap(tables)
            return self.plane
        state = self.handover.flows() if self.handover else b""
        plane = engines.make_plane(kind, tables, _limits(config, own_ports, _ports_of(state)))
        if state:
            _take_over(plane, state)
        return plane


def _ports_of(state: bytes) -> Sequence[int]:
    """The order in which an earlier process gave out ports."""
    try:
        return unpack(state).ports if state else ()
    except StateError:
        return ()


def _take_over(plane: Plane, state: bytes) -> None:
    """The flows of an earlier process; without them is better than not at all."""
    try:
        log.info("flows taken over: %d", plane.load(state, monotonic()))
    except StateError as error:
        log.error("no flows taken over: %s", error)


def _limits(config: Config, own_ports: range, past: Sequence[int]) -> Limits:
    """Ports for translated clients are those that the kernel does not choose for itself.

    Shuffled: in order, a restart would begin with those that backends still remember (TIME_WAIT),
    and anybody could guess the next one (RFC 6056, section 3.1). Whoever goes on with flows keeps
    the `past` order, so that those in use are together.
    """
    ports = [port for port in SOURCE_PORTS if port not in own_ports]
    if sorted(past) == ports:
        ports = list(past)
    else:
        SystemRandom().shuffle(ports)
    return Limits(config.max_flows, config.timeouts, ports, secrets.token_bytes(16))
