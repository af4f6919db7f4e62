"""Several threads at one native engine, watched by ThreadSanitizer.

Packets of both directions arrive in all threads, while one more swaps the tables, forgets flows
and reads what control reads; at the end everything is counted again.
"""

import platform
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.build import THREADS, build, plain

WORKERS = 4
BATCHES = 4000


@pytest.mark.load
def test_threads_share_one_engine_without_a_race(tmp_path: Path) -> None:
    program = build("workers", THREADS, tmp_path)
    # ThreadSanitizer has fixed ideas of where memory lies, which the kernel's chance may thwart.
    command = ["setarch", platform.machine(), "--addr-no-randomize", str(program)]
    done = subprocess.run(
        [*command, str(WORKERS), str(BATCHES)],
        capture_output=True, text=True, check=False, timeout=100,
        env=plain() | {"TSAN_OPTIONS": "halt_on_error=1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    assert "WARNING" not in done.stderr
