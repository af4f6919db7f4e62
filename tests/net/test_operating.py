"""Everything is changed again and again while clients are served, and they must not notice it."""

import json
import os
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from netns.host import ENGINE
from netns.process import Process
from netns.waiting import wait_until
from tests.net.world import World, ask

pytestmark = [pytest.mark.load, pytest.mark.timeout(240)]

REQUESTS = 20_000
CURLS = 4
DOWNLOADS = 50
SIZE = 3_000_000
RATE = "200k"
"Bytes a second of each download, which takes fifteen seconds."
OTHER_VIP = "10.0.1.101:80"
KEEP = 'on_remove = "keep"'


def service(world: World, weights: dict[str, int], vip: str = "", more: str = "") -> str:
    """A service of the file, over these backends of the topology."""
    lines = ["[[service]]", 'name = "web"' if not vip else f'name = "{vip}"']
    lines += [f'vip = "{vip or world.topology.vip}"', f'mode = "{world.topology.mode}"', more]
    for name, weight in weights.items():
        address = world.topology.backends[name]
        lines += ["[[service.backend]]", f'address = "{address}"', f"weight = {weight}"]
    return "\n".join([*lines, ""])


def start(world: World, file: Path, text: str) -> Process:
    """pktlb, with what the text says, on the engine of the test."""
    words = os.environ[ENGINE].replace("--", "").split()
    said = "".join(
        f"{key} = {value if value.isdecimal() else json.dumps(value)}\n"
        for key, value in zip(words[::2], words[1::2], strict=True)
    )
    file.write_text(f"[balancer]\n{said}{text}")
    return world.balancer.pktlb("run", "-c", str(file))


def rewrite(file: Path, text: str) -> None:
    """A file with other services for the same balancer."""
    head, *_ = file.read_text().partition("[[service]]")
    file.write_text(head + text)


def requests(world: World) -> list[Process]:
    """So many connections with a request each, from several clients at once."""
    each = REQUESTS // CURLS
    return [
        world.client.start(
            "curl", "--no-progress-meter", "--parallel", "--parallel-max", "8", "--max-time", "90",
            "--header", "Connection: close", "--output", "/dev/null",
            "--write-out", "%{http_code} %{errormsg}\\n", f"{world.url}/?n=[1-{each}]",
        )
        for _ in range(CURLS)
    ]  # fmt: skip


def downloads(world: World) -> Process:
    return world.client.start(
        "curl", "--no-progress-meter", "--parallel", "--parallel-immediate", "--parallel-max",
        str(DOWNLOADS), "--max-time", "110", "--limit-rate", RATE,
        "--write-out", "%{http_code} %{size_download} %{errormsg}\n",
        *["--output", "/dev/null", f"{world.url}/bytes/{SIZE}"] * DOWNLOADS,
    )  # fmt: skip


def changes(world: World, file: Path) -> Iterator[Callable[[], object]]:
    """Changes one after the other, each made and undone, while the file is reloaded."""
    gw, (_, c) = world.balancer, (world.topology.backends["b"], world.topology.backends["c"])
    b = world.topology.backends["b"]
    states = cycle(
        [
            service(world, {"a": 3, "b": 1, "c": 2}, more=KEEP),
            service(world, {"a": 1, "b": 1}, more=KEEP),
            service(world, {"a": 1, "b": 1, "c": 1}, more=KEEP)
            + service(world, {"a": 1}, OTHER_VIP),
            service(world, {"b": 1, "c": 5}, more=KEEP),
        ]
    )
    commands = cycle(
        [
            ("backend", "drain", "web", b),
            ("backend", "set", "web", b, "--weight", "7"),
            ("backend", "undrain", "web", b),
            ("backend", "remove", "web", c),
            ("backend", "add", "web", c, "--weight", "2"),
        ]
    )
    while True:
        for _ in range(3):
            rewrite(file, next(states))
            yield lambda: gw.ask("reload")
        rewrite(file, service(world, {"a": 1, "b": 1, "c": 1}, more=KEEP))
        yield lambda: gw.ask("reload")
        for _ in range(5):
            command = next(commands)
            yield lambda command=command: gw.ask(*command)  # type: ignore[misc]


def test_clients_do_not_notice_that_everything_changes(nat_world: World, file: Path) -> None:
    world = nat_world
    start(world, file, service(world, {"a": 1, "b": 1, "c": 1}, more=KEEP))
    long, short = downloads(world), requests(world)
    wait_until(lambda: len(ask(world.balancer, "flow", "list")["flows"]) > DOWNLOADS, 10, "flows")
    for done, change in enumerate(changes(world, file)):
        change()
        if done >= 100 and not any(process.status is None for process in (long, *short)):
            break
    check(world, long, short)


def test_clients_do_not_notice_a_restart(nat_world: World, file: Path) -> None:
    world = nat_world
    balancer = start(world, file, service(world, {"a": 1, "b": 1, "c": 1}))
    long, short = downloads(world), requests(world)
    restarts = 0
    while any(process.status is None for process in (long, *short)):
        world.balancer.ask("restart")
        restarts += 1
    assert restarts >= 2
    assert balancer.status is None
    check(world, long, short)
    assert "flows taken over" in balancer.stderr


def check(world: World, long: Process, short: list[Process]) -> None:
    """All requests and downloads went well, and no other traffic was counted."""
    answers = [line for process in short for line in process.stdout.splitlines()]
    assert answers.count("200 ") == REQUESTS, {line for line in answers if line != "200 "}
    assert long.stdout.splitlines() == [f"200 {SIZE} "] * DOWNLOADS
    reasons = ask(world.balancer, "status")["reasons"]
    assert not reasons["NO_BACKEND"]
    assert not reasons["TABLE_FULL"]
