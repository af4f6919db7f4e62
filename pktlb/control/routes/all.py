"""The table of all routes, which the server takes."""

from typing import Final

from pktlb.control.routes import backends, balancer, events, flows, services
from pktlb.control.routes.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *balancer.ROUTES, *services.ROUTES, *backends.ROUTES, *flows.ROUTES, *events.ROUTES,
)  # fmt: skip
"All routes, in the order of docs/api.md."
