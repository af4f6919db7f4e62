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
from pktlb.engine.datapath.dump import FLOW, DumpError, Memory, unpack
from pktlb.engine.datapath.limits import SOURCE_PORTS, Limits
from pktlb.engine.datapath.tables import Tables
from pktlb.engine.plane import Plane
from pktlb.host.machine import Machine
from pktlb.plan.leaving import Leaver
from pktlb.plan.placement import NOTHING_BEFORE, Before

log: Final = logging.getLogger(__name__)


class Past(NamedTuple):
    """What there was before a balancer starts; nothing at a first start."""

    leaving: Sequence[Leaver] = ()
    "Backends that are served until their last flow ends."
    handover: Handover | None = None
    "What another process has left."
    bridge: Bridge | None = None
    "What moves the frames until this process does."

    def before(self, machine: Machine) -> Before:
        """What had its place in the process before, and need not be found again."""
        handed = self.handover
        if not handed:
            return NOTHING_BEFORE
        ports = (machine.links.get(index) for index in handed.indexes.values())
        return Before(tuple(filter(None, ports)), handed.added, handed.names)

    def plane_for(
        self, kind: str, tables: Tables, config: Config, own_ports: range, dump: bytes
    ) -> Plane:
        """A plane of this kind.

        It gives out source ports in the order of the plane that made `dump`, and takes over
        nothing else of it yet.
        """
        memory = _memory_of(dump)
        plane = make_plane(kind, tables, _limits(config, own_ports, memory.ports))
        if memory.flows:
            plane.expect(len(memory.flows) // FLOW.size)
        return plane


def _memory_of(dump: bytes) -> Memory:
    """What an earlier process remembered; nothing where that cannot be read."""
    try:
        return unpack(dump) if dump else Memory(0)
    except DumpError:
        return Memory(0)


def take_over(plane: Plane, dumps: Sequence[bytes], max_flows: int) -> None:
    """Load the flows of an earlier process from the first of its `dumps` that can be read.

    Where none can be read, the plane starts without flows: that is better than no start.
    """
    for dump in filter(None, dumps):
        try:
            taken = plane.load(dump, monotonic())
        except DumpError as error:
            log.error("no flows taken over: %s", error)
        else:
            more = ", as many as max_flows" if taken == max_flows else ""
            log.info("flows taken over: %d%s", taken, more)
            return


def _limits(config: Config, own_ports: range, past: Sequence[int]) -> Limits:
    """The limits of a new plane. Translated clients get the ports that the kernel does not use.

    They are shuffled (RFC 6056, section 3.1): in order, a restart would begin with ports that
    backends still hold in TIME_WAIT, and the next port could be guessed. A plane that goes on with
    flows keeps the `past` order, so that the ports in use stay together.
    """
    ports = [port for port in SOURCE_PORTS if port not in own_ports]
    if sorted(past) == ports:
        ports = list(past)
    else:
        SystemRandom().shuffle(ports)
    return Limits(config.max_flows, config.timeouts, ports, secrets.token_bytes(16))
