"""Builds the Debian package: python -m deb.build DIRECTORY; prints the path of the package.

The build needs dpkg-deb and pip. pip fetches what its cache lacks; with PIP_NO_INDEX and
PIP_FIND_LINKS it takes a directory of wheels instead. The same sources, libraries and
SOURCE_DATE_EPOCH (by default the time of the last commit) give the same package, byte by byte.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path
from typing import Final

import pktlb
from deb import libraries, manual
from pktlb.cli.completion import complete
from pktlb.cli.main import make_parser
from pktlb.host.unit import Unit

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
VERSION: Final = f"{pktlb.__version__}-1"
MAINTAINER: Final = "the pktlb authors <pktlb@packages.invalid>"
_COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/pktlb",
    "zsh": "usr/share/zsh/vendor-completions/_pktlb",
    "fish": "usr/share/fish/vendor_completions.d/pktlb.fish",
}
_SCRIPTS: Final = ("postinst", "prerm", "postrm")
_CONTROL: Final = """\
Package: pktlb
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: python3 (>= {oldest}), python3 (<< {beyond}), libc6 (>= 2.36), nftables, init-system-helpers (>= 1.54~)
Recommends: systemd
Suggests: bash-completion
Section: net
Priority: optional
Description: packet-level load balancer for Linux gateways
 pktlb takes packets to a virtual address off the wire with raw sockets, chooses
 a server for each connection, rewrites the packet (NAT, direct server return or
 IP-in-IP tunnels), and puts it back on the wire.
 .
 The libraries it needs in Python are in this package, for pktlb alone.
"""  # noqa: E501 - a line each
_COPYRIGHT: Final = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pktlb

Files: *
Copyright: 2026 the pktlb authors
License: BSD-3-Clause
{licence}
Comment: Under /usr/lib/pktlb lie these libraries, each with its own terms,
 which stand in full in their directories NAME.dist-info there:
{table}
"""


def main(out: Path) -> Path:
    """Build it in `out`."""
    epoch = int(os.environ.setdefault("SOURCE_DATE_EPOCH", _last_commit()))
    os.environ |= {
        "PKTLB_NEED_NATIVE": "1",
        "COLUMNS": "80",
        "TZ": "UTC",
        "LDSHARED": "gcc -shared",
    }
    os.umask(0o022)
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    source, tree = work / "source", work / "tree"
    tree.mkdir(parents=True)
    _copy_sources(source)
    os.environ["PKTLB_CFLAGS"] = f"-ffile-prefix-map={source}=."
    architecture = _said("dpkg", "--print-architecture")
    (work / "wheels").mkdir()
    libraries.gather(source, work / "wheels", tree / "usr/lib/pktlb", os.uname().machine)
    _lay_out(tree, epoch)
    _describe(tree, architecture)
    _settle(tree, epoch)
    package = out / f"pktlb_{VERSION}_{architecture}.deb"
    _said("dpkg-deb", "--root-owner-group", "-Zxz", "-z6", "--build", str(tree), str(package))
    return package


def _last_commit() -> str:
    return _said("git", "-C", str(ROOT), "log", "-1", "--format=%ct")


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _copy_sources(source: Path) -> None:
    listed = _said("git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "pktlb")
    for name in (*listed.splitlines(), "setup.py", "setup.cfg", "pyproject.toml", "README.md",
                 "LICENSE"):  # fmt: skip
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)


def _lay_out(tree: Path, epoch: int) -> None:
    """All files but the libraries."""
    _write(tree / "usr/bin/pktlb", (HERE / "launcher.py").read_text())
    _write(tree / "usr/lib/systemd/system/pktlb.service", Unit("/usr/bin/pktlb").render())
    _write(tree / "etc/pktlb/pktlb.toml", (HERE / "pktlb.toml").read_text())
    for shell, path in _COMPLETIONS.items():
        _write(tree / path, complete(make_parser(), shell))
    for name, text in manual.pages():
        _compress(tree / f"usr/share/man/man1/{name}.1.gz", text)
    doc = tree / "usr/share/doc/pktlb"
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        _write(doc / page.relative_to(ROOT), page.read_text())  # so that links between pages work
    _compress(doc / "changelog.gz", (ROOT / "CHANGELOG.md").read_text())
    date = formatdate(epoch)
    _compress(
        doc / "changelog.Debian.gz",
        f"pktlb ({VERSION}) unstable; urgency=medium\n\n"
        f"  * See changelog.gz for what is new.\n\n -- {MAINTAINER}  {date}\n",
    )
    _write(tree / "usr/share/lintian/overrides/pktlb", (HERE / "overrides").read_text())
    _write(doc / "copyright", _copyright(tree / "usr/lib/pktlb"))


def _copyright(target: Path) -> str:
    text = (ROOT / "LICENSE").read_text().strip().splitlines()
    licence = "\n".join(f" {line}" if line.strip() else " ." for line in text)
    found = libraries.libraries(target)
    table = "\n".join(f"  {it.name} {it.version}: {it.licence}" for it in found)
    return _COPYRIGHT.format(licence=licence, table=table)


def _describe(tree: Path, architecture: str) -> None:
    """What dpkg wants to know: DEBIAN/."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files) // 1024
    sums = "".join(
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n"
        for path in files
        if not path.is_relative_to(tree / "etc")
    )
    last = libraries.PYTHONS[-1].split(".")
    control = _CONTROL.format(
        version=VERSION, architecture=architecture, maintainer=MAINTAINER, size=size,
        oldest=libraries.PYTHONS[0], beyond=f"{last[0]}.{int(last[1]) + 1}~",
    )  # fmt: skip
    _write(tree / "DEBIAN/control", control)
    _write(tree / "DEBIAN/conffiles", "/etc/pktlb/pktlb.toml\n")
    _write(tree / "DEBIAN/md5sums", sums)
    for name in _SCRIPTS:
        _write(tree / "DEBIAN" / name, (HERE / name).read_text())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _compress(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _settle(tree: Path, epoch: int) -> None:
    """Give all files modes and times that do not depend on the machine or the time of the build."""
    programs = {tree / "usr/bin/pktlb", *(tree / "DEBIAN" / name for name in _SCRIPTS)}
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
        os.utime(path, (epoch, epoch))


if __name__ == "__main__":
    print(main(Path(sys.argv[1]).resolve()))
