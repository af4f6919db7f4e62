"""The wait for the last flow of a backend: what it looks at, and what ends it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.control.operator import Removal
from pktlb.control.refusal import BusyError, ConflictError
from pktlb.daemon import drain
from pktlb.daemon.balancer import Balancer
from pktlb.daemon.drain import Drain
from pktlb.daemon.transition import Transitions
from pktlb.engine.datapath.tables import ServiceKey, service_key
from pktlb.model import Endpoint, Mode, OnRemove, Scheduler, Vip

A, B = (Endpoint(bytes([10, 0, 2, number]), 80) for number in (11, 12))
FLOWS_LAST = 200
"Looks until the last flow is over."


def service(number: int) -> Service:
    vip = Vip(bytes([10, 0, 1 + number // 200, number % 200]), 80, 80, (6,))
    return Service(vip, Mode.NAT, Scheduler.RR, (Backend(A), Backend(B)), name=f"s{number}")


class Counted(tuple[Service, ...]):
    """Services that count how often they are gone through."""

    walks = 0

    def __iter__(self) -> Iterator[Service]:
        Counted.walks += 1
        return super().__iter__()


class FakeBalancer:
    """A balancer whose plane has flows of backend A for `FLOWS_LAST` looks."""

    def __init__(self, services: int) -> None:
        self.config = Config(Counted(service(number) for number in range(services)))
        self.asked: list[tuple[ServiceKey, Endpoint]] = []
        self.on_look: Callable[[], None] = lambda: None

    @property
    def plane(self) -> "FakeBalancer":
        return self

    def open_flows(self, key: ServiceKey, backend: Endpoint) -> int:
        self.asked.append((key, backend))
        self.on_look()
        return int(len(self.asked) < FLOWS_LAST)

    async def apply(self, wanted: Config, on_remove: OnRemove | None = None) -> None:
        """As `Transitions.apply`."""
        self.config = Config(Counted(wanted.services))


def remove(
    balancer: FakeBalancer,
    within_s: float | None = None,
    restarts: Callable[[], bool] = lambda: False,
) -> Removal:
    async def wait() -> Removal:
        removal = Drain(
            cast(Balancer, balancer), cast(Transitions, balancer), asyncio.Lock(), "s1", A
        )
        return await removal.remove(within_s, None, restarts)

    return asyncio.run(wait())


@pytest.fixture(autouse=True)
def _looks_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "LOOK_S", 0)


def test_a_backend_is_removed_when_its_last_flow_is_over() -> None:
    balancer = FakeBalancer(3)
    assert remove(balancer).flows_cut == 0
    ends = [[b.endpoint for b in s.backends] for s in balancer.config.services]
    assert ends == [[A, B], [B], [A, B]]


def test_only_the_service_of_the_name_is_asked_for_flows() -> None:
    balancer = FakeBalancer(3)
    remove(balancer)
    assert set(balancer.asked) == {(service_key(service(1).vip), A)}


@pytest.mark.parametrize("services", [2, 1000])
def test_a_look_goes_through_no_services(services: int) -> None:
    balancer = FakeBalancer(services)
    Counted.walks = 0
    remove(balancer)
    assert len(balancer.asked) == FLOWS_LAST
    assert Counted.walks < FLOWS_LAST / 10


def test_another_configuration_is_looked_at_once() -> None:
    balancer = FakeBalancer(2)
    moments = iter(range(FLOWS_LAST))

    def change() -> None:
        if next(moments) == 50:
            balancer.config = Config(Counted((*balancer.config.services, service(7))))

    balancer.on_look = change
    assert remove(balancer).flows_cut == 0
    assert [s.label for s in balancer.config.services] == ["s0", "s1", "s7"]


def test_an_undrained_backend_is_not_removed() -> None:
    balancer = FakeBalancer(2)

    def undrain() -> None:
        balancer.config = Config(Counted(service(number) for number in range(2)))

    balancer.on_look = undrain
    with pytest.raises(ConflictError, match="it was undrained meanwhile"):
        remove(balancer)


def test_a_restart_ends_the_wait_and_the_backend_stays_drained() -> None:
    balancer = FakeBalancer(2)
    with pytest.raises(BusyError, match="pktlb restarts, ask again"):
        remove(balancer, restarts=lambda: len(balancer.asked) > 3)
    assert [b.drain for b in balancer.config.services[1].backends] == [True, False]


def test_what_is_open_when_the_time_is_up_is_cut() -> None:
    balancer = FakeBalancer(2)
    assert remove(balancer, within_s=0).flows_cut == 1
    assert [b.endpoint for b in balancer.config.services[1].backends] == [B]
