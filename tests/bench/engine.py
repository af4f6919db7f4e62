"""The native engine alone, without sockets: tests/bench/engine.c, linked with the engine's core."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netns.errors import LabError
from tests.bench import core, target
from tests.bench.program import HERE, compile_program, last_line
from tests.bench.trial import Settings

SOURCE: Final = HERE / "engine.c"
NATIVE: Final = HERE.parents[1] / "pktlb" / "native"
FLAGS: Final = ("-O3", "-D_GNU_SOURCE", f"-I{NATIVE}", "-pthread")
"As setup.py has them."
NAT: Final = "0"
ROUND_ROBIN: Final = "0"
MANY: Final = 100_000
"Flows while services or backends are varied: more than the nearest cache holds."


@dataclass(frozen=True, slots=True)
class Case:
    """One run of the program, and the line that it becomes."""

    measure: str
    who: str
    flows: int
    services: int = 1
    backends: int = 3
    opening: bool = False
    "Whether it also tells how fast flows are opened."


CASES: Final = (
    Case(target.BY_FLOWS, "1,000 flows", 1000),
    Case(target.BY_FLOWS, "1,000,000 flows", 1_000_000, opening=True),
    Case(target.BY_FLOWS, "4,000,000 flows", 4_000_000, opening=True),
    *(Case(target.BY_SERVICES, f"{n:,} services", MANY, services=n) for n in (1, 100, 10_000)),
    *(Case(target.BY_BACKENDS, f"{n:,} backends", MANY, backends=n) for n in (2, 64, 4096)),
)


def measure(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="pktlb-bench-") as folder:
        program = Path(folder, "engine")
        compile_program(program, [SOURCE, *core_sources()], FLAGS)
        for name, base in target.ALONE.items():
            settings.ledger.measure(name, "ns a frame", base)
        settings.ledger.measure(target.OPENING, "flows/s")
        for _ in range(settings.rounds):
            for case in CASES:
                run(settings, program, case)


def core_sources() -> list[Path]:
    """The engine without its binding to Python."""
    return [file for file in sorted(NATIVE.glob("*.c")) if "Python.h" not in file.read_text()]


def run(settings: Settings, program: Path, case: Case) -> None:
    numbers = map(str, (case.flows, case.services, case.backends))
    command = core.on(core.BALANCER, str(program), NAT, *numbers, ROUND_ROBIN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    found = last_line(done.stdout)
    settings.ledger.measures[case.measure].add(case.who, found["ns"])
    if case.opening:
        settings.ledger.measures[target.OPENING].add(case.who, found["new_flows"])
