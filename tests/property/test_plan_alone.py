"""The plan needs no kernel: it runs where there is no socket, file, clock, loop or HTTP package."""

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

seeds = st.lists(st.integers(0, 1 << 32), min_size=100, max_size=100)


@settings(max_examples=3)
@given(seeds)
def test_the_plan_of_random_changes_holds_without_the_world(seeds: list[int]) -> None:
    command = [sys.executable, "-m", "tests.property.plan_alone", *map(str, seeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_plan_that_opened_a_file_would_be_found() -> None:
    code = "import tests.property.plan_alone as alone; alone.main([]); open('/dev/null')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "plan/ has touched the world: open" in done.stderr


def test_a_plan_that_read_a_clock_would_be_found() -> None:
    code = "import tests.property.plan_alone as alone, time; alone.main([]); time.monotonic()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "plan/ has read a clock" in done.stderr
