"""Inputs of the fuzz targets, old findings among them, pass under ASan and UBSan; no clang needed.

What each target checks stands in its C file beside the inputs; `make fuzz` looks for more.
"""

import subprocess
from pathlib import Path

import pytest

from tests.fuzz.build import REPLAY, TARGETS, build, inputs, plain


@pytest.mark.load
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_the_native_engine(target: str, tmp_path: Path) -> None:
    program = build(target, REPLAY, tmp_path)
    files = list(inputs(target))
    assert len(files) > 10
    done = subprocess.run(
        [program, *files], capture_output=True, text=True, check=False, timeout=60, env=plain()
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_broken_promise_is_noticed(tmp_path: Path) -> None:
    """A file that is not there is the cheapest way to make a target fail."""
    program = build("parse", REPLAY, tmp_path)
    done = subprocess.run(
        [program, tmp_path / "nothing"], capture_output=True, text=True, check=False, env=plain()
    )
    assert done.returncode != 0
    assert "not so" in done.stderr
