"""What the daemon does for requests to the control socket, and the values of its answers.

The server knows the daemon only by the protocol `Operator`, so tests give it a smaller one.
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
    """A backend, its state, and its counters."""

    backend: Backend
    state: str
    """"up", "drained" (weight 0 or drain), "full", "starting" (slow start), "unreachable", or
    "removed" (it waits for the end of its flows)."""
    weight_now: float
    "The weight at present; slow start makes it less than the configured one."
    active: int
    "Open connections."
    inactive: int
    "Flows that are not open yet, or no longer."
    connections: int
    "Flows opened since the start, or since `zero`. Packets and bytes are counted from then, too."
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service, with the status of its backends."""

    service: Service
    backends: tuple[BackendStatus, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """The state and the counters of the whole balancer."""

    flows: int
    "Flows in the table now."
    reasons: dict[Reason, int]
    "Frames, by what became of them."
    trouble: dict[str, int]
    "What is not the normal way of a frame: a sentence, and how often it happened."
    engine: str
    workers: int
    interfaces: tuple[str, ...]
    uptime_s: float
    pins: int
    "Clients that persistence holds to a backend."
    max_flows: int
    capabilities: tuple[str, ...] = ()
    "What the process may do beyond its user, such as CAP_NET_ADMIN; in alphabetical order."


@dataclass(frozen=True, slots=True)
class FlowView:
    """One flow of the table, as listings show it."""

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
    "NAT: the client as the backend sees it, which is `client` without source NAT. Else None."
    service_vip: Vip | None = None
    "The VIP of the service; None: the service is not known any more."


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened."""

    time: float
    "Seconds since the epoch."
    kind: str
    '"backend", "change", "conflict", "reload", "removed", "restart", "trouble" or "warning".'
    text: str
    "A sentence for people."
    fields: dict[str, str | int]
    "The same for programs; the keys depend on the kind."


@dataclass(frozen=True, slots=True)
class Removal:
    """The end of the removal of a drained backend."""

    flows_cut: int
    "Flows that were still open when the time ran out."
    waited_s: float
    "Seconds from the request to the removal."


class Operator(Protocol):
    """What the daemon implements. All of it runs in the daemon's event loop."""

    @property
    def changing(self) -> asyncio.Lock:
        """A lock, to be held from the look at `config` to the end of `apply`, `reload` or
        `restart`, so that no change is lost. The daemon holds it, too, when it changes the
        configuration by itself (SIGHUP)."""

    @property
    def config(self) -> Config:
        """The configuration that is in force."""

    def status(self) -> list[ServiceStatus]:
        """In the order of the configuration."""

    def counts(self) -> Counts: ...

    async def plan(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        """What `apply` would do; changes nothing. Raises `ConfigError`."""

    async def apply(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        """Put a configuration in force. `on_remove` says what becomes of the connections of
        backends that are removed; None: as their service says. With `force`, addresses are taken
        that another machine on the link uses. Raises `ConfigError`, and nothing has changed
        then."""

    async def reload(self, force: bool = False) -> Change:
        """`apply` the file that pktlb was started with."""

    async def read_file(self, text: str | None) -> Config:
        """Parse the text of a configuration file; None: read the daemon's own file. Raises
        `ConfigError`."""

    async def flows(
        self, select: Callable[[FlowView], bool], limit: int
    ) -> tuple[list[FlowView], int]:
        """The first `limit` of the selected flows, and the number of all selected flows."""

    async def kill(self, select: Callable[[FlowView], bool]) -> int:
        """End the selected flows; how many there were."""

    async def remove_when_idle(
        self, service: str, backend: Endpoint, within_s: float | None,
        on_remove: OnRemove | None = None,
    ) -> Removal:  # fmt: skip
        """Drain a backend of all services of this name (or the one of this VIP), and remove it
        when its last flow has ended, or after `within_s` seconds; None: without a time limit.

        It holds `changing` for each of its two changes, so the caller must not. If it is
        cancelled, the backend stays drained.
        """

    async def restart(self, dry_run: bool) -> Change:
        """Hand over to a new process, which reads the file again; what that changes. Returns when
        it is known that the process can start, just before it does. With `dry_run` it does not
        start. Raises `ConfigError` or `KernelError` if it could not."""

    def zero(self) -> None:
        """Count connections, packets and bytes of backends from 0 again."""

    def subscribe(self) -> AsyncIterator[Event]:
        """All events from now on. The consumer closes the iterator (`aclose`)."""
