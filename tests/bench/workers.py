"""Two workers against one: the rate while the generator leaves room, and that nothing is amiss.

Workers may use both cores. First the rate of one worker is found by a flood; then more than that,
but paced, is offered to one and to two in turn. At last a number of datagrams that is easy to
carry is sent through two workers, each datagram numbered, and the receiver looks what is missing.
"""

import statistics
from typing import Final

from tests.bench import core, frames, target
from tests.bench.contender import NATIVE, TWO_WORKERS, Contender, Pktlb
from tests.bench.program import last_line
from tests.bench.stage import PORT, Receiving
from tests.bench.trial import Settings, Turn, alternate, turns

FLOWS: Final = 1000
MORE: Final = 1.5
"What is offered, in terms of what one worker carries."
EASY: Final = 0.3
BOTH: Final = (core.BALANCER, core.LOAD)


def measure(settings: Settings) -> None:
    if "native" not in settings.engines:
        return
    one = Contender(NATIVE, Pktlb("native", cores=BOTH))
    two = Contender(TWO_WORKERS, Pktlb("native", workers=2, cores=BOTH))
    settings.ledger.measure(target.WORKERS, "frames/s", NATIVE)
    with turns([one, two], Receiving.THREADS, frames.sink) as ready:
        rate = flooded(settings, ready[0])
        alternate(settings.rounds, ready, lambda turn: probe(settings, turn, rate * MORE))
    settings.ledger.measure(target.MISSING, "datagrams")
    with turns([one, two], Receiving.THREADS, lambda stage: None) as ready:
        alternate(settings.rounds, ready, lambda turn: count(settings, turn, rate * EASY))


def flooded(settings: Settings, turn: Turn) -> float:
    """Frames a second through one worker when there are too many."""
    rates = []
    for _ in range(3):
        before = frames.arrived(turn.stage)
        sent = frames.flood(settings, turn, FLOWS, settings.seconds)
        sent.wait()
        seconds = last_line(sent.stdout)["seconds"]
        rates.append((frames.arrived(turn.stage) - before) / seconds)
    return statistics.median(rates)


def probe(settings: Settings, turn: Turn, rate: float) -> None:
    before = frames.arrived(turn.stage)
    sent = frames.flood(settings, turn, FLOWS, settings.seconds, rate)
    sent.wait()
    said = last_line(sent.stdout)
    arrived = frames.arrived(turn.stage) - before
    settings.ledger.measures[target.WORKERS].add(turn.name, arrived / said["seconds"])
    settings.ledger.detail(target.WORKERS, turn.name, said | {"offered/s": rate})


def count(settings: Settings, turn: Turn, rate: float) -> None:
    """Numbered datagrams, and what the receiver misses or has twice."""
    number = int(rate * settings.seconds)
    command = core.on(core.LOAD, str(settings.programs / "collect"), str(PORT), str(number))
    receiver = turn.stage.servers.start(*command, ready="listening")
    frames.flood(settings, turn, FLOWS, 60, rate, number).wait(60)
    receiver.wait(60)
    said = last_line(receiver.stdout)
    settings.ledger.measures[target.MISSING].add(turn.name, said["missing"] + said["twice"])
    settings.ledger.detail(target.MISSING, turn.name, said | {"sent": number})
