"""A dump of one plane, loaded by the next: of the same engine, or of the other."""

import json
from dataclasses import replace

import pytest

from pktlb.engine.datapath.dump import FLOW, DumpError, unpack
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto, Scheduler
from tests.conftest import ENGINES
from tests.support.cases import each_world
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import DMZ, V4, Packet, World, packed, tcp, udp, via

KINDS = ("nat", "snat", "dsr", "tunnel", "persist", "one packet", "sed")
NOW = 5.0


def laid_out(kind: str, world: World) -> Tables:
    both = {"a": 1, "b": 1}
    if kind == "one packet":
        return tables(
            service(Mode.NAT, both, at=world.vip(), proto=Proto.UDP, one_packet=True, port=53)
        )
    if kind == "snat":
        pool = [world.address(DMZ, 9)]
        return tables(service(Mode.NAT, both, at=world.vip()), snat=pool)
    if kind == "persist":
        return tables(service(Mode.NAT, both, at=world.vip(), persist_s=60))
    if kind == "sed":
        return tables(service(Mode.NAT, both, at=world.vip(), scheduler=Scheduler.SED))
    return tables(service(Mode(kind), both, at=world.vip()))


def packets(kind: str, world: World, first: int, count: int, flags: str) -> list[Packet]:
    """One of each client; every other one has an address of its own."""
    found = []
    for i in range(first, first + count):
        address = world.address(0, 100 + i // 2) if i % 2 else ""
        client = world.client(4000 + i, address)
        make = udp(client, world.vip(), b"q") if kind == "one packet" else None
        found.append(make or tcp(client, world.vip(), flags))
    return found


def busy(engine: MakePlane, kind: str, world: World) -> Gateway:
    """A plane with flows in several states, some of them expired."""
    gateway = Gateway(engine, laid_out(kind, world), max_flows=64)
    for number, packet in enumerate(packets(kind, world, 0, 12, "S")):
        gateway.receive(packet, number / 10)
    for packet in packets(kind, world, 2, 6, "A"):
        gateway.receive(packet, 2.0)
    for packet in packets(kind, world, 4, 2, "R"):
        gateway.receive(packet, 3.0)
    return gateway


def inside(frame: Frame, kind: str) -> Frame:
    """All but the outer header of a tunnel: the next plane begins with another identification."""
    outer = 14 + 20 if frame.data[14] >> 4 == 4 else 14 + 40
    return Frame(frame.port, frame.data[outer:]) if kind == "tunnel" else frame


def next_one(engine: MakePlane, before: Gateway, kind: str, world: World) -> Gateway:
    after = Gateway(engine, laid_out(kind, world), max_flows=64)
    flows = len(before.plane.flows)
    assert flows > 5 or kind == "one packet"
    assert after.plane.load(before.plane.dump(NOW), NOW) == flows
    after.goes_on(before)
    return after


@each_world
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", ENGINES)
def test_the_next_plane_decides_as_this_one_would_have(
    engine: MakePlane, other: str, kind: str, world: World
) -> None:
    before = busy(engine, kind, world)
    after = next_one(ENGINES[other], before, kind, world)
    assert after.plane.counts == before.plane.counts
    assert after.plane.tallies() == before.plane.tallies()
    assert after.plane.pin_count == before.plane.pin_count
    rest = [
        *packets(kind, world, 0, 12, "A"),
        *(tcp(world.backend("a"), via(DMZ, world.client(4000 + i)), "SA") for i in range(12)),
        *packets(kind, world, 12, 12, "S"),
        *packets(kind, world, 0, 12, "S"),
    ]
    for number, packet in enumerate(rest):
        now = NOW + number / 10
        mine, its = after.receive(packet, now), before.receive(packet, now)
        assert mine.reason is its.reason
        assert [inside(f, kind) for f in mine.frames] == [inside(f, kind) for f in its.frames]
    for now in (10.0, 20.0, 60.0, 130.0, 300.0):
        assert after.plane.expire(now, 64) == before.plane.expire(now, 64)
        assert len(after.plane.flows) == len(before.plane.flows)
        assert after.plane.pin_count == before.plane.pin_count


@each_world
def test_source_endpoints_in_use_are_not_given_out_by_the_next_plane(
    engine: MakePlane, world: World
) -> None:
    """The next process may give them out in another order."""
    before = busy(engine, "snat", world)
    ports = list(range(1024, 1024 + 40))
    few = Gateway(engine, laid_out("snat", world), max_flows=64, source_ports=ports)
    for packet in packets("snat", world, 0, 12, "S"):
        few.receive(packet)
    after = Gateway(engine, laid_out("snat", world), max_flows=64, source_ports=ports[::-1])
    assert after.plane.load(few.plane.dump(NOW), NOW) == 12
    after.goes_on(few)
    for packet in packets("snat", world, 12, 28, "S"):
        after.receive(packet, NOW)
    stand_ins = [flow.reverse for flow in after.plane.flows]
    assert len(set(stand_ins)) == 40
    assert len(before.plane.flows) < 40


@pytest.mark.parametrize("count", [0, 12, 1 << 40])
def test_the_order_of_source_ports_may_be_handed_over_first(engine: MakePlane, count: int) -> None:
    """So the next plane can prepare for the flows before it gets them."""
    before = busy(engine, "nat", V4)
    first, rest = before.plane.dump(NOW), before.plane.dump(NOW, with_ports=False)
    assert unpack(first).ports
    assert unpack(rest) == replace(unpack(first), ports=[])
    after = Gateway(engine, laid_out("nat", V4), max_flows=64)
    after.plane.expect(count)
    assert not len(after.plane.flows)
    assert after.plane.load(rest, NOW) == len(before.plane.flows)


def test_flows_of_a_service_that_is_gone_are_handed_over(engine: MakePlane) -> None:
    before = busy(engine, "nat", V4)
    other = service(Mode.NAT, {"c": 1}, at=V4.vip(81))
    after = Gateway(engine, tables(other), max_flows=64)
    assert after.plane.load(before.plane.dump(NOW), NOW) == len(before.plane.flows)
    keys = {key for key, count in after.plane.tallies().items() if count.active}
    assert keys == {key for key, count in before.plane.tallies().items() if count.active}


@pytest.mark.parametrize("other", ENGINES)
def test_a_service_without_backends_continues_its_round(engine: MakePlane, other: str) -> None:
    """The number of its picks belongs to the service, to no backend and no flow."""
    idle, both = tables(service(Mode.NAT, {})), tables(service(Mode.NAT, {"a": 1, "b": 1}))
    before = Gateway(engine, both)
    before.receive(tcp(V4.client(4000), V4.vip(), "S"), 0.0)
    before.plane.expire(1000.0, 64)
    before.plane.swap(idle)
    assert not before.plane.tallies()
    after = Gateway(ENGINES[other], idle)
    assert after.plane.load(before.plane.dump(1000.0), 1000.0) == 0
    after.goes_on(before)
    after.plane.swap(both)
    after.receive(tcp(V4.client(4001), V4.vip(), "S"), 1000.0)
    assert [flow.backend.address for flow in after.plane.flows] == [packed(V4.backends["b"])]


def test_the_idlest_flows_are_left_out_where_there_is_less_room(engine: MakePlane) -> None:
    before = busy(engine, "nat", V4)
    after = Gateway(engine, laid_out("nat", V4), max_flows=4)
    kept = after.plane.load(before.plane.dump(NOW), NOW)
    assert 0 < kept <= 4
    oldest = min(flow.seen for flow in after.plane.flows)
    left_out = sorted(flow.seen for flow in before.plane.flows)[: len(before.plane.flows) - 4]
    assert all(seen <= oldest + 0.01 for seen in left_out)


def test_a_dump_of_another_version_may_have_more_or_fewer_fields(engine: MakePlane) -> None:
    before = busy(engine, "nat", V4)
    data = before.plane.dump(NOW)
    line, _, records = data.partition(b"\n")
    head = json.loads(line)
    names = [name for name, _ in head["flow"]]
    more = b"".join(
        record + b"\1\2" for record in (records[i * FLOW.size : (i + 1) * FLOW.size]
                                       for i in range(head["flows"]))
    )  # fmt: skip
    later = {**head, "flow": [*head["flow"], ["mood", "2s"]], "weather": "fine"}
    again = unpack(json.dumps(later).encode() + b"\n" + more)
    assert again == unpack(data)
    assert names[-11:][:2] == ["pin", "client_next"]
    earlier = {k: v for k, v in head.items() if k != "pins"} | {"pins": 0}
    shorter = b"".join(
        records[i * FLOW.size : (i + 1) * FLOW.size - 32] for i in range(head["flows"])
    )
    earlier["flow"] = head["flow"][:-11]
    memory = unpack(json.dumps(earlier).encode() + b"\n" + shorter)
    assert memory == replace(unpack(data), pins=b"", flows=memory.flows)
    after = Gateway(engine, laid_out("nat", V4), max_flows=64)
    whole = json.dumps(earlier).encode() + b"\n" + shorter
    assert after.plane.load(whole, NOW) == len(before.plane.flows)


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"{}\n", b"[]\n", b'{"format": 2}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"],
)
def test_bytes_that_are_no_dump_are_refused_as_a_whole(engine: MakePlane, data: bytes) -> None:
    gateway = Gateway(engine, laid_out("nat", V4))
    with pytest.raises(DumpError):
        gateway.plane.load(data, NOW)
    assert not len(gateway.plane.flows)


def test_records_that_cannot_be_flows_are_skipped(engine: MakePlane) -> None:
    """Random bytes in a record do not crash, and the other records are loaded."""
    before = busy(engine, "nat", V4)
    data = before.plane.dump(NOW)
    line, _, records = data.partition(b"\n")
    total = len(before.plane.flows)
    for at_byte in range(FLOW.size):
        for value in (0, 1, 5, 127, 255):
            changed = bytearray(records)
            changed[at_byte] = value
            after = Gateway(engine, laid_out("nat", V4), max_flows=64)
            loaded = after.plane.load(line + b"\n" + bytes(changed), NOW)
            assert total - 1 <= loaded <= total
            assert len(after.plane.flows) == loaded
            after.goes_on(before)
            after.receive(tcp(V4.client(4001), V4.vip(), "S"), NOW)
