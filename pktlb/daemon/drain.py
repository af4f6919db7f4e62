"""The removal of a backend after its last connection has ended."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.control.edits import services_named, with_changed, with_changed_backend, without_backend
from pktlb.control.operator import Removal
from pktlb.control.refusal import BusyError, ConflictError
from pktlb.daemon.balancer import Balancer
from pktlb.daemon.transition import Transitions
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, OnRemove

LOOK_S: Final = 0.05
"Between two looks at whether a backend's last flow is over."


class Drain:
    """One removal: drain the backend of all services of a name, wait, remove it."""

    def __init__(
        self, balancer: Balancer, transitions: Transitions, changing: asyncio.Lock,
        service: str, backend: Endpoint,
    ) -> None:  # fmt: skip
        self._balancer: Final = balancer
        self._transitions: Final = transitions
        self._changing: Final = changing
        self._service: Final = service
        self._backend: Final = backend
        self._seen: Config | None = None
        "The configuration that `_keys` are of."
        self._keys: list[ServiceKey] = []
        "Keys of the services that have the backend."

    async def remove(self, within_s: float | None, on_remove: OnRemove | None,
                     is_restarting: Callable[[], bool]) -> Removal:  # fmt: skip
        """Returns when the backend is removed, `within_s` seconds after the call at the latest.

        Raises `ConflictError` where the backend was undrained or removed meanwhile, `BusyError`
        where the balancer restarts: it stays drained then.
        """
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with self._changing:
            await self._transitions.apply(self._edited(_drained))
        until = None if within_s is None else begin + within_s
        while (open_now := self._open()) and (until is None or loop.time() < until):
            await asyncio.sleep(LOOK_S)
            self._expect_no_restart(is_restarting)
        async with self._changing:
            self._expect_no_restart(is_restarting)
            self._expect_drained()
            await self._transitions.apply(self._edited(without_backend), on_remove)
        return Removal(open_now, loop.time() - begin)

    def _open(self) -> int:
        """How many open connections the backend has; `ConflictError` where it is not drained.

        Services are searched only when the configuration is another one: a look costs the same
        however many there are.
        """
        balancer = self._balancer
        if balancer.config is not self._seen:
            self._expect_drained()
        return sum(balancer.plane.open_flows(key, self._backend) for key in self._keys)

    def _expect_drained(self) -> None:
        """The operator may have undrained the backend while its flows went on."""
        config = self._balancer.config
        services = services_named(config, self._service)
        found = [b for s in services for b in s.backends if b.endpoint == self._backend]
        if not all(backend.drain for backend in found):
            raise ConflictError(
                f"backend {self._backend} is not removed: it was undrained meanwhile"
            )
        self._seen, self._keys = config, [service_key(service.vip) for service in services]

    def _expect_no_restart(self, is_restarting: Callable[[], bool]) -> None:
        if is_restarting():
            raise BusyError(f"backend {self._backend} is not removed: pktlb restarts, ask again")

    def _edited(self, edit: Callable[[Service, Backend], Service]) -> Config:
        """The configuration with the backend edited in each of the services."""
        config = self._balancer.config
        changed = []
        for service in services_named(config, self._service):
            backend = next((b for b in service.backends if b.endpoint == self._backend), None)
            if backend is None:
                raise ConfigError(f"service {service.label} has no backend {self._backend}")
            changed.append(edit(service, backend))
        return with_changed(config, changed)


def _drained(service: Service, backend: Backend) -> Service:
    return with_changed_backend(service, backend, replace(backend, drain=True))
