"""How the services of a running balancer stand, and what it has counted."""

from time import monotonic
from typing import Final

from pktlb.config.service import Backend, Service
from pktlb.control.operator import BackendStatus, Counts, ServiceStatus
from pktlb.daemon.balancer import Balancer
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.engine.datapath.tally import Count
from pktlb.host import privilege
from pktlb.model import Endpoint
from pktlb.plan.ramp import FULL

Tallies = dict[tuple[ServiceKey, Endpoint], Count]

_NONE: Final = Count()


class Status:
    """Remembers when counting began, and from which counts."""

    def __init__(self) -> None:
        self._began: Final = monotonic()
        self._capabilities: Final = privilege.held()
        self._before: Tallies = {}
        "Counts at the time of `zero`."

    def zero(self, balancer: Balancer) -> None:
        """Count from here on."""
        self._before = balancer.plane.tallies()

    def services(self, balancer: Balancer) -> list[ServiceStatus]:
        """In the order of the configuration; behind a service's backends the leaving ones."""
        now = balancer.plane.tallies()
        found = []
        for service in balancer.config.services:
            key = service_key(service.vip)
            own = [
                self._backend(service, backend, _state(balancer, service, backend, now), now)
                for backend in service.backends
            ]
            leaving = [
                self._backend(service, each.backend, ("removed", 0.0), now)
                for each in balancer.leaving
                if each.key[0] == key and each.on_remove
            ]
            found.append(ServiceStatus(service, (*own, *leaving)))
        return found

    def _backend(
        self, service: Service, backend: Backend, standing: tuple[str, float], tallies: Tallies
    ) -> BackendStatus:
        key = service_key(service.vip), backend.endpoint
        now, before = tallies.get(key, _NONE), self._before.get(key, _NONE)
        rest = (after - past for after, past in zip(now[2:7], before[2:7], strict=True))
        return BackendStatus(backend, *standing, now.active, now.inactive, *rest)

    def counts(self, balancer: Balancer) -> Counts:
        """What the whole balancer has counted, and its flows."""
        engine, site = balancer.engine, balancer.site
        return Counts(
            flows=len(engine.plane.flows),
            reasons=engine.plane.counts,
            trouble={**engine.trouble(), **balancer.claims.trouble},
            engine=engine.name,
            workers=max((len(port.sockets) for port in site.ports), default=0),
            interfaces=tuple(port.name for port in site.ports),
            uptime_s=monotonic() - self._began,
            pins=engine.plane.pin_count,
            max_flows=balancer.config.max_flows,
            capabilities=self._capabilities,
        )


def _state(
    balancer: Balancer, service: Service, backend: Backend, tallies: Tallies
) -> tuple[str, float]:
    """The state of a backend, and its weight at present."""
    share = balancer.layout.ramps.share(service.vip, backend.endpoint)
    weight = backend.weight * share
    if backend.drain or not backend.weight:
        return "drained", 0.0
    if backend.endpoint.address not in balancer.tables.hops:
        return "unreachable", weight
    if tallies.get((service_key(service.vip), backend.endpoint), _NONE).full:
        return "full", weight
    return ("up" if share == FULL else "starting"), weight
