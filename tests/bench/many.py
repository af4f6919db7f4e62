"""A thousand services of twenty backends each: how long until they are served, and until one of
them is another.

A change is timed by who asks for it, from the request to the answer; so what follows upon the swap
of the tables is counted in.
"""

import time
from itertools import cycle
from typing import Final

from netns.host import PKTLB_READY, Host, pktlb_command
from netns.lab import Lab
from pktlb.control.client import Client
from tests.bench import core, target
from tests.bench.contender import NATIVE
from tests.bench.trial import Settings
from tests.support import many

CHANGED: Final = ("services", "s500", "backends")
CHANGES: Final = 20
REST_S: Final = 0.5
"From one change to the next: what one has left to do is not to be in the way of the next."
SETTLE_S: Final = 5.0


def measure(settings: Settings) -> None:
    if "native" not in settings.engines:
        return
    loads = settings.ledger.measure(target.LOAD, "s")
    changes = settings.ledger.measure(target.CHANGE, "ms")
    with Lab("many") as lab:
        gw = many.build(lab)
        file = lab.directory / "many.toml"
        file.write_text(many.text())
        for _ in range(settings.rounds):
            begin = time.monotonic()
            command = core.on(core.BALANCER, *pktlb_command("run", "-c", str(file)))
            process = gw.start(*command, ready=PKTLB_READY)
            loads.add(NATIVE, time.monotonic() - begin)
            time.sleep(SETTLE_S)
            for took in _change(gw):
                changes.add(NATIVE, 1000 * took)
            process.stop()


def _change(gw: Host) -> list[float]:
    """Seconds for each of some changes, back and forth."""
    client = Client(gw.environment["PKTLB_SOCKET"])
    known, new = f"{many.machine(3500)}:{many.port(500)}", f"{many.machine(9)}:999"
    wishes = cycle(
        [
            ("PATCH", (*CHANGED, known), {"weight": 7}),
            ("POST", CHANGED, {"address": new}),
            ("PATCH", (*CHANGED, known), {"weight": 3}),
            ("DELETE", (*CHANGED, new), None),
        ]
    )
    found = []
    for _ in range(CHANGES):
        method, path, body = next(wishes)
        begin = time.monotonic()
        client.ask(method, path, body=body)
        found.append(time.monotonic() - begin)
        time.sleep(REST_S)
    return found
