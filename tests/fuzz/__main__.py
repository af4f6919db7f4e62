"""Fuzz every target for some seconds, all at the same time.

    python -m tests.fuzz --seconds 3600

What is found in one run (build/fuzz/corpus) is where the next one starts. An input that fails is
written to tests/fuzz/cases, where the unit tests find it.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.build import CASES, CORPUS, FUZZ, TARGETS, BuildError, build, plain

ROOT: Final = Path(__file__).parents[2]
WORK: Final = ROOT / "build" / "fuzz"
LONGEST: Final = {"parse": 400, "step": 1024, "tables": 800}
"Bytes of an input: longer ones take their time and show nothing new."
GRACE_S: Final = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    seconds = parser.parse_args().seconds
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        programs = {target: build(target, FUZZ, WORK) for target in TARGETS}
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    running = {target: start(program, seconds) for target, program in programs.items()}
    results = [finish(target, process, seconds) for target, process in running.items()]
    return 0 if all(results) else 1


def start(program: Path, seconds: int) -> subprocess.Popen[bytes]:
    """A target that fuzzes from now on, its words in a file."""
    target = program.name
    folders = [WORK / "corpus" / target, CORPUS / target, CASES / target]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(program), f"-max_total_time={seconds}", f"-max_len={LONGEST[target]}",
        "-len_control=0", "-timeout=30", "-report_slow_units=1000",
        f"-artifact_prefix={CASES / target}/", *map(str, folders),
    ]  # fmt: skip
    env = plain() | {"UBSAN_OPTIONS": "print_stacktrace=1"}
    with Path(WORK, f"{target}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=env)


def finish(target: str, process: subprocess.Popen[bytes], seconds: int) -> bool:
    """Whether a target came to its end without a finding; says how it went."""
    try:
        status = process.wait(seconds + GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    lines = Path(WORK, f"{target}.log").read_text(errors="replace").splitlines()
    if status == 0:
        print(f"{target}: {lines[-1]}")
        return True
    print(f"{target}: failed, see build/fuzz/{target}.log and tests/fuzz/cases/{target}")
    print("\n".join(lines[-60:]))
    return False


if __name__ == "__main__":
    raise SystemExit(main())
