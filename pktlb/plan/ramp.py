"""Slow start: a backend that joins or returns comes to its full weight little by little."""

from collections.abc import Collection, Sequence
from typing import Final

from pktlb.config.service import Backend, Service
from pktlb.model import Endpoint, Vip

FULL: Final = 1.0
_LONG_AGO: Final = -float("inf")
_STEPS: Final = 20
"Steps of a ramp. Each makes new tables, and moves flows that a hash had placed."


class Ramps:
    """The backends that are on the way to their full weight.

    Times are seconds of any clock that never goes back.
    """

    def __init__(self) -> None:
        self._began: dict[Vip, dict[Endpoint, float]] = {}
        "When each backend began to take flows, by service."
        self._steps: dict[tuple[Vip, Endpoint], tuple[float, int]] = {}
        "Of each backend on its way: length of its ramp in seconds, and its latest step."

    def keep(self, services: Collection[Vip]) -> None:
        """Forget all services but these."""
        self._began = {vip: began for vip, began in self._began.items() if vip in services}
        self._steps = {key: step for key, step in self._steps.items() if key[0] in services}

    def shares(self, service: Service, usable: Sequence[Backend], now: float) -> tuple[float, ...]:
        """The part of its weight that each of the `usable` backends has at the time `now`.

        Backends that a service begins with have all of it.
        """
        if not service.slow_start_s:
            self._began.pop(service.vip, None)
            return (FULL,) * len(usable)
        before = self._began.get(service.vip)
        joined = _LONG_AGO if before is None else now
        began = {b.endpoint: (before or {}).get(b.endpoint, joined) for b in usable}
        if began:
            self._began[service.vip] = began
        return tuple(self._share(service, endpoint, now - at) for endpoint, at in began.items())

    def _share(self, service: Service, endpoint: Endpoint, elapsed_s: float) -> float:
        key = service.vip, endpoint
        step = _step(elapsed_s, service.slow_start_s)
        if step >= _STEPS:
            self._steps.pop(key, None)
            return FULL
        self._steps[key] = service.slow_start_s, step
        return (step + 1) / _STEPS

    def share(self, vip: Vip, endpoint: Endpoint) -> float:
        """The part of its weight that a backend had in the latest tables."""
        step = self._steps.get((vip, endpoint))
        return FULL if step is None else (step[1] + 1) / _STEPS

    def is_due(self, now: float) -> bool:
        """Whether the share of a backend is another one by now."""
        return any(
            _step(now - began, length) != step
            for (vip, endpoint), (length, step) in self._steps.items()
            if (began := self._began.get(vip, {}).get(endpoint)) is not None
        )


def _step(elapsed_s: float, length_s: float) -> int:
    return min(_STEPS, int(min(elapsed_s / length_s, 1.0) * _STEPS))
