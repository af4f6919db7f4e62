"""Imports of a keepalived.conf: the draft, and the notes on what is not carried over."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pktlb.compat.importer import keepalived
from pktlb.compat.importer.notes import Draft
from pktlb.errors import ConfigError


def read(text: str, folder: str = "", follow: bool = False) -> Draft:
    return keepalived.read(dedent(text), "k.conf", folder, follow)


def drafted(draft: Draft) -> list[dict[str, Any]]:
    return [
        {**service.keys, "backend": [keys for _, keys in service.backends]}
        for service in draft.services
    ]


def notes(draft: Draft) -> list[str]:
    return [f"{note.place.line}: {note.text}" for note in draft.notes]


def test_a_virtual_server_becomes_a_service() -> None:
    draft = read("""\
        ! Configuration for the web
        virtual_server 10.0.1.100 80 {
            lb_algo wlc                     # the old word
            lb_kind DR
            protocol TCP
            persistence_timeout 600
            persistence_granularity 255.255.255.0
            real_server 10.0.2.11 80 { weight 3 }
            real_server 10.0.2.12 80
            {
                weight 0
                uthreshold 1000
                lthreshold 800
            }
            real_server 10.0.2.13 8080 {
                lvs_method NAT
            }
        }
        """)
    assert drafted(draft) == [
        {
            "vip": "10.0.1.100:80/tcp", "mode": "dsr", "scheduler": "lc", "persist": 600,
            "persist_prefix4": 24,
            "backend": [
                {"address": "10.0.2.11:80", "weight": 3},
                {"address": "10.0.2.12:80", "weight": 0, "max_connections": 1000,
                 "resume_connections": 800},
                {"address": "10.0.2.13:8080", "mode": "nat"},
            ],
        }
    ]  # fmt: skip
    assert notes(draft) == []


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("", {"mode": "nat", "scheduler": "lc"}),
    ("lvs_sched rr", {"mode": "nat", "scheduler": "rr"}),
    ("lvs_sched twos", {"mode": "nat", "scheduler": "p2c"}),
    ("lvs_sched mh\nmh-port", {"mode": "nat", "scheduler": "maglev"}),
    ("lvs_sched sh\nsh-port\nsh-fallback", {"mode": "nat", "scheduler": "hash", "hash": "5-tuple"}),
    ("lvs_method TUN type ipip", {"mode": "tunnel", "scheduler": "lc"}),
    ("persistence_timeout", {"mode": "nat", "scheduler": "lc", "persist": 360}),
    ("persistence_timeout 0", {"mode": "nat", "scheduler": "lc"}),
    ("lvs_sched rr\nops\nprotocol UDP",
     {"vip": "10.0.1.1:53/udp", "mode": "nat", "scheduler": "rr", "one_packet": True}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "keys"), SETTINGS, ids=[text for text, _ in SETTINGS])
def test_a_setting_becomes_keys_of_the_service(text: str, keys: dict[str, Any]) -> None:
    draft = read(f"virtual_server 10.0.1.1 53 {{\n{text}\n}}")
    assert drafted(draft) == [{"vip": "10.0.1.1:53/tcp", **keys, "backend": []}]
    assert notes(draft) == []


def test_a_group_is_one_service_with_several_vips() -> None:
    draft = read("""\
        virtual_server_group web {
            10.0.1.100 80
            10.0.1.101-103 80
            fd01::a-c 80
            fwmark 7
        }
        virtual_server group web {
            real_server 10.0.2.11 80 { }
        }
        virtual_server_group unused {
            10.0.1.200 80
        }
        """)
    vips = ["10.0.1.100", "10.0.1.101", "10.0.1.102", "10.0.1.103"]
    six = ["[fd01::a]", "[fd01::b]", "[fd01::c]"]
    assert drafted(draft) == [
        {
            "name": "web", "vip": [f"{address}:80/tcp" for address in vips + six], "mode": "nat",
            "scheduler": "lc", "backend": [{"address": "10.0.2.11:80"}],
        }
    ]  # fmt: skip
    assert notes(draft) == [
        "5: fwmark 7 (virtual_server_group web): pktlb knows no firewall marks: name the "
        "addresses and ports",
        "10: virtual_server_group unused: no virtual_server uses it",
    ]


EVERYTHING = """\
global_defs {
    router_id LVS_1
    lvs_timeouts tcp 600 tcpfin 30 udp 60
}
vrrp_script chk { script "/bin/true # not a comment" }
vrrp_instance VI_1 {
    interface eth0
    virtual_ipaddress { 10.0.1.100/24 }
}
virtual_server fwmark 3 { }
virtual_server 10.0.1.100 80 {
    delay_loop 6
    lb_algo dh
    alpha
    quorum 2
    sorry_server 10.0.2.99 80
    brand_new_word 1
    real_server 10.0.2.11 80 {
        inhibit_on_failure
        TCP_CHECK { connect_timeout 3 }
        notify_down "/bin/page me"
    }
    real_server 10.0.2.300 80 { }
}
@node1 vrrp_version 3
include other.conf
"""


def test_a_setting_that_is_not_carried_over_is_named_and_kept() -> None:
    draft = read(EVERYTHING)
    assert draft.timeouts == {"tcp": 600, "fin": 30, "udp": 60}
    assert drafted(draft)[0]["backend"] == [{"address": "10.0.2.11:80"}]
    assert drafted(draft)[0]["scheduler"] == "lc"
    told = {int(line.partition(":")[0]): line for line in notes(draft)}
    assert sorted(told) == [2, 5, 6, 10, 12, 13, 14, 15, 16, 17, 19, 20, 21, 23, 25, 26]
    assert "keep keepalived for it" in told[6]
    assert "no firewall marks" in told[10]
    assert "written without it" in told[13]
    assert told[17] == (
        "17: brand_new_word 1 (virtual_server 10.0.1.100 80): not known to pktlb"
    )  # fmt: skip
    assert "TCP_CHECK (real_server 10.0.2.11): pktlb has no health checks" in told[20]
    assert "10.0.2.300" in told[23]
    assert "--follow-includes" in told[26]
    lost = [line for note in draft.notes for line in note.lost]
    assert lost[5:8] == ["vrrp_instance VI_1 {", "  interface eth0", "  virtual_ipaddress {"]
    assert '  script "/bin/true # not a comment"' in lost
    assert "  connect_timeout 3" in lost


def test_parameters_stand_for_their_value_where_they_are_used() -> None:
    draft = read("""\
        $NET=10.0.${SITE}
        $SITE=2
        $SERVER= \\
            real_server ${NET}.$NUM 80 { \\
                weight $WEIGHT \\
            }
        virtual_server 10.0.1.100 80 {
            lb_algo $UNKNOWN
        }
        virtual_server 10.0.1.101 80 {
        $NUM=11
        $WEIGHT=3
            $SERVER
        $NUM=12
            $SERVER
        }
        """)
    assert drafted(draft)[1]["backend"] == [
        {"address": "10.0.2.11:80", "weight": 3},
        {"address": "10.0.2.12:80", "weight": 3},
    ]
    assert notes(draft) == [
        "8: scheduler $UNKNOWN: expected one out of hash, lc, maglev, mh, nq, p2c, rr, sed, sh, "
        "source, twos, wlc, wrr; written without it"
    ]


def test_included_files_are_read_when_asked_for(tmp_path: Path) -> None:
    servers = tmp_path / "servers"
    servers.mkdir()
    for name in ("b", "a"):
        text = f"virtual_server 10.0.1.{ord(name)} 80 {{\n}}\ninclude {name}.more\n"
        (servers / f"{name}.conf").write_text(text)
    draft = read('include "servers/*.conf"', str(tmp_path), follow=True)
    assert [each["vip"] for each in drafted(draft)] == ["10.0.1.97:80/tcp", "10.0.1.98:80/tcp"]
    assert {note.text for note in draft.notes} == {
        "include a.more: no such file",
        "include b.more: no such file",
    }
    (servers / "a.more").write_text("include a.more")
    with pytest.raises(ConfigError, match="8 deep at most"):
        read('include "servers/*.conf"', str(tmp_path), follow=True)


BEHIND = [
    ("real_server 10.0.2.1 80 { weight 3 uthreshold 5 lthreshold 6 }",
     "2: uthreshold 5 lthreshold 6 (behind weight 3): ", ["weight 3 uthreshold 5 lthreshold 6"]),
    ("lb_algo rr lb_kind TUN real_server 10.0.2.1 80 { weight 1 }",
     "2: lb_kind TUN real_server 10.0.2.1 80 { ... } (behind lb_algo rr): ",
     ["lb_algo rr lb_kind TUN real_server 10.0.2.1 80 {", "  weight 1", "}"]),
    ("lb_kind DR lb_algo rr", "2: lb_algo rr (behind lb_kind DR): ", ["lb_kind DR lb_algo rr"]),
    ("lb_kind TUN type ipip weight 2", "2: weight 2 (behind lb_kind TUN type ipip): ",
     ["lb_kind TUN type ipip weight 2"]),
    ("lb_algo mh\nmh-port mh-fallback", "3: mh-fallback (behind mh-port): ",
     ["mh-port mh-fallback"]),
    ("protocol UDP\nops lb_algo rr", "3: lb_algo rr (behind ops): ", ["ops lb_algo rr"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told", "lost"), BEHIND, ids=[text for text, *_ in BEHIND])
def test_words_behind_a_setting_are_noted(text: str, told: str, lost: list[str]) -> None:
    draft = read(f"virtual_server 10.0.1.1 80 {{\n{text}\n}}")
    assert [line.partition("keepalived reads")[0] for line in notes(draft)] == [told]
    assert list(draft.notes[0].lost) == lost


def test_words_behind_an_address_of_a_group_or_a_timeout_are_noted() -> None:
    draft = read("""\
        virtual_server_group web more {
            10.0.1.1 80 10.0.1.2 80
        }
        virtual_server group web {
        }
        global_defs {
            lvs_timeouts tcp 600 udp
        }
        """)
    assert draft.timeouts == {"tcp": 600}
    assert [line.partition(": keepalived reads")[0] for line in notes(draft)] == [
        "1: more (behind virtual_server_group web)",
        "2: 10.0.1.2 80 (behind 10.0.1.1 80)",
        "7: udp (behind lvs_timeouts tcp 600)",
    ]


def test_ops_has_no_effect_on_a_service_of_tcp() -> None:
    draft = read("virtual_server 10.0.1.1 80 {\nops\npersistence_timeout 60\n}")
    assert drafted(draft) == [
        {"vip": "10.0.1.1:80/tcp", "mode": "nat", "scheduler": "lc", "persist": 60, "backend": []}
    ]
    assert notes(draft) == [
        "2: ops (virtual_server 10.0.1.1 80): has no effect with protocol TCP; written without it"
    ]


SECRETS = [
    ("auth_pass sesame", "auth_pass ***"),
    ('auth_pass "open sesame"', "auth_pass ***"),
    ("auth_type PASS auth_pass sesame", "auth_type PASS auth_pass ***"),
    ("auth_pass $PASS", "auth_pass ***"),
    ("auth_pass open sesame", "auth_pass ***"),
    ("auth_pass sesame{}sesame", "auth_pass ***"),
    ('password "sesame"', "password ***"),
    ('notify "/bin/page --password sesame -n 3"', 'notify "/bin/page --password *** -n 3"'),
    ('notify "/bin/page --token=sesame"', 'notify "/bin/page --token=***"'),
    ('misc_path "curl --user me:sesame http://a"', 'misc_path "curl --user me:*** http://a"'),
    ('path "http://me:sesame@10.0.2.1/?api_key=sesame"',
     'path "http://me:***@10.0.2.1/?api_key=***"'),
    ('header "Authorization: Basic sesame"', 'header "Authorization: Basic ***"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "masked"), SECRETS, ids=[text for text, _ in SECRETS])
def test_secrets_are_masked(text: str, masked: str) -> None:
    draft = read(f"""\
$PASS=sesame
vrrp_instance VI_1 {{
    authentication {{
        {text}
    }}
}}
virtual_server 10.0.1.1 80 {{ {text} }}
{text}
@node {text}
@node $PASS=sesame
""")
    told = [note.text for note in draft.notes] + [
        each for note in draft.notes for each in note.lost
    ]
    assert "sesame" not in "\n".join(told)
    assert f"    {masked}" in told


BROKEN = [
    (
        "",
        "k.conf: expected a keepalived.conf, with virtual_server or another word of it at the top "
        "level",
    ),
    ("virtual_server 10.0.1.1 80 {", "k.conf:1: virtual_server: its block has no end"),
    ("\n}", "k.conf:2: '}' without a block that it ends"),
    ("{", "k.conf:1: '{' without a word before it"),
    ('a "b', "k.conf:1: expected a quote at the end of what one begins"),
    ("$A=$A\n\nb $A", "k.conf:3: $A: becomes too long, or contains itself"),
    ("$A=xx$B$B\n$B=$A\nb $A", "k.conf:3: $A: becomes too long, or contains itself"),
    ("a {\n" * 17, "k.conf:17: expected blocks 16 deep at most"),
]


@pytest.mark.parametrize(("text", "sentence"), BROKEN, ids=[text[:12] for text, _ in BROKEN])
def test_a_file_that_cannot_be_understood_is_one_error(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert str(raised.value) == sentence
