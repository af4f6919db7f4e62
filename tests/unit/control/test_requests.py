"""Requests with mistakes: each is named in the answer, and nothing changes."""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pktlb.config.config import Config
from pktlb.control.client import DaemonError
from pktlb.control.operator import Removal
from pktlb.control.refusal import ConflictError
from tests.support.operator import CONFIG, WEB, FakeOperator
from tests.support.server import Running, running

BACKEND = "/v1/services/web/backends"


BAD = [
    ("POST", "/v1/services", b"", 400, "body: expected JSON"),
    ("POST", "/v1/services", b"{", 400, "body: expected JSON"),
    ("POST", "/v1/services", b"\xff{}", 400, "body: expected JSON"),
    ("POST", "/v1/services", b"[" * 100_000, 400, "nested"),
    ("POST", "/v1/services", b'{"a": 1, "a": 2}', 400, "a key stands twice"),
    ("POST", "/v1/services", b'{"persist": NaN}', 400, "NaN is no number"),
    ("POST", "/v1/services", b'{"name": "\\ud800"}', 400, "body: expected JSON"),
    ("POST", "/v1/services", b'{"a": ' + b"9" * 10_000 + b"}", 400, "body: expected JSON"),
    ("POST", "/v1/services", b"[]", 400, "expected"),
    ("POST", "/v1/services", b'"web"', 400, "expected"),
    ("POST", "/v1/services", b"{}", 400, "vip"),
    ("POST", "/v1/services", b'{"vip": "10.0.1.100:80", "mode": "nat"}', 409, "there is one"),
    ("POST", "/v1/services?dry_run=2", b"{}", 400, "dry_run 2: expected 1 or 0"),
    ("POST", "/v1/services?dry-run=1", b"{}", 400, "dry-run: expected dry_run"),
    ("POST", "/v1/reload?dry_run=1&dry_run=0", b"", 400, "dry_run: expected once"),
    ("GET", "/v1/status?x=1", b"", 400, "x: expected no query"),
    ("GET", "/v1/flows?client=x", b"", 400, "client x: expected an address"),
    ("GET", "/v1/flows?limit=1000000", b"", 400, "expected a limit in 0..100000"),
    ("DELETE", "/v1/flows", b"", 400, "expected a filter"),
    ("DELETE", "/v1/flows?all=0", b"", 400, "expected a filter"),
    ("GET", "/v1/services/nobody", b"", 404, "service nobody: there is none"),
    ("PATCH", "/v1/services/nobody", b"{}", 404, "service nobody: there is none"),
    ("DELETE", "/v1/services/%00%1b", b"", 404, "there is none"),
    ("PATCH", "/v1/services/web", b'{"shceduler": "rr"}', 400, "did you mean scheduler?"),
    ("PATCH", "/v1/services/web", b'{"vip": "10.0.1.100:81"}', 400, "vip: expected"),
    ("PATCH", "/v1/services/web", b"7", 400, "expected an object, got 7"),
    ("POST", BACKEND, b'{"address": "10.0.2.11:8080"}', 409, "has it already"),
    ("POST", BACKEND, b'{"address": "10.0.2.20:0"}', 400, "address: expected"),
    ("PATCH", f"{BACKEND}/10.0.2.99", b"{}", 404, "service web has none"),
    ("PATCH", f"{BACKEND}/x", b"{}", 400, "expected an address"),
    ("PATCH", f"{BACKEND}/10.0.2.11", b'{"weight": 65536}', 400, "weight: expected"),
    ("PATCH", f"{BACKEND}/10.0.2.11", b'{"address": "10.0.2.12"}', 400, "address: expected"),
    ("DELETE", f"{BACKEND}/10.0.2.11?within=-1", b"", 400, "seconds for within"),
    ("DELETE", f"{BACKEND}/10.0.2.11?drain=maybe", b"", 400, "drain maybe: expected"),
    ("POST", "/v1/plan", b"[balancer]\nx = 1\n[[service]]\n", 400, "-:2: balancer.x: unknown key"),
    ("POST", "/v1/plan", b"\xff", 400, "body: expected UTF-8"),
    ("GET", "/v1/nosuch", b"", 404, "Not Found"),
    ("GET", "/", b"", 404, "Not Found"),
    ("POST", "/v1/status", b"", 405, "Method Not Allowed"),
    ("OPTIONS", "/v1/status", b"", 405, "Method Not Allowed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "said"), BAD,
    ids=[f"{method} {target} {body[:24]!r}" for method, target, body, *_ in BAD],
)  # fmt: skip
def test_a_mistake_is_named_and_changes_nothing(
    server: Running, method: str, target: str, body: bytes, status: int, said: str
) -> None:
    found, answer = server.ask(method, target, body)
    assert (found, list(answer)) == (status, ["error", "errors"])
    assert said in answer["error"]
    assert "\n" not in answer["error"]
    assert server.operator.config == CONFIG


def test_all_mistakes_are_named_at_once(server: Running) -> None:
    body = {"vip": "10.0.1.100:81", "mode": "nta", "scheduler": "xx", "colour": 3}
    _, answer = server.ask("POST", "/v1/services", json.dumps(body).encode())
    assert len(answer["errors"]) == 3
    assert answer["error"] == answer["errors"][0] + " (and 2 more)"


def test_too_large_a_body_is_not_read(server: Running) -> None:
    large = b"x" * ((1 << 20) + 1)
    assert server.ask("POST", "/v1/services", large)[0] == 413
    head = b"POST /v1/services HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
    assert server.talk(chunked).startswith(b"HTTP/1.1 413")
    _, answer = server.ask("POST", "/v1/plan", b"#" * (2 << 20))
    assert answer["lines"], "a file may be larger"


def test_compressed_bodies_do_not_unfold(server: Running) -> None:
    bomb = zlib.compress(b"[" * (64 << 20))
    assert server.ask("POST", "/v1/services", bomb, b"Content-Encoding: deflate\r\n")[0] == 400


def test_a_backend_of_one_name_is_removed_from_all_services_or_the_removal_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the removal from one service fails, the client is told so, and the backend stays in the
    other services as well."""
    secure = replace(WEB, vip=WEB.vip._replace(low=443, high=443))
    operator = FakeOperator(Config((WEB, secure)))
    remove = operator.remove_when_idle

    async def changes_its_mind(service: str, *rest: Any) -> Removal:
        if service == str(secure.vip):
            raise ConflictError("it was undrained meanwhile")
        return await remove(service, *rest)

    monkeypatch.setattr(operator, "remove_when_idle", changes_its_mind)
    with running(str(tmp_path / "pktlb.sock"), operator) as live:
        live.call(operator.idle.clear)
        path = ("services", "web", "backends", "10.0.2.11")
        with pytest.raises(DaemonError, match="it was undrained meanwhile"):
            live.client.ask("DELETE", path, {"drain": 1})
        assert operator.was_cancelled.is_set()


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/services", b'{"vip": "10.0.1.101:80", "mode": "nat"}'),
        ("PUT", "/v1/config", b""),
        ("POST", "/v1/reload", b""),
    ],
)
@pytest.mark.parametrize(
    ("more", "insists"), [("", False), ("&force=0", False), ("&force=1", True)]
)
def test_what_may_bring_an_address_may_insist_on_it(
    tmp_path: Path, method: str, path: str, body: bytes, dry: bool, more: str, insists: bool
) -> None:
    with running(str(tmp_path / "s")) as server:
        status, answer = server.ask(method, f"{path}?dry_run={dry:d}{more}", body)
        assert (status, answer["dry_run"]) == (200, dry)
        assert server.operator.forced == [insists]
