"""The load programs: C beside this module, compiled when they are needed, warnings being errors."""

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from netns.errors import RefusedError

HERE: Final = Path(__file__).parent
NAMES: Final = ("flood", "collect", "ping", "echo", "httpd", "httpload")
FLAGS: Final = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow")


def compile_program(output: Path, sources: Iterable[Path], flags: Iterable[str] = ()) -> None:
    """Make a program of its sources, or say what the compiler has against them."""
    command = ["cc", *FLAGS, *flags, "-o", str(output), *map(str, sources)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RefusedError(
            "the command `cc` is missing: install the packages gcc, libc6-dev"
        ) from error
    if done.returncode != 0:
        raise RefusedError(f"{output.name} does not compile:\n{done.stderr.strip()}")


@contextmanager
def programs(names: Iterable[str] = NAMES) -> Iterator[Path]:
    """A temporary folder with the programs in it."""
    with tempfile.TemporaryDirectory(prefix="pktlb-bench-") as folder:
        for name in names:
            compile_program(Path(folder, name), [HERE / f"{name}.c"])
        yield Path(folder)


def last_line(output: str) -> dict[str, float]:
    """What a load program has to say: its last line, in JSON."""
    found: Any = json.loads(output.strip().splitlines()[-1])
    return {str(key): float(value) for key, value in found.items()}
