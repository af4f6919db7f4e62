"""pktlb and the libraries it needs, as one directory that serves several versions of Python.

Debian 12 has pyroute2 0.7 and pydantic 1, Debian 13 another Python: no release's own packages would
do, and a virtual environment belongs to one version of Python. What is compiled carries the version
in its file name, so one directory can hold it for all of them; the rest is the same for each.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

PYTHONS: Final = ("3.11", "3.12", "3.13")
"Of Debian 12, Ubuntu 24.04, Debian 13."
_GLIBC: Final = range(17, 37)
"What wheels may be built against, as manylinux_2_N; Debian 12 has 2.36."
_LEFT_OUT: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


@dataclass(frozen=True, slots=True)
class Library:
    """What is in the package beside pktlb, and its terms."""

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]


def gather(source: Path, work: Path, target: Path, machine: str) -> None:
    """Build pktlb's wheel from `source`, and install it with all it needs into `target`."""
    _pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={work}", str(source))
    (wheel,) = work.glob("pktlb-*.whl")
    pins = work / "pins.txt"
    pins.write_text(_pip("freeze", "--exclude-editable", "--all"))
    with ThreadPoolExecutor() as pool:
        places = pool.map(lambda python: _install(python, wheel, pins, work, machine), PYTHONS)
        for place in places:
            shutil.copytree(place, target, dirs_exist_ok=True)
    for name in _LEFT_OUT:
        for file in target.glob(f"*.dist-info/{name}"):
            file.unlink()
    for compiled in sorted(target.rglob("*.so")):
        subprocess.run(["strip", "--strip-unneeded", str(compiled)], check=True)


def _install(python: str, wheel: Path, pins: Path, work: Path, machine: str) -> Path:
    """A wheel and all it needs as one version of Python wants it; the directory."""
    place = work / python
    _pip(
        "install", f"--target={place}", f"--python-version={python}", "--only-binary=:all:",
        "--implementation=cp", "--no-compile", f"--constraint={pins}",
        *(f"--platform=manylinux_2_{minor}_{machine}" for minor in reversed(_GLIBC)),
        f"--platform=manylinux2014_{machine}", f"--platform=linux_{machine}",
        str(wheel),
    )  # fmt: skip
    shutil.rmtree(place / "bin", ignore_errors=True)
    return place


def libraries(target: Path) -> Iterator[Library]:
    """All that lie in `target` but pktlb, by name."""
    for info in sorted(target.glob("*.dist-info"), key=lambda path: path.name.lower()):
        about = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        if about["Name"] != "pktlb":
            texts = tuple(
                file.read_text(encoding="utf-8")
                for file in sorted(info.rglob("*"))
                if file.is_file() and file.name.upper().startswith(("LICEN", "COPYING", "NOTICE"))
            )
            short = about["License-Expression"] or _one_line(about["License"]) or _classified(about)
            yield Library(about["Name"], about["Version"], short, texts)


def _one_line(licence: str | None) -> str:
    return licence if licence and "\n" not in licence else ""


def _classified(about: object) -> str:
    return ", ".join(
        value.rpartition(" :: ")[2]
        for value in about.get_all("Classifier", [])  # type: ignore[attr-defined]
        if value.startswith("License ::")
    )


def _pip(*arguments: str) -> str:
    """Run this environment's pip; what it complains of is shown if it fails."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout
