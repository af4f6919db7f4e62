"""The systemd unit as systemd itself reads it, and where `pktlb install-unit` puts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pktlb.cli.main import main
from pktlb.host.presence import watchdog_interval
from pktlb.host.unit import Unit

PKTLB = os.path.join(sys.prefix, "bin", "pktlb")
MOST_EXPOSED = 26
"In tenths, as systemd-analyze counts: an unprotected service has 96."


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["default", "second"])
def test_systemd_finds_nothing_wrong_with_the_unit(name: str, tmp_path: Path) -> None:
    unit = Unit(PKTLB, name, '/etc/pktlb/with space, 100% "quoted" and $HOME\\.toml')
    file = tmp_path / f"{unit.service}.service"
    file.write_text(unit.render())
    verified = analyze("verify", "--man=no", file)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", file)
    assert judged.returncode == 0, judged.stdout


def test_systemd_finds_a_misspelt_or_missing_setting(tmp_path: Path) -> None:
    """So the test above can fail."""
    text = Unit(PKTLB).render()
    file = tmp_path / "pktlb.service"
    file.write_text(text.replace("NoNewPrivileges=", "NoNewPriviledges="))
    assert "NoNewPriviledges" in analyze("verify", "--man=no", file).stderr
    file.write_text(text.replace("CapabilityBoundingSet=", "CapabilityBoundingSet=~"))
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", file)
    assert judged.returncode == 1


def test_each_balancer_has_its_own_unit_file_and_socket() -> None:
    first, second = Unit("/usr/bin/pktlb"), Unit("/usr/bin/pktlb", "second")
    assert (first.service, second.service) == ("pktlb", "pktlb-second")
    assert "run --name default --config /etc/pktlb/pktlb.toml\n" in first.render()
    assert "run --name second --config /etc/pktlb/second.toml\n" in second.render()
    assert "PKTLB_SOCKET=%t/pktlb/second.sock" in second.render()


BAD = [
    (("--name", "a/b"), "--name a/b: expected 1..63 letters"),
    (("--name", ".."), "--name ..: expected 1..63 letters"),
    (("--name", "a" * 65), "expected 1..63 letters"),
    (("--name", "%i"), "--name %i: expected 1..63 letters"),
    (("--name", "a\nUser=root"), "--name a\\nUser=root: expected 1..63 letters"),
    (("--user", "root"), "--user root: expected the name of a user, not of root"),
    (("--user", "0"), "--user 0: expected the name of a user"),
    (("--command", "pktlb"), "--command pktlb: expected an absolute path"),
    (("--command", "/bin/a\nb"), "--command /bin/a\\nb: expected an absolute path"),
    (("--config", "a\nb"), "expected an absolute path"),
    (("--command", "/root/.venv/bin/pktlb"), "expected a place that is in nobody's home"),
    (("--config", "/home/me/pktlb.toml"), "expected a place that is in nobody's home"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(it) for it, _ in BAD])
def test_a_wrong_flag_is_refused_and_no_unit_written(
    arguments: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--directory", str(tmp_path), "--command", "/usr/bin/pktlb")
    assert main(["install-unit", *where, *arguments]) == 2
    complaint = capsys.readouterr().err
    assert expected in complaint
    assert complaint.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_unit_is_written_whole_and_the_next_command_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["install-unit", "--name", "second", "--command", "/usr/bin/pktlb"]
    assert main([*command, "--directory", str(tmp_path)]) == 0
    (file,) = tmp_path.iterdir()
    assert file.name == "pktlb-second.service"
    assert file.stat().st_mode & 0o777 == 0o644
    assert "systemctl enable --now pktlb-second\n" in capsys.readouterr().out
    assert main([*command, "--print"]) == 0
    assert capsys.readouterr().out == file.read_text()
    assert main([*command, "--directory", "/nonexistent"]) == 1


WATCHED = [
    ({}, None),
    ({"WATCHDOG_USEC": "15000000"}, 7.5),
    ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "mine"}, 7.5),
    ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "1"}, None),
    ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "me"}, None),
    ({"WATCHDOG_USEC": "0"}, None),
    ({"WATCHDOG_USEC": "-1"}, None),
    ({"WATCHDOG_USEC": "soon"}, None),
    ({"WATCHDOG_USEC": ""}, None),
]


@pytest.mark.parametrize(("environment", "expected"), WATCHED, ids=str)
def test_the_watchdog_is_told_twice_as_often_as_it_asks(
    environment: dict[str, str], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(os.getpid()) if value == "mine" else value)
    assert watchdog_interval() == expected
