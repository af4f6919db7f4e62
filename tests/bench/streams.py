"""Long TCP connections, one and many: how much a gateway of one core passes on."""

import json
import math
from typing import Final

from netns.errors import LabError
from tests.bench import contender, core, target
from tests.bench.stage import PORT, Receiving
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
    contenders = contender.in_pairs(contenders)
    for name, _ in MEASURES:
        settings.ledger.measure(name, "Gbit/s", contender.FORWARDING)
    with turns(contenders, Receiving.STEERED, lambda stage: None) as ready:
        alternate(settings.rounds, ready, lambda turn: probe(settings, turn))


def probe(settings: Settings, turn: Turn) -> None:
    """A server for each test: the same one again closes its port for a moment after each."""
    serve = core.on(core.LOAD, "iperf3", "-s", "-1", "-p", str(PORT), "--forceflush")
    for name, streams in MEASURES:
        server = turn.stage.servers.start(*serve, ready="listening")
        done = turn.stage.client.run(
            *core.on(core.LOAD, "iperf3", "-J", "-c", turn.contender.address, "-p", str(PORT)),
            *("-t", str(math.ceil(settings.seconds)), "-P", str(streams)),
            timeout=math.ceil(settings.seconds) + CONNECT_S,
        )
        server.wait()
        settings.ledger.measures[name].add(turn.name, received(turn, done.stdout) / 1e9)


def received(turn: Turn, output: str) -> float:
    """Bits a second that arrived."""
    said = json.loads(output)
    if "sum_received" not in said["end"]:
        raise LabError(f"iperf3 through {turn.name}: {said.get('error', said)}")
    return float(said["end"]["sum_received"]["bits_per_second"])
