"""docs/api.md names every route, and each of its examples works as it stands there."""

import json
import subprocess
from pathlib import Path

from pktlb.config.service import Backend
from pktlb.control import edits
from pktlb.control.routes.all import ROUTES
from pktlb.model import Endpoint
from tests.support.operator import FakeOperator
from tests.support.page import SOCKET, Example, examples, same, sections
from tests.support.server import Running


def test_the_page_names_every_route_and_no_other() -> None:
    assert sorted(sections()) == sorted((route.method, route.path) for route in ROUTES)
    assert {(each.method, each.path) for each in examples()} == set(sections())


def test_each_example_works_as_it_stands(server: Running) -> None:
    """One after the other, because some build on others."""
    for example in examples():
        if example.path == "/v1/events":
            check_events(server, example)
            continue
        command = example.command.replace(SOCKET, server.path) + " --fail-with-body --max-time 20"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{example}: {done.stdout}{done.stderr}"
        if example.is_json:
            same(example.answer, done.stdout)
        else:
            assert set(example.answer.splitlines()) <= set(done.stdout.splitlines())


def check_events(server: Running, example: Example) -> None:
    command = ["sh", "-c", "exec " + example.command.replace(SOCKET, server.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None
            while not server.call(lambda: server.operator.events.count):
                assert listener.poll() is None
            server.do(change_again(server.operator))
            line = listener.stdout.readline()
        finally:
            listener.kill()
    assert json.loads(line) | {"time": 0} == json.loads(example.answer) | {"time": 0}


async def change_again(operator: FakeOperator) -> None:
    """Add the backend again that the page has added and removed."""
    again = Backend(Endpoint(bytes([10, 0, 2, 13]), 8080), 2)
    async with operator.changing:
        web, *_ = operator.config.services
        web = edits.with_backend(web, again)
        await operator.apply(edits.with_changed(operator.config, [web]))


def test_errors_look_as_the_page_says(server: Running) -> None:
    status, body = server.curl("http://x/v1/services/nobody")
    assert status == 404
    line = "service nobody: there is none of this name or VIP"
    assert json.loads(body) == {"error": line, "errors": [line]}
    assert Path(server.path).is_socket()
