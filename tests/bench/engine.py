"""The native engine alone, without sockets: tests/bench/engine.c, linked with the engine's core.

The program prints a line of JSON for each figure, such as
{"measure": "frame", "who": "1,000 flows", "unit": "ns", "value": 48.1}; it is run once a round.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from netns.errors import LabError
from tests.bench import core, target
from tests.bench.program import HERE, compile_program
from tests.bench.trial import Settings

SOURCE: Final = HERE / "engine.c"
ENGINE: Final = HERE.parents[1] / "pktlb" / "engine"
NATIVE: Final = ENGINE / "native"
PACKET: Final = ENGINE / "packet"
FLAGS: Final = (
    "-O3", "-fPIC", "-fvisibility=hidden", f"-I{NATIVE}", f"-I{PACKET}", "-pthread"
)  # fmt: skip
"As the extension is compiled."
_BINDS: Final = re.compile(r'^#include ["<](Python|module)\.h[">]', re.M)


def measure(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="pktlb-bench-") as folder:
        program = Path(folder, "engine")
        compile_program(program, [SOURCE, *core_sources()], FLAGS)
        for _ in range(settings.rounds):
            run(settings, program)


def core_sources() -> list[Path]:
    """The engine without its binding to Python."""
    return [file for file in sorted(NATIVE.glob("*.c")) if not _BINDS.search(file.read_text())]


def run(settings: Settings, program: Path) -> None:
    """Once through all its figures."""
    command = core.on(core.BALANCER, str(program))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"the engine alone: status {done.returncode}: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        said = json.loads(line)
        name, base = target.ALONE[said["measure"]]
        settings.ledger.measure(name, said["unit"], base).add(said["who"], float(said["value"]))
