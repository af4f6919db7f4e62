"""What of the control API's client the commands of ipvsadm use."""

from collections.abc import Mapping
from typing import Any, Protocol


class Api(Protocol):
    """A running balancer; what it refuses is a `PktlbError` with HTTP's `status`."""

    def ask(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object] | None = None,
        body: object = None,
    ) -> Any:
        """The JSON value of the answer, or its text where it is none."""
