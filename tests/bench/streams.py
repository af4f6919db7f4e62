"""Long TCP connections, one and many: how much a gateway of one core passes on."""

import json
from typing import Final

from tests.bench import contender, core, target
from tests.bench.stage import PORT, Receiving, Stage
from tests.bench.trial import Settings, Turn, alternate, turns

MEASURES: Final = ((target.ONE_STREAM, 1), (target.STREAMS, 16))
CONNECT_S: Final = 10.0


def measure(settings: Settings) -> None:
    """pktlb keeps a client with its server, as it would be run for such connections."""
    contenders = [
        contender.PLAIN,
        *contender.PROXIES,
        *contender.pktlbs(settings.engines, "tcp", "source"),
    ]
    for name, _ in MEASURES:
        settings.ledger.measure(name, "Gbit/s", contender.FORWARDING)
    with turns(contenders, Receiving.STEERED, serve) as ready:
        alternate(settings.rounds, ready, lambda turn: probe(settings, turn))


def serve(stage: Stage) -> None:
    command = core.on(core.LOAD, "iperf3", "-s", "-p", str(PORT), "--forceflush")
    stage.servers.start(*command, ready="listening")


def probe(settings: Settings, turn: Turn) -> None:
    for name, streams in MEASURES:
        done = turn.stage.client.run(
            *core.on(core.LOAD, "iperf3", "-J", "-c", turn.contender.address, "-p", str(PORT)),
            *("-t", str(settings.seconds), "-P", str(streams)),
            timeout=settings.seconds + CONNECT_S,
        )
        received = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]
        settings.ledger.measures[name].add(turn.name, received / 1e9)
