"""A trial: contenders on stages side by side, and one after the other has its turn, in rounds."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from netns.process import Process
from tests.bench import core
from tests.bench.contender import Contender
from tests.bench.ledger import Ledger
from tests.bench.stage import Receiving, Stage


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and with what."""

    rounds: int
    seconds: float
    "Of load a turn."
    engines: tuple[str, ...]
    programs: Path
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Turn:
    """A contender on its stage."""

    contender: Contender
    stage: Stage
    process: Process | None
    threads: list[int]
    "Kernel threads that do the gateway's receiving."

    @property
    def name(self) -> str:
        return self.contender.name

    def cpu(self) -> float:
        """Seconds that the balancer has worked: its processes, and what receives for it."""
        members = core.family(self.process.pid) if self.process else []
        return sum(map(core.process_seconds, [*members, *self.threads]))


@contextmanager
def turns(
    contenders: Iterable[Contender], how: Receiving, prepare: Callable[[Stage], object]
) -> Iterator[list[Turn]]:
    """All contenders, each on a stage of its own on which `prepare` has started the servers."""
    with ExitStack() as stack:
        ready = []
        for contender in contenders:
            stage = stack.enter_context(Stage())
            threads = stage.receive(how)
            prepare(stage)
            ready.append(Turn(contender, stage, contender.start(stage, contender.net), threads))
        yield ready


def alternate(rounds: int, ready: list[Turn], probe: Callable[[Turn], None]) -> None:
    """A B C A B C ...: whatever disturbs the machine for a while disturbs all."""
    for _ in range(rounds):
        for turn in ready:
            probe(turn)
