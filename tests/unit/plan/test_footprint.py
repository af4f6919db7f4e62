"""What two configurations need of the machine: the same or not."""

from dataclasses import replace

import pytest

from pktlb.config.service import Backend, Service
from pktlb.model import Endpoint, Mode, Scheduler, Vip
from pktlb.plan.footprint import alike

FIRST, SECOND = Endpoint(bytes([10, 0, 2, 11]), 80), Endpoint(bytes([10, 0, 2, 12]), 80)
WEB = Service(
    vip=Vip(bytes([10, 0, 1, 100]), 80, 80, (6,)),
    mode=Mode.NAT,
    scheduler=Scheduler.LC,
    backends=(Backend(FIRST), Backend(SECOND)),
)
OTHER = replace(WEB, vip=WEB.vip._replace(low=81, high=81))

SAME = {
    "weight": replace(WEB, backends=(Backend(FIRST, weight=7), Backend(SECOND))),
    "drained": replace(WEB, backends=(Backend(FIRST, drain=True), Backend(SECOND))),
    "scheduler": replace(WEB, scheduler=Scheduler.MAGLEV),
    "name": replace(WEB, name="web"),
}
NOT_THE_SAME = {
    "address": replace(WEB, backends=(Backend(FIRST), Backend(SECOND._replace(port=81)))),
    "gone": replace(WEB, backends=(Backend(FIRST),)),
    "mode": replace(WEB, mode=Mode.TUNNEL),
    "mode of one": replace(WEB, backends=(Backend(FIRST), Backend(SECOND, mode=Mode.DSR))),
    "VIP": OTHER,
}


@pytest.mark.parametrize("after", SAME.values(), ids=SAME.keys())
def test_what_only_tables_know_needs_nothing_else_of_the_machine(after: Service) -> None:
    assert alike((WEB, OTHER), (after, OTHER))


@pytest.mark.parametrize("after", NOT_THE_SAME.values(), ids=NOT_THE_SAME.keys())
def test_where_packets_go_and_come_from_needs_something_else(after: Service) -> None:
    assert not alike((WEB, OTHER), (after, OTHER))
    assert not alike((after,), (after, OTHER))
    assert not alike((WEB, after), (after, WEB))
