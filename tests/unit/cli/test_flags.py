"""`pktlb run`: flags are the short way to the tables of a file, and are not mixed with one."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pktlb.cli.main import main, make_parser
from pktlb.cli.run import make_config
from pktlb.config.config import Config
from pktlb.config.file import read
from pktlb.config.service import Backend
from pktlb.model import Endpoint, Mode, OnRemove

WEB = "--vip 203.0.113.10:80 --backend 10.0.2.11"
FILE = '[balancer]\nname = "a"\ncontrol = "/run/a.sock"\n'


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PKTLB_SOCKET", raising=False)


def config(flags: str) -> Config:
    return make_config(make_parser().parse_args(["run", *shlex.split(flags)]))


def refusal(flags: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["run", *shlex.split(flags)]) == 2
    return capsys.readouterr().err.removeprefix("pktlb: ").rstrip("\n")


def test_without_flags_there_is_nothing_yet() -> None:
    assert config("") == config("--mode nat") == Config(())


def test_flags_and_a_file_say_the_same() -> None:
    flags = (
        "--name edge --control /run/e.sock --control-group adm --snat 10.0.2.200 --interface wan "
        "--interface lan --timeout tcp=5,udp=6 --max-flows 9 --scheduler lc --mode nat "
        "--vip 203.0.113.10:80 --service-name web --persist 300/24 --slow-start 30 "
        "--backend 10.0.2.11:8080,weight=3,max=100,resume=80,drain,name=a --on-remove keep "
        "--vip [2001:db8::1]:53/udp --scheduler hash --hash source/56 --persist 9/64 "
        "--backend 10.0.2.12,mode=tunnel --backend 2001:db8:2::1,mode=dsr"
    )
    text = """
        [balancer]
        name = "edge"
        control = "/run/e.sock"
        control_group = "adm"
        snat = "10.0.2.200"
        interfaces = ["wan", "lan"]
        timeouts = { tcp = 5, udp = 6 }
        max_flows = 9
        [[service]]
        name = "web"
        vip = "203.0.113.10:80"
        mode = "nat"
        scheduler = "lc"
        persist = 300
        persist_prefix4 = 24
        slow_start = 30
        on_remove = "keep"
        [[service.backend]]
        address = "10.0.2.11:8080"
        weight = 3
        name = "a"
        drain = true
        max_connections = 100
        resume_connections = 80
        [[service]]
        vip = "[2001:db8::1]:53/udp"
        mode = "nat"
        scheduler = "hash"
        hash = "source/56"
        persist = 9
        persist_prefix6 = 64
        [[service.backend]]
        address = "10.0.2.12"
        mode = "tunnel"
        [[service.backend]]
        address = "2001:db8:2::1"
        mode = "dsr"
        """
    assert config(flags) == read(text, "f")


def test_a_mode_given_once_is_that_of_all_services() -> None:
    one = "--vip 203.0.113.10:80 --backend 10.0.2.11"
    two = "--vip 203.0.113.10:81 --backend 10.0.2.11"
    for flags, modes in (
        (f"--mode dsr {one} {two}", "dsr dsr"),
        (f"{one} {two} --mode dsr", "dsr dsr"),
        (f"--mode dsr {one} {two} --mode nat", "dsr nat"),
        (f"{one} --mode tunnel {two} --mode nat", "tunnel nat"),
    ):
        assert [service.mode.value for service in config(flags).services] == modes.split()


def test_a_backend_brings_its_own_options() -> None:
    (service,) = config(f"--mode nat {WEB},mode=tunnel,max=7 --on-remove drop").services
    assert service.backends == (
        Backend(Endpoint(bytes([10, 0, 2, 11]), 80), mode=Mode.TUNNEL, max_connections=7),
    )
    assert service.on_remove is OnRemove.DROP


@pytest.mark.parametrize(
    ("vip", "flags", "persist"),
    [
        ("203.0.113.10:80", "--persist 300", (300, 32, 128)),
        ("203.0.113.10:80", "--persist 300/24", (300, 24, 128)),
        ("[2001:db8::1]:80", "--persist 300/56", (300, 32, 56)),
        ("203.0.113.10:80", "--persist 300/24/56", (300, 24, 56)),
        ("203.0.113.10:80", "--persist 300 --persist-prefix4 24", (300, 24, 128)),
        ("203.0.113.10:80", "--persist-prefix6 56 --persist 300", (300, 32, 56)),
        ("203.0.113.10:80", "--persist-prefix4 20 --persist 300/24/56", (300, 20, 56)),
    ],
)
def test_bits_of_persistence_are_said_with_the_seconds_or_by_flags_of_their_own(
    vip: str, flags: str, persist: tuple[int, int, int]
) -> None:
    backend = "2001:db8::2" if "::" in vip else "10.0.2.11"
    for line in (
        f"--mode nat --vip {vip} --backend {backend} {flags}",
        f"--mode nat {flags} --vip {vip} --backend {backend}",
    ):
        (service,) = config(line).services
        assert (service.persist_s, service.persist4, service.persist6) == persist


def test_a_switch_that_is_on_unasked_can_be_switched_off() -> None:
    (service,) = config(f"--mode nat --scheduler source {WEB} --no-pick-up").services
    assert not service.pick_up
    other = "--vip 203.0.113.11:80 --backend 10.0.2.12"
    on, off = config(f"--mode nat --pick-up {WEB} {other} --no-pick-up").services
    assert (on.pick_up, off.pick_up) == (True, False)


BAD = [
    ("--mode nat --vip 203.0.113.10:80", "--vip 203.0.113.10:80: expected at least one --backend"),
    (f"--mode nat {WEB},mode=nap", "--backend 10.0.2.11,mode=nap: expected nat, dsr or"),
    (f"--mode nat {WEB},max=-1", "--backend 10.0.2.11,max=-1: expected a number of connections in"),
    (f"--mode nat {WEB},resume=1", "--backend 10.0.2.11,resume=1: expected max_connections as"),
    (f"--mode nat {WEB},drain=1", "got the option 'drain=1'"),
    (f"--mode nat {WEB} --persist x", "--persist x: expected seconds in 0..1000000, got 'x'"),
    (f"--mode nat {WEB} --persist 1/33", "--persist 1/33: expected bits of an IPv4 address in 1"),
    (f"--mode nat {WEB} --persist 1/2/129", "--persist 1/2/129: expected bits of an IPv6 address"),
    (f"--mode nat {WEB} --persist 1/2/3/4", "--persist 1/2/3/4: expected SECONDS[/BITS[/BITS]]"),
    (f"--mode nat {WEB} --persist 1 --persist-prefix4 33", "--persist-prefix4 33: expected bits"),
    (f"--mode nat {WEB} --slow-start -1", "--slow-start"),
    (f"--mode nat {WEB} --on-remove x", "--on-remove: invalid choice: 'x'"),
    (f"--mode nat {WEB} --service-name 'a b'", "--service-name a b: expected a name of 1..64"),
    ("--name a/b", "--name a/b: expected a name of 1..64 letters, digits"),
    ("--control x", "--control x: expected a path that starts with /"),
    ("--control-group a:b", "--control-group a:b: expected the name of a group, got 'a:b'"),
    ("--snat 10.0.2.1 --snat x", "--snat x: expected an address such as"),
    ("--engine python --workers 2", "--workers 2: expected engine native"),
    ("--busy-poll 2 --realtime", "--realtime: expected no busy polling"),
    (f"--mode nat {WEB} --vip 203.0.113.11:80 --backend 10.0.2.11 --service-name 203.0.113.10:80",
     "--service-name 203.0.113.10:80: expected a name that is not another service's VIP"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "complaint"), BAD, ids=[flags for flags, _ in BAD])
def test_what_is_wrong_is_told_by_the_flag(
    flags: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(flags, capsys)
    assert complaint in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "flag",
    [
        "--mode nat", "--vip 203.0.113.10:80", "--one-packet", "--snat 10.0.2.1", "--workers 2",
        "--no-realtime", "--timeout tcp=1", "--engine auto", "--persist 3", "--max-flows 9",
    ],
)  # fmt: skip
def test_a_file_is_not_mixed_with_flags(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.toml"
    path.write_text(FILE)
    name = flag.split(maxsplit=1)[0].replace("--no-", "--")
    assert refusal(f"-c {path} {flag}", capsys) == (
        f"{name}: expected in the file, for there is --config {path}"
    )


def test_name_and_control_may_stand_beside_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.toml"
    path.write_text(FILE)
    assert config(f"-c {path}") == Config((), name="a", control="/run/a.sock")
    assert config(f"-c {path} --name b --control-group g") == Config(
        (), name="b", control="/run/a.sock", control_group="g"
    )
    monkeypatch.setenv("PKTLB_SOCKET", "/run/env.sock")
    assert config(f"-c {path}").control == config("").control == "/run/env.sock"
    assert config(f"-c {path} --control /run/flag.sock").control == "/run/flag.sock"
    monkeypatch.setenv("PKTLB_SOCKET", "env.sock")
    assert refusal("", capsys).startswith("PKTLB_SOCKET env.sock: expected a path that starts with")
    assert refusal(f"-c {path} --name ..", capsys).startswith("--name ..: expected a name of")


@pytest.mark.parametrize("arguments", ["run --help", "check --help", "schema --help"])
def test_help_does_not_wait_for_pydantic(arguments: str) -> None:
    code = (
        "import sys\nfrom pktlb.cli.main import main\n"
        f"try: main({arguments.split()!r})\nexcept SystemExit: pass\n"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
