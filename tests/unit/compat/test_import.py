"""`pktlb import`: the file that it makes, its notes, and its exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from pktlb.compat.importer.program import convert, recognise
from pktlb.config.file import read
from pktlb.errors import ConfigError

RULES = """\
-A -t 10.0.1.100:80 -s rr -p 360 -M 255.255.255.0
-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 3
-a -t 10.0.1.100:80 -r 10.0.2.13:8080 -m -w 2
-a -t 10.0.1.100:80 -r 10.0.2.12:8080 -m -w 0 -x 1000 -y 500
-a -t 10.0.1.100:80 -r 10.0.1.100:8080 -m -w 1
-a -t 10.0.1.100:80 -r fd02::1 -m -w 1
-A -t [fd01::100]:443 -s dh -b flag-3
-a -t [fd01::100]:443 -r [fd02::11]:443 -g -w 1
-a -t [fd01::100]:443 -r [fd02::12]:443 -i -w 7
-A -f 3 -s rr
-a -f 3 -r 10.0.2.11:0 -g -w 1
--set 600 0 60
"""
TOML = """\
[balancer.timeouts]
tcp = 600
udp = 60

[[service]]
vip = "10.0.1.100:80/tcp"
mode = "nat"
scheduler = "rr"
persist = 360
persist_prefix4 = 24

[[service.backend]]
address = "10.0.2.11:8080"

[[service.backend]]
address = "10.0.2.13:8080"

[[service.backend]]
address = "10.0.2.12:8080"
weight = 0
max_connections = 1000
resume_connections = 500

[[service]]
vip = "[fd01::100]:443/tcp"
mode = "dsr"
scheduler = "lc"

[[service.backend]]
address = "[fd02::11]:443"

[[service.backend]]
address = "[fd02::12]:443"
mode = "tunnel"
weight = 7
"""


def test_saved_rules_become_a_file_with_notes() -> None:
    text, notes = convert(RULES.encode(), "rules", None, follow=False)
    assert read(text, "made") == read(TOML, "expected")
    told = {note.place.line: note.text for note in notes}
    assert sorted(told) == [1, 6, 7, 10, 11]
    said = [note.text for note in notes if note.place.line == 1]
    assert said[0] == "the scheduler went by no weights, pktlb's does: they are 1 now"
    assert "is not a VIP, got 10.0.1.100; left out" in said[1]
    assert "dh" in told[7]
    assert "firewall marks" in told[10]
    assert all(f"# {note.place}: {note.text}\n" in text for note in notes)


def test_a_script_becomes_the_services_that_its_commands_leave() -> None:
    script = """\
        # set-up of the web
        ipvsadm -C
        /sbin/ipvsadm -A -t 10.0.1.1:80 -s wlc
        ipvsadm -a -t 10.0.1.1:80 -r 10.0.2.1 -g
        ipvsadm -a -t 10.0.1.1:80 -r 10.0.2.2 -g
        ipvsadm -e -t 10.0.1.1:80 -r 10.0.2.2 -g -w 5
        ipvsadm -d -t 10.0.1.1:80 -r 10.0.2.1
        ipvsadm -E -t 10.0.1.1:80 -s sh
        ipvsadm -A -t 10.0.1.2:80
        ipvsadm -D -t 10.0.1.2:80
        """
    text, notes = convert(script.encode(), "script", None, follow=False)
    config = read(text, "made")
    assert [str(service) for service in config.services] == ["10.0.1.1:80/tcp"]
    assert config.services[0].scheduler.value == "source"
    assert [backend.weight for backend in config.services[0].backends] == [5]
    assert notes == []


KEEPALIVED = """\
virtual_server_group web {
    10.0.1.100-101 80
}
virtual_server group web {
    lvs_sched wlc
    lvs_method DR
    real_server 10.0.2.11 80 {
        weight 3
        HTTP_GET {
            url { path "/a#b" }
        }
    }
    real_server 10.0.2.12 80 { lvs_method TUN }
}
virtual_server 10.0.1.101 80 { }
"""


def test_a_keepalived_conf_becomes_a_file_with_notes() -> None:
    text, notes = convert(KEEPALIVED.encode(), "k.conf", None, follow=False)
    config = read(text, "made")
    assert [str(service) for service in config.services] == [
        "10.0.1.100:80/tcp",
        "10.0.1.101:80/tcp",
    ]
    assert {service.label for service in config.services} == {"web"}
    assert [backend.weight for backend in config.services[0].backends] == [3, 1]
    assert [note.place.line for note in notes] == [9, 15]
    assert '#       url {\n#         path "/a#b"\n' in text
    assert "given twice" in notes[1].text


@pytest.mark.parametrize(
    ("text", "kind"),
    [("-A -t 1.2.3.4:80\n", "ipvsadm"), ("# saved\n\nipvsadm -C\n", "ipvsadm"),
     ("/usr/sbin/ipvsadm --add-service -t 1.2.3.4:80", "ipvsadm"),
     ("! k\nglobal_defs\n{\n}\n", "keepalived"), ("include a.conf", "keepalived"),
     ("$A=1\n@one virtual_server 1.2.3.4 80 {\n}", "keepalived"), ("include me, please", None),
     ("SSL is nice", None), ("a {\n}\n", None),
     ("", None), ("hello", None), ("-x", None)],
)  # fmt: skip
def test_the_import_recognises_the_kind_of_its_input(text: str, kind: str | None) -> None:
    assert recognise(text) == kind


BROKEN = [
    ("-A -t 10.0.1.1:80 -q\n-A -t fe80::1\n",
     "f:1: -q: unknown option (see `ipvsadm --help`) (and 1 more)"),
    ("-A -t 10.0.1.1:no-such\n",
     "f:1: 'no-such': expected a port in 0..65535, or its name in /etc/services"),
    ("nothing of either\n", "f: looks neither like"),
    (TOML, "f: looks neither like"),
    ('[[service]]\nbackend = [{ address = "10.0.2.1" }]\n', "f: looks neither like"),
    ("{\n  vrrp: 1\n}\n", "f: looks neither like"),
    ("http {\n}\ninclude /etc/nginx/*.conf;\n", "f: expected a keepalived.conf"),
    ("a {\n  virtual_server 10.0.1.1 80 {\n  }\n}\n", "f: expected a keepalived.conf"),
    ("virtual_server 10.0.1.1 80 {\n", "f:1: virtual_server: its block has no end"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), BROKEN)
def test_an_input_that_cannot_be_understood_is_one_error(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        convert(text.encode(), "f", None, follow=False)
    assert str(raised.value).startswith(sentence)


NAMED = """\
-A -t 10.0.1.100:http -s wlc
-a -t 10.0.1.100:http -r 10.0.2.11:http -g
-a -t 10.0.1.100:http -r fe80::11 -g
-a -t 10.0.1.100:http -r 10.0.2.11:http -g
-A -t localhost:no-such
-a -t 10.0.1.100:http -r web.example:8080 -m --password=x
export PASSWORD=sesame
-a -t 10.0.1.100:http -r web.example -g
"""


def test_names_are_looked_up_and_wrong_lines_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pktlb.compat.ipvsadm.address._looked_up", {"web.example": "10.0.2.12"}.get)
    text, notes = convert(NAMED.encode(), "rules", None, follow=False)
    (service,) = read(text, "made").services
    assert str(service) == "10.0.1.100:80/tcp"
    assert [str(each.endpoint) for each in service.backends] == ["10.0.2.11:80", "10.0.2.12:80"]
    told = {note.place.line: note for note in notes}
    assert sorted(told) == [3, 4, 5, 6, 7]
    assert told[3].text == "left out: expected the address of a host, got fe80::11"
    assert told[4].text == "left out: 10.0.2.11:80 is there already"
    assert told[5].lost == ("-A -t localhost:no-such",)
    assert told[7].lost == ("export PASSWORD=***",)
    assert "#     -a -t 10.0.1.100:http -r fe80::11 -g\n" in text
    assert "sesame" not in text + "".join(note.text for note in notes)


def test_a_service_of_several_vips_is_called_by_the_first() -> None:
    text = KEEPALIVED.replace("group web", "group -")
    _, notes = convert(text.encode(), "k.conf", None, follow=False)
    (left_out,) = [note for note in notes if note.place.line == 4]
    assert left_out.text.startswith("10.0.1.100:80/tcp (and 1 more): left out: name: expected ")
    assert 'vip = ["10.0.1.100:80/tcp", "10.0.1.101:80/tcp"]' in left_out.lost


def test_the_command_prints_the_file_and_the_notes(tmp_path: Path) -> None:
    """The file is on standard output, notes are on standard error; status 2 without a file."""
    rules = tmp_path / "rules"
    rules.write_text(RULES)
    argv = [sys.executable, "-m", "pktlb", "import", "rules"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert read(done.stdout, "made") == read(TOML, "expected")
    assert {line.split(":")[0] for line in done.stderr.splitlines()} == {"rules"}
    argv[-1] = "-"
    done = subprocess.run(
        argv, input="?", cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    argv[-1] = "missing"
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "missing: No such file" in done.stderr
