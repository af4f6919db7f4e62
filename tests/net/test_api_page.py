"""The examples of docs/api.md, as they stand there, sent to a pktlb that moves packets."""

import json
import shlex
from pathlib import Path
from typing import Any

from netns.waiting import wait_until
from tests.net.world import World
from tests.support.page import SOCKET, Example, examples, fits

EXAMPLES = examples()
OF_FLOWS = ("/v1/flows", "/v1/flows/count")
EVENTS = "/v1/events"


def the_file() -> str:
    """The configuration that the page shows."""
    (shown,) = (each.answer for each in EXAMPLES if not each.is_json)
    return shown


def test_pktlb_answers_each_request_as_the_page_shows(nat_world: World, tmp_path: Path) -> None:
    """In the order of the page, because some examples build on others."""
    file = tmp_path / "pktlb.toml"
    file.write_text(the_file())
    nat_world.balancer.pktlb("run", "-c", str(file))
    nat_world.hold()
    (last,) = (each for each in EXAMPLES if each.path == EVENTS)
    listener = nat_world.balancer.start("sh", "-c", f"exec {here(nat_world, last)}")
    for each in EXAMPLES:
        if each.path == EVENTS:
            continue
        found = nat_world.balancer.run("sh", "-c", here(nat_world, each)).stdout
        if each.is_json:
            check(each, json.loads(each.answer), json.loads(found))
            fits(each.answer, found)
        else:
            assert set(each.answer.splitlines()) <= set(found.splitlines())
    shown = json.loads(last.answer)
    wait_until(lambda: shown["text"] in listener.stdout, 10, "the event of the page")
    events = [json.loads(line) for line in listener.stdout.splitlines()]
    (event,) = (each for each in events if each["text"] == shown["text"])
    assert event | {"time": 0} == shown | {"time": 0}


def here(world: World, example: Example) -> str:
    """The command, with the socket that this balancer has."""
    path = world.balancer.environment["PKTLB_SOCKET"]
    return example.command.replace(SOCKET, shlex.quote(path)) + " --fail-with-body"


def check(example: Example, shown: dict[str, Any], found: dict[str, Any]) -> None:
    """Values that do not depend on traffic are as on the page."""
    for key in ("lines", "items", "restart", "dry_run"):
        assert shown.get(key) == found.get(key), example
    if example.method == "GET" and example.path in OF_FLOWS:
        assert found["total"] == 1
    if isinstance(shown.get("flows"), list):
        (one,), (other,) = shown["flows"], found["flows"]
        same = ("proto", "vip", "service", "mode", "state")
        assert [one[key] for key in same] == [other[key] for key in same]
        assert all(each["seen_as"] == each["client"] for each in (one, other))
