"""The native engine as it is built and installed, and pktlb where it could not be built."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import pktlb.engine.native._core as core
from pktlb.model import OF_DECAP, Reason
from tests.bench.engine import FLAGS, SOURCE, core_sources
from tests.bench.program import compile_program
from tests.unit.engine.packet.kernel import compile_for_kernel

ROOT = Path(__file__).parents[4]
ENGINE = ROOT / "pktlb" / "engine"
NATIVE = ENGINE / "native"
PACKET = ENGINE / "packet"
FOR_THE_KERNEL = sorted(path.name for path in PACKET.iterdir() if path.suffix in (".c", ".h"))
"Compiled for the kernel as well, which has none of the C library."
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"][^>"]*[>"])', re.M)

WITHOUT_SOCKETS = """
import sys
from pktlb.daemon import run as daemon
from pktlb.engine import choose as engines
from pktlb.cli.main import main
from pktlb.config.config import Config
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import Tables

async def run(config: Config, source: object, beside: object, insists: bool) -> None:
    tables = Tables.of([], [], {}, snat=frozenset(), ports={}, hash_key=bytes(16))
    plane = engines.make_plane(engines.choose(config.engine), tables, Limits())
    outcome = plane.handle(Frame(1, bytearray(60)), 0)
    print(engines.__file__, type(plane).__name__, outcome.reason.name)

daemon.run = run
flags = ["--mode", "nat", "--vip", "192.0.2.1:80", "--backend", "10.0.0.1:80"]
sys.exit(main(["run", *flags, *sys.argv[1:]]))
"""
"What `pktlb run` does about engines, without the root that all the rest of it needs."


def run(
    command: list[str | Path], cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | env
    )


def includes(header: Path) -> set[str]:
    """Everything that a file includes, and what that includes of ours."""
    found = set(INCLUDE.findall(header.read_text()))
    for name in [name for name in found if name.startswith('"')]:
        found |= includes(PACKET / name.strip('"'))
    return found


def test_the_extension_that_is_imported_is_the_one_beside_its_sources() -> None:
    assert core.__file__ == str(NATIVE / "_core.abi3.so")


def test_reasons_of_the_native_engine_are_those_of_the_reference() -> None:
    assert list(core.ENUMS["reason"]) == [r.name for r in Reason if r not in OF_DECAP]


@pytest.mark.parametrize("header", FOR_THE_KERNEL)
def test_headers_for_the_kernel_need_only_its_types(header: str) -> None:
    system = {name for name in includes(PACKET / header) if name.startswith("<")}
    assert header.endswith(".h")
    assert system <= {"<linux/types.h>"}


@pytest.mark.parametrize("header", FOR_THE_KERNEL)
def test_headers_for_the_kernel_compile_without_the_c_library(header: str, tmp_path: Path) -> None:
    for folder in ("linux", "asm-generic"):
        (tmp_path / folder).symlink_to(Path("/usr/include", folder))
    multiarch = run(["gcc", "-print-multiarch"]).stdout.strip()
    asm = Path("/usr/include", multiarch, "asm")
    (tmp_path / "asm").symlink_to(asm if asm.exists() else "/usr/include/asm")
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{header}"\n')
    done = run([
        "gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdinc",
        "-isystem", tmp_path, "-I", PACKET, "-c", "-o", tmp_path / "alone.o", source,
    ])  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("header", FOR_THE_KERNEL)
def test_each_function_of_a_header_compiles_for_the_kernel(header: str, tmp_path: Path) -> None:
    """Also where the compiler does not inline it: with five arguments, and no struct returned."""
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{header}"\n')
    compile_for_kernel(source, tmp_path, "-Dinline=__attribute__((used))")


@pytest.mark.parametrize(
    ("header", "expected"),
    [("Python.h", ["module.h"]), ("module.h", ["module.c", "module_contract.c", "module_dump.c"])],
)
def test_only_the_binding_knows_python(header: str, expected: list[str]) -> None:
    knowing = [
        path.name
        for path in sorted(ENGINE.glob("*/*.[ch]"))
        if any(header in name for name in INCLUDE.findall(path.read_text()))
    ]
    assert knowing == expected


def test_the_engine_links_without_python(tmp_path: Path) -> None:
    """As `make bench` measures it."""
    compile_program(tmp_path / "engine", [SOURCE, *core_sources()], [*FLAGS, "-O0"])


def copy_of_sources(to: Path) -> Path:
    """To build in: nothing that was built before is in the way."""
    to.mkdir()
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, to)
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "pktlb", to / "pktlb", ignore=ignored)
    return to


def pip(*arguments: str | Path, cwd: Path, **env: str) -> None:
    quietly = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    done = run([sys.executable, "-m", "pip", arguments[0], *quietly, *arguments[1:]], cwd, **env)
    assert done.returncode == 0, done.stderr


def test_the_wheel_is_for_all_pythons_and_holds_the_extension(tmp_path: Path) -> None:
    copy = copy_of_sources(tmp_path / "copy")
    pip("wheel", copy, "--wheel-dir", tmp_path, cwd=tmp_path, PKTLB_NEED_NATIVE="1",
        PKTLB_CFLAGS="-O0")  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    assert "-cp311-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "pktlb/engine/native/_core.abi3.so" in names
    assert "pktlb/py.typed" in names


def test_an_sdist_holds_all_sources(tmp_path: Path) -> None:
    copy = copy_of_sources(tmp_path / "copy")
    done = run([sys.executable, "setup.py", "-q", "sdist", "-d", tmp_path], copy)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        held = {Path(name).name for name in packed.getnames()}
    assert {path.name for path in ENGINE.glob("*/*.[ch]")} <= held


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pktlb as it is installed where no C can be compiled."""
    to = tmp_path_factory.mktemp("installed")
    copy = copy_of_sources(to / "copy")
    pip("install", copy, "--target", to, cwd=to, CC="/bin/false")
    assert not list(to.rglob("*.so"))
    return to


def run_installed(where: Path, engine: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-c", WITHOUT_SOCKETS, "--engine", engine]
    return run(command, where, PYTHONPATH=str(where))


def test_without_a_compiler_the_reference_engine_works(without_compiler: Path) -> None:
    done = run_installed(without_compiler, "python")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        str(without_compiler / "pktlb" / "engine" / "choose.py"), "Dataplane", "NOT_OURS"
    ]  # fmt: skip


def test_without_a_compiler_auto_falls_back_and_says_so(without_compiler: Path) -> None:
    done = run_installed(without_compiler, "auto")
    assert done.returncode == 0
    assert done.stdout.split()[1:] == ["Dataplane", "NOT_OURS"]
    assert "the native engine is not built here" in done.stderr


def test_without_a_compiler_native_is_refused_in_one_line(without_compiler: Path) -> None:
    done = run_installed(without_compiler, "native")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("pktlb: --engine native: it is not built here")
