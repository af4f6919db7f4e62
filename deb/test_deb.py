"""The package as dpkg installs it: what is in it, and that it serves under the unit it brings."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from netns import nat
from netns.process import ROOT
from netns.waiting import wait_until
from pktlb.cli.main import make_parser
from tests.net.systemd import Manager, booted
from tests.net.test_systemd import DROP_IN, EVEN, SERVICE, configuration, in_the_laboratory
from tests.net.world import serving


def build(directory: Path) -> Path:
    command = [sys.executable, "-m", "deb.build", str(directory)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def extracted(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    said("dpkg-deb", "--extract", package, tree)
    return tree


def test_the_package_holds_what_a_package_should(package: Path) -> None:
    listed = {line.split()[5] for line in said("dpkg-deb", "--contents", package).splitlines()}
    for path in (
        "usr/bin/pktlb",
        "usr/lib/systemd/system/pktlb.service",
        "usr/share/man/man1/pktlb.1.gz",
        "usr/share/man/man1/pktlb-run.1.gz",
        "usr/share/bash-completion/completions/pktlb",
        "usr/share/zsh/vendor-completions/_pktlb",
        "usr/share/fish/vendor_completions.d/pktlb.fish",
        "usr/share/doc/pktlb/README.md",
        "usr/share/doc/pktlb/docs/commands.md",
        "usr/share/doc/pktlb/copyright",
        "usr/share/doc/pktlb/changelog.Debian.gz",
        "usr/lib/pktlb/pktlb/engine/native/_core.abi3.so",
    ):
        assert f"./{path}" in listed
    assert not [path for path in listed if path.endswith((".pyc", "/RECORD", "direct_url.json"))]
    assert said("dpkg-deb", "--info", package, "conffiles") == "/etc/pktlb/pktlb.toml\n"


def test_lintian_has_no_complaint(package: Path) -> None:
    flags = ("--fail-on", "error,warning", "--allow-root")
    done = subprocess.run(["lintian", *flags, package], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_same_sources_give_the_same_package(package: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == package.read_bytes()


def test_its_command_runs_where_it_lies_and_sees_its_own_libraries_only(extracted: Path) -> None:
    """With Debian's own Python, whatever the environment says."""
    pktlb = extracted / "usr/bin/pktlb"
    env = {**os.environ, "PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"}
    version = subprocess.run([pktlb, "--version"], check=True, capture_output=True, env=env)
    assert version.stdout.startswith(b"pktlb ")
    unit = said(pktlb, "install-unit", "--print", "--command", "/usr/bin/pktlb")
    assert (extracted / "usr/lib/systemd/system/pktlb.service").read_text() == unit


def test_the_copyright_names_each_library(extracted: Path) -> None:
    text = (extracted / "usr/share/doc/pktlb/copyright").read_text()
    for info in (extracted / "usr/lib/pktlb").glob("*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        if name != "pktlb":
            found = re.search(rf"^  {name.replace('_', '[_-]')} {version}: \S", text, re.M | re.I)
            assert found, f"nothing about {info.name}"


def test_each_command_has_a_page_that_mandoc_can_read(extracted: Path, tmp_path: Path) -> None:
    pages = sorted((extracted / "usr/share/man/man1").glob("*.gz"))
    (commands,) = (it.choices for it in make_parser()._actions if it.dest == "==SUPPRESS==")
    assert {page.name for page in pages} >= {f"pktlb-{name}.1.gz" for name in commands or ()}
    for page in pages:
        plain = tmp_path / page.stem
        plain.write_bytes(gzip.decompress(page.read_bytes()))
        done = subprocess.run(
            ["mandoc", "-Tlint", "-Wwarning", plain], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_installed_it_serves_under_its_own_unit_and_purged_it_leaves_nothing(
    package: Path, tmp_path: Path
) -> None:
    with serving(nat.TOPOLOGY) as world:
        before = world.balancer.state()
        log = tmp_path / "log"
        (tmp_path / "pktlb.toml").write_text(configuration(world.topology))
        units = {DROP_IN: in_the_laboratory(log)}
        with booted(world.balancer, tmp_path, units, package) as manager:
            assert manager.run("pktlb", "--version").stdout.startswith("pktlb ")
            assert manager.systemctl("is-enabled", SERVICE, check=False).strip() == "disabled"
            manager.run("cp", str(tmp_path / "pktlb.toml"), "/etc/pktlb/")
            started = manager.run("systemctl", "start", SERVICE, check=False)
            assert started.returncode == 0, log.read_text()
            assert world.answers(6) == EVEN
            assert manager.show(SERVICE, "FragmentPath").endswith(f"/lib/systemd/system/{SERVICE}")
            manager.run("pktlb", "restart")
            wait_until(lambda: log.read_text().count("pktlb: ready") == 2, 10, "the next serves")
            assert world.answers(6) == EVEN
            purged = manager.run("dpkg", "--purge", "pktlb", check=False)
            assert purged.returncode == 0, purged.stderr
            assert "not empty" not in purged.stderr
            assert world.balancer.state() == before
            assert not left_behind(manager)


def left_behind(manager: Manager) -> str:
    """Files of the package that outlive it."""
    places = ("/usr/bin/pktlb", "/usr/lib/pktlb", "/etc/pktlb", "/usr/share/doc/pktlb")
    return manager.run("sh", "-c", f"ls -d {' '.join(places)} 2>/dev/null; true").stdout
