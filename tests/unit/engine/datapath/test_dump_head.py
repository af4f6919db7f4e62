"""The first line of a dump with any value: it is refused, or both planes read it alike."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pktlb.engine.datapath.dump import PIN, DumpError
from pktlb.model import OF_DECAP, Reason, Timeouts
from tests.conftest import ENGINES
from tests.support.gateway import Gateway, MakePlane
from tests.support.packets import V4
from tests.unit.engine.datapath.test_dump import NOW, busy, laid_out, packets

STORED = Path(__file__).parents[3] / "data" / "handover-1.bin"
"A dump of format 1: flows of twelve clients, and pins of seven of them."
ODD: tuple[Any, ...] = (
    None, -1, "", "zz", "00" * 16, [], {}, 0, 255, 1 << 40, (1 << 64) - 1, 1 << 64,
)  # fmt: skip
"Values that are put in the place of each value."


def stored() -> tuple[dict[str, Any], bytes]:
    line, _, records = STORED.read_bytes().partition(b"\n")
    return json.loads(line), records


def paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value inside; of long lists only the beginning and the end."""
    if path:
        yield path
    if isinstance(value, dict):
        inside = list(value.items())
    else:
        inside = list(enumerate(value)) if isinstance(value, list) else []
    for key, each in inside if len(inside) <= 13 else (*inside[:2], inside[-1]):
        yield from paths(each, (*path, key))


def with_odd_values(head: dict[str, Any], section: str) -> Iterator[bytes]:
    """First lines in which one value is replaced."""
    for path in paths(head[section], (section,)):
        for odd in ODD:
            changed = json.loads(json.dumps(head))
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = odd
            yield json.dumps(changed).encode() + b"\n"


def what_came_of(engine: MakePlane, data: bytes) -> object:
    """What a plane remembers after loading; None where it refused the dump."""
    gateway = Gateway(engine, laid_out("persist", V4), max_flows=64)
    plane = gateway.plane
    try:
        flows = plane.load(data, NOW)
    except DumpError:
        assert not len(plane.flows)
        assert not plane.pin_count
        assert not any(plane.counts.values())
        return None
    assert flows == len(plane.flows)
    plane.dump(NOW)
    counts = {reason: count for reason, count in plane.counts.items() if reason not in OF_DECAP}
    return flows, plane.pin_count, plane.tallies(), counts


@pytest.mark.parametrize("section", sorted(stored()[0]))
def test_any_value_in_the_head_is_refused_or_means_the_same_to_both_engines(section: str) -> None:
    head, records = stored()
    for line in with_odd_values(head, section):
        python, native = (what_came_of(each, line + records) for each in ENGINES.values())
        assert python == native, line


def test_any_pin_means_the_same_to_both_engines() -> None:
    head, records = stored()
    line = json.dumps(head).encode() + b"\n"
    first = len(records) - head["pins"] * PIN.size
    for at in range(first, first + PIN.size):
        for value in (0, 6, 255):
            data = bytearray(records)
            data[at] = value
            python, native = (what_came_of(each, line + data) for each in ENGINES.values())
            assert python == native, (at - first, value)


def test_dumps_of_earlier_versions_can_be_read(engine: MakePlane) -> None:
    """The recorded file is never replaced: each new format adds another file."""
    gateway = Gateway(engine, laid_out("persist", V4), max_flows=64)
    assert gateway.plane.load(STORED.read_bytes(), NOW) == 12
    assert gateway.plane.pin_count == 7
    assert gateway.plane.counts[Reason.OPENED] == 12
    assert sorted(count.active for count in gateway.plane.tallies().values()) == [3, 9]
    before = Gateway(engine, laid_out("persist", V4), max_flows=64)
    for number, packet in enumerate(packets("persist", V4, 0, 12, "S")):
        before.receive(packet, number / 10)
    gateway.goes_on(before)
    for packet in packets("persist", V4, 0, 12, "A"):
        assert gateway.receive(packet, NOW).reason is Reason.FORWARDED


def test_flows_that_expire_by_shorter_timeouts_hold_no_endpoint(engine: MakePlane) -> None:
    """Their timeouts were longer in the plane that dumped them."""
    ports = range(1024, 1028)
    before = Gateway(engine, laid_out("snat", V4), max_flows=64, source_ports=ports)
    for packet in packets("snat", V4, 0, 4, "S"):
        before.receive(packet)
    after = Gateway(
        engine, laid_out("snat", V4), max_flows=64, source_ports=ports, timeouts=Timeouts(syn=1.0)
    )
    assert after.plane.load(before.plane.dump(NOW), NOW) == 0
    after.goes_on(before)
    for packet in packets("snat", V4, 4, 4, "S"):
        assert after.receive(packet, NOW).reason is Reason.OPENED


def test_expired_flows_are_not_handed_over(engine: MakePlane) -> None:
    before = busy(engine, "persist", V4)
    flows = len(before.plane.flows)
    before.plane.dump(15.0)
    assert 0 < len(before.plane.flows) < flows
