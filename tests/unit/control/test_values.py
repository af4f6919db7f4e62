"""Values of the control socket: their JSON, the selections, edits and rights."""

import asyncio
import grp
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pktlb.config.bounds import MAX_SOCKET_PATH
from pktlb.config.config import Config
from pktlb.config.service import Backend
from pktlb.config.text import parse_path
from pktlb.control import edits, views
from pktlb.control.events import QUEUE, Events
from pktlb.control.operator import Event, FlowView, Removal
from pktlb.control.peers import Peer, Rights, peer_of
from pktlb.control.place import socket_path
from pktlb.control.refusal import BadRequestError, ConflictError, NotFoundError
from pktlb.control.selection import STATES, make_selection
from pktlb.engine.datapath.tcp import State
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, Reason, Vip
from pktlb.plan.change import Change, ChangeItem
from tests.support.operator import CONFIG, DNS, WEB, A, B, FakeOperator, flow, packed

STATUS = ["version", "services", "flows", "reasons"]
SERVICE = ["name", "vip", "mode", "scheduler", "backends"]
BACKEND = [
    "address", "weight", "state", "active", "inactive", "connections", "packets_in", "bytes_in",
    "packets_out", "bytes_out",
]  # fmt: skip


def test_the_keys_of_the_status_are_frozen() -> None:
    """New keys come behind these."""
    fake = FakeOperator()
    status = views.status(fake.status(), fake.counts())
    assert list(status)[: len(STATUS)] == STATUS
    assert list(status["services"][0])[: len(SERVICE)] == SERVICE
    assert list(status["services"][0]["backends"][0])[: len(BACKEND)] == BACKEND
    assert status["version"] == 1
    assert list(status["reasons"]) == [reason.name for reason in Reason]
    assert status["services"][1]["name"] == "10.0.1.100:53/udp"


def test_the_keys_of_all_other_answers_are_frozen() -> None:
    change = views.change(Change(items=(ChangeItem("add", "service", "web", "", ""),)), True)
    assert list(change) == [
        "version", "dry_run", "lines", "items", "flows_total", "flows_moved", "flows_broken",
        "clients_share", "restart", "warnings",
    ]  # fmt: skip
    assert list(change["items"][0]) == ["action", "what", "service", "backend", "detail"]
    assert list(views.flow(flow(1))) == [
        "proto", "client", "vip", "service", "backend", "mode", "state", "idle_s", "seen_as",
    ]  # fmt: skip
    assert list(views.event(Event(1.5, "change", "so", {}))) == ["time", "kind", "text", "fields"]
    assert views.removal(Removal(3, 1.25)) == {
        "version": 1, "dry_run": False, "flows_cut": 3, "waited_s": 1.25,
    }  # fmt: skip
    fake = FakeOperator()
    assert list(views.stats(fake.status(), fake.counts(), 0.0)) == [
        "version", "time", "uptime_s", "totals", "services", "flows", "reasons", "trouble",
    ]  # fmt: skip


def test_sums_of_the_statistics() -> None:
    fake = FakeOperator()
    stats = views.stats(fake.status(), fake.counts(), 0.0)
    assert [service["connections"] for service in stats["services"]] == [80, 40]
    assert stats["totals"]["bytes_out"] == 3 * 8100000


SELECTED: list[tuple[dict[str, str], set[int]]] = [
    ({}, {1, 2, 3, 4, 5}),
    ({"client": "198.51.100.2"}, {2}),
    ({"client": "198.51.100.2:40002"}, {2}),
    ({"client": "198.51.100.2:40003"}, set()),
    ({"client": "198.51.100.2/31"}, {2, 3}),
    ({"client": "0.0.0.0/0"}, {1, 2, 3, 4, 5}),
    ({"client": "198.51.100.2/255.255.255.254"}, {2, 3}),
    ({"client": "::/0"}, set()),
    ({"backend": "10.0.2.11"}, {2, 4}),
    ({"backend": "10.0.2.12:8080", "min_idle": "4"}, {3, 5}),
    ({"vip": "10.0.1.100:80"}, {1, 2, 3, 4, 5}),
    ({"vip": "10.0.1.100:81"}, set()),
    ({"vip": "10.0.1.100:80/tcp"}, {1, 2, 3, 4, 5}),
    ({"vip": "10.0.1.100:80/udp"}, set()),
    ({"vip": "10.0.1.100:79-81/any"}, {1, 2, 3, 4, 5}),
    ({"vip": "10.0.1.100/tcp"}, {1, 2, 3, 4, 5}),
    ({"vip": "10.0.1.101:80/tcp"}, set()),
    ({"service": "web", "state": "established", "proto": "tcp"}, {1, 2, 3, 4, 5}),
    ({"service": "10.0.1.100:80/tcp"}, {1, 2, 3, 4, 5}),
    ({"service": "10.0.1.100:80"}, {1, 2, 3, 4, 5}),
    ({"service": "10.0.1.100:80/any"}, set()),
    ({"service": "10.0.1.100"}, set()),
    ({"service": "nobody"}, set()),
    ({"proto": "17"}, set()),
    *(({"state": state}, set[int]()) for state in STATES if state != "established"),
]


@pytest.mark.parametrize(("query", "wanted"), SELECTED, ids=[str(query) for query, _ in SELECTED])
def test_flows_are_selected_by_all_filters(query: dict[str, str], wanted: set[int]) -> None:
    select = make_selection(query)
    flows = [flow(last, 1.5 * last) for last in range(1, 6)]
    assert {each.client.address[-1] for each in flows if select(each)} == wanted


def test_every_state_of_a_flow_can_be_asked_for() -> None:
    assert (*(state.name.lower() for state in State), "killed") == STATES


@pytest.mark.parametrize(
    ("name", "value"),
    [("client", "x"), ("client", "1.2.3.4/33"), ("client", "1.2.3.4:0"), ("vip", ""),
     ("vip", "1.2.3.4\0"), ("vip", "1.2.3.4/tpc"), ("client", "[::/0"), ("proto", "tpc"),
     ("proto", "256"), ("min_idle", "-1"), ("min_idle", "1e3"),
     ("backend", "[::1"), ("client", "é"), ("state", "open"), ("state", "ESTABLISHED"),
     ("state", "")],
)  # fmt: skip
def test_a_filter_that_is_not_understood_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadRequestError, match=name):
        make_selection({name: value})


def test_a_name_or_a_vip_names_services() -> None:
    assert edits.services_named(CONFIG, "web") == (WEB,)
    assert edits.services_named(CONFIG, "10.0.1.100:80") == (WEB,)
    assert edits.services_named(CONFIG, "10.0.1.100:53/udp") == (DNS,)
    two = replace(CONFIG, services=(WEB, replace(DNS, name="web")))
    assert edits.services_named(two, "web") == two.services
    assert edits.services_named(two, "10.0.1.100:53/udp") == two.services[1:]
    for name in ("nobody", "", "10.0.1.100:81", "\0"):
        with pytest.raises(NotFoundError):
            edits.services_named(CONFIG, name)


def test_an_address_names_backends() -> None:
    other = Backend(Endpoint(A.endpoint.address, 81))
    assert edits.backends_at([WEB], "10.0.2.11") == [(WEB, A)]
    assert edits.backends_at([WEB, DNS], "10.0.2.12:8080") == [(WEB, B)]
    with pytest.raises(ConflictError, match="expected one of"):
        edits.backends_at([edits.with_backend(WEB, other)], "10.0.2.11")
    with pytest.raises(NotFoundError):
        edits.backends_at([WEB], "10.0.2.11:81")
    with pytest.raises(ConfigError):
        edits.backends_at([WEB], "10.0.2")


def test_edits_leave_everything_else_as_it_is() -> None:
    more = edits.with_services(CONFIG, [replace(DNS, vip=replace_port(5353))])
    assert more.services[:2] == CONFIG.services
    assert edits.without_services(more, more.services[2:]) == CONFIG
    with pytest.raises(ConflictError):
        edits.with_services(CONFIG, [DNS])
    with pytest.raises(ConflictError):
        edits.with_backend(WEB, A)
    heavier = replace(A, weight=9)
    changed = edits.with_changed_backend(WEB, A, heavier)
    assert changed.backends == (heavier, B)
    assert edits.with_changed(CONFIG, [changed]).services == (changed, DNS)
    assert edits.without_backend(WEB, A).backends == (B,)


def replace_port(port: int) -> Vip:
    return DNS.vip._replace(low=port, high=port)


def test_the_kernel_tells_the_process_at_the_other_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
    assert peer.groups == {os.getgid(), *os.getgroups()}


def test_root_the_daemon_s_user_and_the_group_may_change_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 777)
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=55))
    alone, grouped = Rights(None), Rights("ops")
    nobody, member = Peer(1, 65534, frozenset({65534})), Peer(1, 65534, frozenset({1, 55}))
    for rights in (alone, grouped):
        assert rights.may_change(Peer(1, 0, frozenset()))
        assert rights.may_change(Peer(1, 777, frozenset()))
        assert not rights.may_change(nobody)
    assert grouped.may_change(member)
    assert not alone.may_change(member)


def test_a_missing_group_is_an_error() -> None:
    with pytest.raises(ConfigError, match="control_group nosuch"):
        Rights("nosuch")


def test_the_socket_is_where_the_name_or_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PKTLB_SOCKET", raising=False)
    assert socket_path() == "/run/pktlb/default.sock"
    assert socket_path("a-b.2") == "/run/pktlb/a-b.2.sock"
    assert socket_path("x", "/tmp/s") == "/tmp/s"
    for name in ("", "..", ".x", "a/b", "ä", "a b", "x" * 65):
        with pytest.raises(ConfigError):
            socket_path(name)
    monkeypatch.setenv("PKTLB_SOCKET", "/tmp/t")
    assert socket_path("x") == "/tmp/t"


def test_a_socket_s_path_may_have_the_same_length_in_a_file_as_in_a_command(
    tmp_path: Path,
) -> None:
    longest = f"{tmp_path}/".ljust(MAX_SOCKET_PATH, "x")
    assert parse_path(longest) == socket_path("x", longest) == longest
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(longest)
        with pytest.raises(OSError, match="path too long"):
            listening.bind(f"{longest}x")
    for read in (parse_path, lambda path: socket_path("x", path)):
        with pytest.raises(ConfigError, match="107 bytes"):
            read(f"{longest}x")


def test_events_that_are_not_fetched_are_dropped_and_counted() -> None:
    async def main() -> list[Event]:
        events = Events()
        slow, fast = events.subscribe(), events.subscribe()
        for number in range(QUEUE + 7):
            events.publish("change", str(number))
            await anext(fast)
        found = [await anext(slow) for _ in range(QUEUE + 1)]
        await slow.aclose()
        await fast.aclose()
        assert not events.count
        return found

    found = asyncio.run(main())
    assert [each.text for each in found[:3]] == ["0", "1", "2"]
    assert found[-1].fields == {"missed": 7}


def test_a_selection_is_one_test_of_a_flow() -> None:
    select: Callable[[FlowView], bool] = make_selection({"client": "2001:db8::1"})
    assert select(replace(flow(1), client=Endpoint(bytes.fromhex("20010db8" + "0" * 23 + "1"), 5)))
    assert packed("10.0.2.11") == A.endpoint.address
    assert Config(()).services == ()
