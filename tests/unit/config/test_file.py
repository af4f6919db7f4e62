"""Files become a `Config`, or lines that say where and what is wrong: all of it at once."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pktlb.cli.main import main
from pktlb.config.config import Config
from pktlb.config.file import MAX_BYTES, load, read, write
from pktlb.config.lines import Lines
from pktlb.config.problem import MAX_PROBLEMS
from pktlb.config.problem import Path as ProblemPath
from pktlb.config.service import Backend
from pktlb.errors import FileError
from pktlb.model import Endpoint, HashFields, HashOn, Mode, OnRemove, Scheduler, Timeouts

DOCS = Path(__file__).resolve().parents[3] / "docs"
WEB = '[[service]]\nvip = "203.0.113.10:80"\nmode = "nat"\n'
BACKEND = '[[service.backend]]\naddress = "10.0.2.11:8080"\n'
L2 = '[balancer]\ninterfaces = "lan"\n[[service]]\nvip = "any"\n'
SNAT = '[balancer]\nsnat = "10.0.2.200"\n'


def problems(text: str) -> list[str]:
    with pytest.raises(FileError) as refused:
        read(text, "f")
    return list(refused.value.problems)


def host(last: int, port: int = 8080) -> Endpoint:
    return Endpoint(bytes([10, 0, 2, last]), port)


def test_everything_that_can_be_said_arrives() -> None:
    config = read(
        """
        balancer = { name = "edge", interfaces = ["wan", "lan"], vip_interface = "wan" }
        [[service]]
        name = "web"
        vip = ["203.0.113.10:80", "[2001:db8::10]:80-81/any"]
        mode = "tunnel"
        scheduler = "hash"
        hash = "source/24"
        persist = 300
        persist_prefix4 = 24
        slow_start = 30
        on_remove = "drop"
        pick_up = false
        backend = [
            { address = "10.0.2.11", weight = 3, name = "a", drain = true },
            { address = "10.0.2.12", max_connections = 100, resume_connections = 80 },
        ]
        [[service]]
        vip = "203.0.113.10:53/udp"
        mode = "nat"
        one_packet = true
        [[service.backend]]
        address = "10.0.2.13"
        mode = "dsr"
        """,
        "f",
    )
    assert (config.name, config.interfaces, config.vip_interface) == ("edge", ("wan", "lan"), "wan")
    web, web6, dns = config.services
    assert [web.vip.low, web6.vip.low, web6.vip.high] == [80, 80, 81]
    assert (web.name, web6.name, web.mode) == ("web", "web", Mode.TUNNEL)
    assert (web.scheduler, web.hash_on) == (Scheduler.HASH, HashOn(HashFields.SOURCE, prefix4=24))
    assert web6.hash_on == HashOn(HashFields.SOURCE, prefix6=24)
    assert (web.persist_s, web.persist4, web.persist6) == (300, 24, 128)
    assert (web.slow_start_s, web.on_remove, web.pick_up) == (30, OnRemove.DROP, False)
    assert web.backends == (
        Backend(host(11, 80), 3, "a", drain=True),
        Backend(host(12, 80), max_connections=100, resume_connections=80),
    )
    assert [backend.endpoint.port for backend in web6.backends] == [0, 0]
    assert dns.one_packet
    assert dns.mode_of(dns.backends[0]) is Mode.DSR


def test_an_empty_file_is_an_empty_balancer() -> None:
    assert read("", "f") == Config(())


def test_the_rest_of_the_balancer_arrives() -> None:
    config = read(
        'balancer.snat = ["10.0.2.200-10.0.2.201", "10.0.2.200"]\nbalancer.timeouts.tcp = 10\n'
        "balancer.max_flows = 7\nbalancer.workers = 2\nbalancer.busy_poll_us = 5\n"
        'balancer.realtime = false\nbalancer.engine = "native"\n'
        'balancer.control = "/run/x.sock"\nbalancer.control_group = "adm"\n',
        "f",
    )
    assert config.snat == (bytes([10, 0, 2, 200]), bytes([10, 0, 2, 201]))
    assert config.timeouts == Timeouts(tcp=10)
    assert (config.max_flows, config.workers, config.busy_poll_us) == (7, 2, 5)
    assert (config.realtime, config.engine) == (False, "native")
    assert (config.control, config.control_group) == ("/run/x.sock", "adm")


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ('scheduler = "source"\n', True),
        ('scheduler = "source"\npick_up = false\n', False),
        ("", False),
        ("pick_up = true\n", True),
    ],
)
def test_connections_are_picked_up_unasked_where_they_can_be(rest: str, expected: bool) -> None:
    assert read(WEB + rest, "f").services[0].pick_up is expected
    if "pick_up = true" not in rest:
        assert not read(SNAT + WEB + rest, "f").services[0].pick_up


BAD = [
    (WEB + "weight = 3\n", ["f:4: service[0].weight: unknown key, got 3"]),
    (
        WEB + BACKEND + "wieght = 3\n",
        ["f:6: service[0].backend[0].wieght: unknown key, got 3 (did you mean weight?)"],
    ),
    ("[server]\n", ["f:1: server: unknown key, got a table (did you mean service?)"]),
    ("service = 3\n", ["f:1: service: expected tables with the head [[service]], got 3"]),
    ("service = [3]\n", ["f:1: service[0]: expected a table, got 3"]),
    ("balancer = 'x'\n", ["f:1: balancer: expected a table, got 'x'"]),
    ("\n[[service]]\n", [
        "f:2: service[0].vip: expected what clients dial, such as 203.0.113.10:80, got nothing",
        "f:2: service[0].mode: expected nat, dsr or tunnel, got nothing",
    ]),
    (WEB.replace("nat", "nap"), [
        "f:3: service[0].mode: expected nat, dsr or tunnel, got 'nap' (did you mean nat?)"]),
    (WEB + "scheduler = 'wrr'\n", [
        "f:4: service[0].scheduler: expected rr, lc, sed, nq, p2c, source, maglev or hash, got "
        "'wrr' (did you mean rr?)"]),
    (WEB + BACKEND + "weight = '3'\n", [
        "f:6: service[0].backend[0].weight: expected a weight in 0..65535, got '3'"]),
    (WEB + BACKEND + "weight = 65536\n", [
        "f:6: service[0].backend[0].weight: expected a weight in 0..65535, got 65536"]),
    (WEB + BACKEND + "weight = true\n", [
        "f:6: service[0].backend[0].weight: expected a weight in 0..65535, got true"]),
    (WEB + BACKEND + "weight = 1.5\n", [
        "f:6: service[0].backend[0].weight: expected a weight in 0..65535, got 1.5"]),
    (WEB + BACKEND + f"weight = 0x{'f' * 5000}\n", [
        "f:6: service[0].backend[0].weight: expected a weight in 0..65535, got a number of 20000 "
        "bits"]),
    (WEB + BACKEND + "drain = 1\n", [
        "f:6: service[0].backend[0].drain: expected true or false, got 1"]),
    (WEB + BACKEND + "resume_connections = 5\n", [
        "f:6: service[0].backend[0].resume_connections: expected max_connections as well, got 5"]),
    (WEB + BACKEND + "resume_connections = 5\nmax_connections = 4", [
        "f:6: service[0].backend[0].resume_connections: expected max_connections, 4, at most, "
        "got 5"]),
    (WEB + BACKEND + "name = ''\n", [
        "f:6: service[0].backend[0].name: expected a name of 1..64 letters without spaces, not "
        "starting with -, got ''"]),
    (WEB + "[[service.backend]]\naddress = '10.1'\n", [
        "f:5: service[0].backend[0].address: expected an address such as 10.0.0.1 or "
        "2001:db8::1, got '10.1'"]),
    (WEB + "[[service.backend]]\naddress = 3\n", [
        "f:5: service[0].backend[0].address: expected an address such as 10.0.2.11 or "
        "10.0.2.11:8080, in quotes, got 3"]),
    (WEB + BACKEND + BACKEND, [
        "f:7: service[0].backend[1].address: expected each backend once, the service has this "
        "one already, got 10.0.2.11"]),
    (WEB + BACKEND.replace("10.0.2.11", "203.0.113.10"), [
        "f:5: service[0].backend[0].address: expected an address that is not a VIP, got "
        "203.0.113.10"]),
    (SNAT + WEB + BACKEND.replace("10.0.2.11", "10.0.2.200"), [
        "f:7: service[0].backend[0].address: expected an address that is not one of snat, got "
        "10.0.2.200"]),
    (WEB + WEB, ["f:5: service[1].vip: given twice, got 203.0.113.10:80/tcp"]),
    (WEB + WEB.replace(":80", ":80/any"), [
        "f:5: service[1].vip: takes the same packets as 203.0.113.10:80/tcp, got "
        "203.0.113.10:80/any"]),
    (WEB.replace('"203.0.113.10:80"', '[\n"203.0.113.10:80",\n"203.0.113.10:80"]'), [
        "f:4: service[0].vip[1]: given twice, got 203.0.113.10:80/tcp"]),
    (WEB.replace('"203.0.113.10:80"', "[]"), [
        "f:2: service[0].vip: expected at least one, got none"]),
    (WEB.replace('"203.0.113.10:80"', "3"), [
        "f:2: service[0].vip: expected a text or a list, got 3"]),
    (WEB + "backend = 'x'\n", ["f:4: service[0].backend: expected a list of tables, got 'x'"]),
    (WEB + "name = '203.0.113.11:80'\n" + WEB.replace("10:80", "11:80"), [
        "f:4: service[0].name: expected a name that is not another service's VIP, got "
        "'203.0.113.11:80'"]),
    (WEB + "hash = 'source'\n", ["f:4: service[0].hash: expected scheduler hash, got rr"]),
    (WEB + "scheduler = 'hash'\nhash = 'source/129'\n", [
        "f:5: service[0].hash: expected bits of an address in 1..128, got '129'"]),
    (WEB + "scheduler = 'hash'\nhash = 'source/64'\n", [
        "f:5: service[0].hash: expected bits of an address in 1..32, got '64'"]),
    (WEB + "one_packet = true\n", [
        "f:4: service[0].one_packet: expected a VIP of UDP alone, got 203.0.113.10:80/tcp"]),
    (WEB.replace(":80", ":80/udp") + "one_packet = true\npersist = 1\n", [
        "f:5: service[0].persist: expected no one_packet, which remembers no client, got 1"]),
    (L2 + "mode = 'nat'\n", [
        "f:5: service[0].mode: expected dsr for the VIP any, whose frames stay as they are, got "
        "nat"]),
    (L2 + "mode = 'dsr'\n[[service.backend]]\naddress = '10.0.2.1'\nmode = 'nat'", [
        "f:8: service[0].backend[0].mode: expected dsr for the VIP any, got nat"]),
    (L2.replace("interfaces = \"lan\"\n", "") + "mode = 'dsr'\n", [
        "f:3: service[0].vip: expected interfaces as well, whose frames are spread, got any"]),
    (WEB.replace("nat", "dsr") + BACKEND, [
        "f:5: service[0].backend[0].address: expected the port of the VIP, 80: mode dsr does not "
        "rewrite ports, got 8080"]),
    (WEB + BACKEND + "mode = 'tunnel'\n", [
        "f:5: service[0].backend[0].address: expected the port of the VIP, 80: mode tunnel does "
        "not rewrite ports, got 8080"]),
    (WEB + "[[service.backend]]\naddress = '2001:db8::1'\n", [
        "f:5: service[0].backend[0].address: expected an IPv4 address, as the VIP's: mode nat "
        "does not change the family (mode tunnel wraps any in any), got 2001:db8::1"]),
    (SNAT + WEB + "pick_up = true\n", [
        "f:6: service[0].pick_up: expected no snat, which may have given clients other ports "
        "before, got true"]),
    (SNAT + WEB.replace("nat", "tunnel"), [
        "f:2: balancer.snat: expected a service of mode nat, for other modes keep the client's "
        "address, got none"]),
    (SNAT + WEB.replace("203.0.113.10", "[2001:db8::1]"), [
        "f:2: balancer.snat: expected an IPv6 address as well, for the VIP "
        "[2001:db8::1]:80/tcp, got none"]),
    ("[balancer]\nengine = 'python'\nworkers = 2\n", [
        "f:3: balancer.workers: expected engine native, python knows no workers, got 2"]),
    ("[balancer]\nbusy_poll_us = 2\nrealtime = true\n", [
        "f:3: balancer.realtime: expected no busy polling, for the kernel's threads that bring "
        "packets would never run, got true"]),
    ("[balancer.timeouts]\nudp = 0\n", [
        "f:2: balancer.timeouts.udp: expected seconds in 1..1000000, got 0"]),
    ("[balancer]\ncontrol = 'x'\n", [
        "f:2: balancer.control: expected a path that starts with / and has 107 bytes at most, "
        "got 'x'"]),
    ("[balancer]\nname = '../x'\n", [
        "f:2: balancer.name: expected a name of 1..64 letters, digits, or any of - _ . within, "
        "got '../x'"]),
    ("[balancer]\ninterfaces = ['a', 3, 'b/c']\n", [
        "f:2: balancer.interfaces[1]: expected the name of an interface, in quotes, got 3",
        "f:2: balancer.interfaces[2]: expected the name of an interface, got 'b/c'"]),
    ('"a\\nb" = "\\u0007' + "x" * 99 + '"\n', [
        "f:1: 'a\\nb': unknown key, got '\\x07" + "x" * 63 + "'..."]),
    ("x = \n", ["f:1: not TOML: Invalid value"]),
    ("a = 1\n[balancer]\nmax_flows = " + "9" * 4301 + "\n", [
        "f:3: not TOML: a number of more than 4300 digits"]),
    ("\n[[service]\n", ["f:2: not TOML: Expected ']]' at the end of an array declaration"]),
    ("\nx = '''\n", ["f:3: not TOML: Expected \"\\'\\'\\'\""]),
    ("a = 1\na = 2\n", ["f:2: not TOML: Cannot overwrite a value"]),
    ("x = " + "9" * 5000, None),
    ("\n" + "a." * 64 + "b = 1", ["f:2: expected keys of fewer than 64 parts"]),
    ("x = { " + "\"a\" . " * 64 + "b = 1 }", ["f:1: expected keys of fewer than 64 parts"]),
    ("a." * 63 + "b = 1", ["f:1: a: unknown key, got a table"]),
    (WEB.replace('"203.0.113.10:80"', "[" * 400 + "]" * 400), [
        "f:2: service[0].vip[0]: expected what clients dial, such as 203.0.113.10:80 or "
        "[2001:db8::10]:53/udp, in quotes, got a list"]),
    ("x = " + "[" * 100_000, [
        "f:1: not TOML: expected lists and tables that are not nested so deep"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), BAD, ids=[text[-40:] for text, _ in BAD])
def test_what_is_wrong_is_told_with_its_line(text: str, lines: list[str] | None) -> None:
    found = problems(text)
    if lines is not None:
        assert found == lines
    assert all(line.startswith("f:") and len(line) < 300 for line in found)


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() -> None:
    text = (
        "[balancer]\nmax_flws = 3\nsnat = '10.0.2.200'\n[[service]]\nname = 'web'\n"
        "vip = ['203.0.113.10:80', 'x', '203.0.113.10:81']\nmode = 'nat'\n"
        "backend = [\n  { address = '10.0.2.11', weight = -1 },\n  { weight = 3 },\n"
        "  { address = '203.0.113.10' },\n  3,\n  { address = '10.0.2.200:70', drain = 'no' },\n"
        "  { address = '10.0.2.11' }]\n[[service]]\nvip = '203.0.113.10:81'\nmode = 'nat'\n"
    )
    assert [line.partition(": expected")[0].partition(", got")[0] for line in problems(text)] == [
        "f:2: balancer.max_flws: unknown key",
        "f:6: service[0].vip[1]",
        "f:9: service[0].backend[0].weight",
        "f:10: service[0].backend[1].address",
        "f:11: service[0].backend[2].address",
        "f:12: service[0].backend[3]",
        "f:13: service[0].backend[4].drain",
        "f:13: service[0].backend[4].address",
        "f:14: service[0].backend[5].address",
        "f:16: service[1].vip: given twice",
    ]


STRANGE = """\
# one = {
text = \"\"\"
[[service]]
\"\"\\\"\"\"\"\" # [x]
lines = '''
[balancer]
''''
"a \\u0041" . b . c = [ # [
  1,
  [ 2, { d.e = 1 , f = "]}#" }, { g = '"', h = \"\"\"
x\"\"\", i = [] } ],
]
date = 1979-05-27 07:32:00 # comment
[ x . 'y z' ]
[[x.list]]\r
[x.list.deep]
[[x.list]]
q = {a = {}}
[balancer]
last = 1
"""


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (2, ("text",)), (5, ("lines",)), (8, ("a A", "b", "c")), (9, ("a A", "b", "c", 0)),
        (10, ("a A", "b", "c", 1, 1, "d", "e")), (10, ("a A", "b", "c", 1, 1, "f")),
        (10, ("a A", "b", "c", 1, 2, "h")), (11, ("a A", "b", "c", 1, 2, "i")),
        (13, ("date",)), (14, ("x", "y z")), (15, ("x", "list", 0)),
        (16, ("x", "list", 0, "deep")), (17, ("x", "list", 1)), (18, ("x", "list", 1, "q", "a")),
        (18, ("x", "list", 1, "q", "none")), (20, ("balancer", "last")), (19, ("balancer", "z")),
        (1, ("none",)),
    ],
)  # fmt: skip
def test_lines_are_found_in_whatever_way_a_file_is_written(line: int, path: ProblemPath) -> None:
    tomllib.loads(STRANGE)
    assert Lines(STRANGE).of(path) == line


def test_a_file_and_what_is_in_it_have_bounds(tmp_path: Path) -> None:
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(FileError, match=r"big.toml:1: expected 16 MiB at most"):
        load(str(big))
    many = problems(WEB + BACKEND * 4097)
    assert many == ["f:4: service[0].backend: expected 4096 at most, got 4097"]
    vips = ", ".join(f'"203.0.{n // 250}.{n % 250}:80"' for n in range(1, 4097))
    table = f'[[service]]\nvip = [{vips}]\nmode = "nat"\n' + "".join(
        BACKEND.replace("2.11", f"{8 + n // 250}.{1 + n % 250}") for n in range(300)
    )
    assert problems(table) == [
        "f:1: service[0]: expected 65536 VIPs and 1048576 backends of all VIPs at most"
    ]
    assert problems("x = 1\n" + "".join(f"x{n} = 1\n" for n in range(MAX_PROBLEMS + 5)))[-1] == (
        f"f:{MAX_PROBLEMS + 1}: 6 more problems from here on"
    )


def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf[balancer]\n")
    assert main(["check", f"{tmp_path}/marked.toml"]) == 0


def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.toml").write_bytes(b"\n# \xe9\n")
    for name, complaint in (
        ("none.toml", f"pktlb: {tmp_path}/none.toml: cannot be read: No such file or directory\n"),
        (".", f"pktlb: {tmp_path}/.: cannot be read: Is a directory\n"),
        ("latin.toml", f"{tmp_path}/latin.toml:2: expected UTF-8, got the byte 0xe9\n"),
    ):
        assert main(["check", f"{tmp_path}/{name}"]) == 2
        assert capsys.readouterr().err == complaint


def test_check_reads_standard_input_and_a_full_disk_is_one_line(tmp_path: Path) -> None:
    line = f'printf "[balancer]\nx = 1\n" | {sys.executable} -m pktlb check -'
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "-:2: balancer.x: unknown key, got 1\n")
    line = f"printf '' | {sys.executable} -m pktlb check - >/dev/full"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in done.stderr


def test_check_says_what_is_in_a_file_or_all_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "web.toml"
    path.write_text(WEB.replace('"203.0.113.10:80"', '["203.0.113.10:80", "203.0.113.10:81"]'))
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: good, 2 services with 2 VIPs and 0 backends\n"
    path.write_text("a = 1\nb = 2\n")
    assert main(["check", str(path)]) == main(["run", "-c", str(path)]) == 2
    twice = f"{path}:1: a: unknown key, got 1\n{path}:2: b: unknown key, got 2\n" * 2
    assert capsys.readouterr().err == twice


def test_written_files_are_short_and_grouped() -> None:
    config = read(
        SNAT + WEB.replace('"203.0.113.10:80"', '["203.0.113.10:80", "203.0.113.10:81"]')
        + 'name = "web"\n' + BACKEND + "weight = 1\n", "f",
    )  # fmt: skip
    body = [line for line in write(config).splitlines() if line and not line.startswith("#")]
    assert body == [
        "[balancer]", 'snat = ["10.0.2.200"]',
        "[[service]]", 'name = "web"', 'vip = ["203.0.113.10:80/tcp", "203.0.113.10:81/tcp"]',
        'mode = "nat"', 'scheduler = "rr"',
        "[[service.backend]]", 'address = "10.0.2.11:8080"',
    ]  # fmt: skip
