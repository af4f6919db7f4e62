"""Downloads that are cut: both ends are told at once."""

import json
from typing import Any

from netns.process import Process
from netns.waiting import wait_until
from tests.net.world import World

SIZE = 500_000_000
RESET = 56
"curl's exit status when its connection is reset."


def begin(world: World) -> tuple[Process, dict[str, Any]]:
    """A download that takes long, and its flow."""
    curl = world.client.start(
        "curl", "-sS", "--limit-rate", "5M", "--max-time", "90", "--output", "/dev/null",
        f"{world.url}/bytes/{SIZE}",
    )  # fmt: skip

    def found() -> list[dict[str, Any]]:
        listed = json.loads(world.balancer.ask("flow", "list", "--json").stdout)["flows"]
        return [flow for flow in listed if flow["state"].lower() == "established"]

    wait_until(lambda: bool(found()), 5, "the download has begun")
    return curl, found()[0]


def test_both_ends_of_a_cut_connection_hear_of_it(world: World) -> None:
    world.balance()
    curl, flow = begin(world)
    world.balancer.ask("flow", "kill", "--client", flow["client"])
    assert curl.wait() == RESET, curl.stderr
    world.hang_up()
    curl, flow = begin(world)
    world.balancer.ask("backend", "remove", world.topology.vip, flow["backend"])
    assert curl.wait() == RESET, curl.stderr
    world.hang_up()
    assert len(world.answers(6)) == 2
