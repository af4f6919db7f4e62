"""What the control socket lets people do, and the values in which the balancer answers.

The server knows the daemon only by this protocol, so tests put something smaller in its place.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.model import Endpoint, Mode, OnRemove, Reason, Vip
from pktlb.plan.change import Change


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """A backend and what it has done."""

    backend: Backend
    state: str
    """"up", "drained" (weight 0 or drain), "full", "starting" (slow start), "unreachable", or
    "removed": it waits for the end of its flows."""
    weight_now: float
    "Its weight at present, which slow start makes less than what is configured."
    active: int
    "Open connections."
    inactive: int
    "Flows that are not yet, or no longer, open."
    connections: int
    "Flows opened since the start, or since `zero`; so with the packets and bytes."
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service with its backends as they stand."""

    service: Service
    backends: tuple[BackendStatus, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """What the whole balancer is and has done."""

    flows: int
    reasons: dict[Reason, int]
    trouble: dict[str, int]
    "Everything that is not the normal way of a frame, by a sentence."
    engine: str
    workers: int
    interfaces: tuple[str, ...]
    uptime_s: float
    pins: int
    "Clients that persistence holds to a backend."
    max_flows: int


@dataclass(frozen=True, slots=True)
class FlowView:
    """One flow of the table."""

    proto: int
    client: Endpoint
    vip: Endpoint
    service: str
    "The label of the service."
    backend: Endpoint
    mode: Mode
    state: str
    'A state of `pktlb.engine.datapath.tcp` in lower case, or "killed".'
    idle_s: float
    "Seconds since its last packet."
    seen_as: Endpoint | None
    "NAT: the client as the backend sees it, which is itself where nothing stands in for it."
    service_vip: Vip | None = None
    "The VIP of the service; None: that is not known any more."


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    time: float
    "Seconds since the epoch."
    kind: str
    '"backend", "change", "conflict", "reload", "removed", "restart" or "trouble".'
    text: str
    fields: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Removal:
    """How the removal of a backend that was drained went."""

    flows_cut: int
    "Flows that were still open when the time ran out."
    waited_s: float


class Operator(Protocol):
    """What the daemon implements. All of it runs in the daemon's event loop."""

    @property
    def changing(self) -> asyncio.Lock:
        """Held from the look at `config` to the end of `apply`, `reload` or `restart`, so that no
        change is lost; whoever changes the configuration otherwise (SIGHUP) takes it as well."""

    @property
    def config(self) -> Config:
        """What is running now."""

    def status(self) -> list[ServiceStatus]:
        """In the order of the configuration."""

    def counts(self) -> Counts: ...

    async def plan(
        self, wanted: Config, policy: OnRemove | None = None, force: bool = False
    ) -> Change:
        """What `apply` would do. Raises `ConfigError`; changes nothing."""

    async def apply(
        self, wanted: Config, policy: OnRemove | None = None, force: bool = False
    ) -> Change:
        """Make it so. After a `ConfigError` nothing has changed. `policy`: what becomes of the
        connections of backends that this removes; None: as their service says. With `force`,
        addresses are taken that another machine on the link uses."""

    async def reload(self, force: bool = False) -> Change:
        """`apply` the file it was started with."""

    async def read_file(self, text: str | None) -> Config:
        """Parse a configuration file; None: the daemon's own one. Raises `ConfigError`."""

    async def flows(
        self, select: Callable[[FlowView], bool], limit: int
    ) -> tuple[list[FlowView], int]:
        """The first `limit` of those selected, and how many there are of them."""

    async def kill(self, select: Callable[[FlowView], bool]) -> int:
        """Forget flows; how many there were."""

    async def remove_when_idle(
        self, service: str, backend: Endpoint, within_s: float | None,
        policy: OnRemove | None = None,
    ) -> Removal:  # fmt: skip
        """Drain a backend of all services of this name (or the one of this VIP), and remove it
        when its last flow has ended, or the time is up; None: however long that takes.

        Called without `changing`, which it takes for its two changes. Cancelled, it leaves it
        drained.
        """

    async def restart(self, dry_run: bool) -> Change:
        """Hand over to a new process; returns when that one can start, just before it does, and
        what it does otherwise. Raises `ConfigError` or `KernelError` where it cannot. With
        `dry_run` that is all."""

    def zero(self) -> None:
        """Statistics start again from 0."""

    def subscribe(self) -> AsyncIterator[Event]:
        """Events as they happen from now on; closed by its consumer (`aclose`)."""
