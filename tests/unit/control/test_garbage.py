"""Bytes over the control socket that are no HTTP, or HTTP with mistakes."""

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.server import Running, running

GET = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests that change nothing of it."""
    with running(str(tmp_path_factory.mktemp("s") / "pktlb.sock")) as found:
        yield found


@settings(max_examples=60)
@given(
    st.lists(
        st.binary(max_size=300)
        | st.sampled_from([GET, b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"])
        | st.sampled_from([b"POST /v1/plan HTTP/1.1\r\n", b"\r\n", b"Host: x\r\n"])
        | st.sampled_from([b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"5\r\n"])
        | st.sampled_from([b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"A" * 9000]),
        max_size=6,
    )
)
def test_garbage_never_crashes_the_server_and_its_connection_always_ends(
    shared: Running, pieces: list[bytes]
) -> None:
    answer = shared.talk(*pieces)
    assert not answer or answer.startswith(b"HTTP/1.")
    assert b"500 Internal" not in answer
    assert shared.client.get("status")["version"] == 1


def test_garbage_is_a_bad_request(shared: Running, caplog: pytest.LogCaptureFixture) -> None:
    """It is not logged, either."""
    for garbage in (b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                    b"GET /v1/status HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
                    b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n"):  # fmt: skip
        head, _, body = shared.talk(garbage).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.")
        assert head.split()[1] in (b"400", b"404", b"431", b"505")
        said = json.loads(body)
        assert said["errors"] == [said["error"]]
        assert b"\r\nContent-Type: application/json" in head
    assert not caplog.records


@pytest.mark.parametrize(
    ("target", "options", "wanted"),
    [
        ("/v1/status", ["-X", "FOO"], "Invalid method|Method Not Allowed"),
        ("/v1/" + "a" * 9000, [], "more than 8190 bytes"),
        ("/v1/status", ["-H", "X: " + "a" * 9000], "more than 8190 bytes"),
        ("/v1/status", ["-H", "Content-Length: x"], "Content-Length"),
    ],
    ids=["method", "target", "header", "length"],
)
def test_a_mistake_in_http_is_named_in_one_line(
    shared: Running, target: str, options: list[str], wanted: str
) -> None:
    status, body = shared.curl(*options, f"http://x{target}")
    assert status in (400, 405, 414, 431)
    (line,) = json.loads(body)["errors"]
    assert re.search(wanted, line)
    assert len(line) < 80
    assert "\n" not in line
