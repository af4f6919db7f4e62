"""A protocol of the client of the control API, as far as the commands of ipvsadm need it."""

from collections.abc import Mapping
from typing import Any, Protocol


class Api(Protocol):
    """A running balancer. A refused request raises a `PktlbError` with the `status` of HTTP."""

    def ask(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object] | None = None,
        body: object = None,
    ) -> Any:
        """Send a request; the JSON value of the answer, or its text if it is no JSON."""
