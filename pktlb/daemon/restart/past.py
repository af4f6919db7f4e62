"""What a balancer takes over from the one before it, of this process or of another."""

import logging
import secrets
from collections.abc import Sequence
from random import SystemRandom
from time import monotonic
from typing import Final, NamedTuple

from pktlb.config.config import Config
from pktlb.daemon.restart.bridge import Bridge
from pktlb.daemon.restart.handover import Handover
from pktlb.engine.choose import make_plane
from pktlb.engine.datapath.dump import FLOW, Memory, StateError, unpack
from pktlb.engine.datapath.limits import SOURCE_PORTS, Limits
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.plane import Plane
from pktlb.host.machine import Machine
from pktlb.plan.leaving import Leaver
from pktlb.plan.placement import NOBODY, Known

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
    bridge: Bridge | None = None
    "What moves the frames until this process does."
    backends: frozenset[bytes] = frozenset()
    "The addresses of those that it served."

    def known(self, machine: Machine) -> Known:
        """What need not be found again."""
        if not self.handover:
            return NOBODY
        ports = map(machine.link_named, self.handover.ports)
        return Known(self.backends, tuple(filter(None, ports)), self.handover.added)

    def plane_for(
        self, kind: str, tables: Tables, config: Config, own_ports: range, state: bytes
    ) -> Plane:
        """The datapath of this process, or one of this kind which gives out ports in the order of
        the one that had this `state`; it has nothing else of it as yet."""
        if self.plane:
            self.plane.swap(tables)
            return self.plane
        memory = _memory_of(state)
        plane = make_plane(kind, tables, _limits(config, own_ports, memory.ports))
        if memory.flows:
            plane.expect(len(memory.flows) // FLOW.size)
        return plane


def _memory_of(state: bytes) -> Memory:
    """What an earlier process remembered, as far as it can be read."""
    try:
        return unpack(state) if state else Memory(0)
    except StateError:
        return Memory(0)


def take_over(plane: Plane, states: Sequence[bytes], max_flows: int) -> None:
    """The flows of an earlier process, by the first of its states that can be read; without them is
    better than not at all."""
    for state in filter(None, states):
        try:
            taken = plane.load(state, monotonic())
        except StateError as error:
            log.error("no flows taken over: %s", error)
        else:
            more = ", as many as max_flows" if taken == max_flows else ""
            log.info("flows taken over: %d%s", taken, more)
            return


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
