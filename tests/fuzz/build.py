"""The fuzz targets and the threads at one engine: C beside this module, compiled when needed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ENGINE: Final = HERE.parents[1] / "pktlb" / "engine"
NATIVE: Final = ENGINE / "native"
PACKET: Final = ENGINE / "packet"
CORPUS: Final = HERE / "corpus"
CASES: Final = HERE / "cases"

_SOURCES: Final = {
    "parse": ("parse",),
    "step": ("step", "frames", "invariants", "judge", "outcome", "places", "sums", "world"),
    "tables": ("tables",),
    "workers": ("workers", "frames", "invariants", "places", "world"),
}
TARGETS: Final = ("parse", "step", "tables")

_FLAGS: Final = ("-std=gnu11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Wshadow", "-Werror")
FUZZ: Final = ("clang", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
REPLAY: Final = ("gcc", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREADS: Final = ("gcc", "-O1", "-fsanitize=thread")


class BuildError(Exception):
    """What the compiler has against a program."""


def build(name: str, compiler: tuple[str, ...], folder: Path) -> Path:
    """The program of this name, made in `folder`."""
    program = folder / name
    sources = [HERE / f"{source}.c" for source in _SOURCES[name]]
    if compiler is REPLAY:
        sources.append(HERE / "replay.c")
    if name != "parse":
        sources += engine_sources()
    command = [*compiler, *_FLAGS, f"-I{NATIVE}", f"-I{PACKET}", f"-I{HERE}", "-pthread", "-o",
               str(program), *map(str, sources)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain())
    except FileNotFoundError as error:
        raise BuildError(f"the command `{compiler[0]}` is missing: see `make fuzz`") from error
    if done.returncode != 0:
        raise BuildError(f"{name} does not compile:\n{done.stderr.strip()}")
    return program


def engine_sources() -> list[Path]:
    """The engine without its binding to Python."""
    return [path for path in sorted(NATIVE.glob("*.c")) if not path.name.startswith("module")]


def plain() -> dict[str, str]:
    """The environment of programs that bring their own sanitizer, whatever the tests run under."""
    gone = {"LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}
    return {name: value for name, value in os.environ.items() if name not in gone}


def inputs(target: str) -> Iterator[Path]:
    """What a target is tried on: seeds, and everything that it once failed on."""
    for folder in (CORPUS, CASES):
        yield from sorted(folder.glob(f"{target}/*"))
