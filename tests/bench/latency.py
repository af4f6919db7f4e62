"""A lone question and answer over UDP, and what the balancer adds to it."""

from typing import Final

from tests.bench import contender, core, target
from tests.bench.contender import BUSY_POLL, Contender, Pktlb
from tests.bench.program import last_line
from tests.bench.stage import IPV4, PORT, Receiving, Stage
from tests.bench.trial import Settings, Turn, alternate, turns

PINGS: Final = 2000
BUSY_POLL_US: Final = 200
"Longer than a round trip takes: between two of them the engine does not sleep."
TAILS: Final = ("p50", "p99")


def measure(settings: Settings) -> None:
    contenders = [contender.PLAIN, contender.DNAT, *contender.pktlbs(settings.engines, "udp")]
    if "native" in settings.engines:
        more = ("--busy-poll", str(BUSY_POLL_US))
        contenders.append(Contender(BUSY_POLL, Pktlb("native", more=more)))
    for tail in TAILS:
        settings.ledger.measure(target.ROUND_TRIP.format(tail=tail), "µs", contender.FORWARDING)
    with turns(contenders, Receiving.STEERED, lambda stage: serve(settings, stage)) as ready:
        alternate(settings.rounds, ready, lambda turn: probe(settings, turn))


def serve(settings: Settings, stage: Stage) -> None:
    """One server for each address: an answer has to come from the address that was asked."""
    for address in IPV4.servers:
        command = core.on(core.LOAD, str(settings.programs / "echo"), address, str(PORT))
        stage.servers.start(*command, ready="listening")


def probe(settings: Settings, turn: Turn) -> None:
    done = turn.stage.client.run(
        *core.on(core.LOAD, str(settings.programs / "ping")),
        *(turn.contender.address, str(PORT), str(PINGS)),
    )
    found = last_line(done.stdout)
    for tail in TAILS:
        name = target.ROUND_TRIP.format(tail=tail)
        settings.ledger.measures[name].add(turn.name, found[tail])
    if found["lost"]:
        settings.ledger.note(f"lone round trips through {turn.name}: some were lost")
