"""Short HTTP connections: how many a second, and what each costs the balancer's core.

The cost is the CPU time of all threads that work for the balancer: its own, and the NAPI threads
of the gateway's two interfaces. What these do includes the TCP of client and server on receipt,
the same for all, for a veth delivers in the context of its sender.
"""

import time
from typing import Final

from tests.bench import contender, core, target
from tests.bench.program import last_line
from tests.bench.stage import HTTP_SOURCES, IPV4, IPV6, PORT, Receiving, Stage
from tests.bench.trial import Settings, Turn, alternate, turns

PARALLEL: Final = 64
MUCH: Final = 0.1
"Of the balancer's core, taken by programs that have nothing to do with the measurement."


def measure(settings: Settings) -> None:
    contenders = [
        contender.PLAIN,
        contender.DNAT,
        *contender.PROXIES,
        *contender.pktlbs(settings.engines, "tcp"),
    ]
    contenders = contender.in_pairs(contenders)
    settings.ledger.measure(target.REQUESTS, "connections/s", contender.HAPROXY)
    settings.ledger.measure(target.REQUEST_CPU, "µs", contender.HAPROXY)
    with turns(contenders, Receiving.THREADS, lambda stage: serve(settings, stage)) as ready:
        for turn in ready:
            load(settings, turn, 0.2)  # neighbours and caches
        alternate(settings.rounds, ready, lambda turn: probe(settings, turn))


def serve(settings: Settings, stage: Stage) -> None:
    """A server for each address, so of each family."""
    for address in (*IPV4.servers, *IPV6.servers):
        command = core.on(core.LOAD, str(settings.programs / "httpd"), address, str(PORT))
        stage.servers.start(*command, ready="listening")


def load(settings: Settings, turn: Turn, seconds: float) -> dict[str, float]:
    done = turn.stage.client.run(
        *core.on(core.LOAD, str(settings.programs / "httpload")),
        *(turn.contender.address, str(PORT), turn.contender.net.http_source, str(HTTP_SOURCES)),
        *(str(PARALLEL), str(seconds)),
    )
    return last_line(done.stdout)


def probe(settings: Settings, turn: Turn) -> None:
    start, own, all_ = time.monotonic(), turn.cpu(), core.times(core.BALANCER)
    done = load(settings, turn, settings.seconds)
    own, all_ = turn.cpu() - own, core.times(core.BALANCER) - all_
    took = time.monotonic() - start
    measures = settings.ledger.measures
    measures[target.REQUESTS].add(turn.name, done["done"] / done["seconds"])
    measures[target.REQUEST_CPU].add(turn.name, own / max(done["done"], 1) * 1e6)
    sums = {
        "own CPU s": own,
        "core busy s": all_.busy,
        "core stolen s": all_.stolen,
        "took s": took,
    }
    settings.ledger.detail(target.REQUESTS, turn.name, done | sums)
    if done["failed"]:
        settings.ledger.note(f"short HTTP connections through {turn.name}: some failed")
    if all_.busy - own > MUCH * took:
        settings.ledger.note("other programs took a share of the balancer's core: measure again")
