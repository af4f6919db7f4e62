"""Listings letter by letter as ipvsadm prints them: scripts cut them at blanks and columns."""

import io
import shlex

import pytest

from pktlb.compat.ipvsadm import program
from pktlb.compat.ipvsadm.listing import short
from pktlb.compat.ipvsadm.names import Names
from tests.support.fake_api import FakeApi

BALANCER = FakeApi(
    {
        "vip": "10.0.1.100:80/tcp", "mode": "nat", "scheduler": "lc", "persist": 360,
        "persist_prefix4": 24,
        "backend": [
            {"address": "10.0.2.12:8080", "weight": 2, "max_connections": 1000,
             "resume_connections": 500},
            {"address": "10.0.2.11:8080"},
        ],
    },
    {
        "vip": "[fd01::100]:443", "mode": "dsr", "scheduler": "hash", "hash": "source",
        "backend": [{"address": "fd02::11"}, {"address": "fd02::12", "mode": "tunnel"}],
    },
    {
        "vip": "10.0.1.100:53/udp", "mode": "nat", "scheduler": "rr", "one_packet": True,
        "backend": [{"address": "10.0.2.11", "drain": True}, {"address": "10.0.2.12", "weight": 7}],
    },
    {"vip": "10.0.1.100:8000-8099/tcp", "mode": "nat", "backend": [{"address": "10.0.2.13"}]},
    {"vip": "10.0.1.101/esp", "mode": "dsr", "scheduler": "source"},
    {"vip": "10.0.1.102:80", "mode": "nat", "scheduler": "hash", "hash": "source/24"},
    balancer={"max_flows": 4096, "timeouts": {"tcp": 600}},
)  # fmt: skip
BALANCER.counters[("10.0.1.100:80/tcp", "10.0.2.12:8080")] = {
    "active": 12, "inactive": 345, "connections": 1234, "packets_in": 123456789,
    "packets_out": 99999999, "bytes_in": 2_110_000_000, "bytes_out": 130_340_000_000,
}  # fmt: skip
BALANCER.flows = [
    {"proto": "tcp", "client": "10.0.1.2:40312", "vip": "10.0.1.100:80", "state": "established",
     "backend": "10.0.2.12:8080", "idle_s": 1.5},
    {"proto": "tcp", "client": "10.0.1.2:40313", "vip": "10.0.1.100:80", "state": "closed",
     "backend": "10.0.2.11:8080", "idle_s": 500.0},
    {"proto": "udp", "client": "10.0.1.200:53124", "vip": "10.0.1.100:53", "state": "datagrams",
     "backend": "10.0.2.12:53", "idle_s": 0.0},
]  # fmt: skip

HEAD = "IP Virtual Server version 1.2.1 (size=4096)\n"
TABLE = (
    HEAD
    + """\
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
ESP  10.0.1.101:0 sh
TCP  10.0.1.100:80 wlc persistent 360 mask 255.255.255.0
  -> 10.0.2.11:8080               Masq    1      0          0        \x20
  -> 10.0.2.12:8080               Masq    2      12         345      \x20
TCP  10.0.1.100:8000-8099 rr
  -> 10.0.2.13:0                  Masq    1      0          0        \x20
TCP  10.0.1.102:80 hash
TCP  [fd01::100]:443 mh
  -> [fd02::11]:443               Route   1      0          0        \x20
  -> [fd02::12]:443               Tunnel  1      0          0        \x20
UDP  10.0.1.100:53 rr ops
  -> 10.0.2.11:53                 Masq    0      0          0        \x20
  -> 10.0.2.12:53                 Masq    7      0          0        \x20
"""
)
STATS = (
    HEAD
    + """\
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.1.100:80                    1234  123456K 99999999    2110M     130G
  -> 10.0.2.11:8080                      0        0        0        0        0
  -> 10.0.2.12:8080                   1234  123456K 99999999    2110M     130G
"""
)
EXACT = (
    HEAD
    + """\
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.1.100:80                    1234 123456789 99999999 2110000000 130340000000
  -> 10.0.2.11:8080                      0        0        0        0        0
  -> 10.0.2.12:8080                   1234 123456789 99999999 2110000000 130340000000
"""
)
THRESHOLDS = (
    HEAD
    + """\
Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn
  -> RemoteAddress:Port
TCP  10.0.1.100:80 wlc persistent 360 mask 255.255.255.0
  -> 10.0.2.11:8080               0          0          0          0        \x20
  -> 10.0.2.12:8080               1000       500        12         345      \x20
"""
)
CONNECTIONS = """\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 09:58  ESTABLISHED 10.0.1.2:40312     10.0.1.100:80      10.0.2.12:8080
TCP 00:00  TIME_WAIT   10.0.1.2:40313     10.0.1.100:80      10.0.2.11:8080
UDP 05:00  UDP         10.0.1.200:53124   10.0.1.100:53      10.0.2.12:53
"""
SAVED = """\
-A -t 10.0.1.100:80 -s wlc -p 360 -M 255.255.255.0
-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 1
-a -t 10.0.1.100:80 -r 10.0.2.12:8080 -m -w 2 -x 1000 -y 500
-A -t [fd01::100]:443 -s mh
-a -t [fd01::100]:443 -r [fd02::11]:443 -g -w 1
-a -t [fd01::100]:443 -r [fd02::12]:443 -i -w 1
-A -u 10.0.1.100:53 -s rr -o
-a -u 10.0.1.100:53 -r 10.0.2.11:53 -m -w 0
-a -u 10.0.1.100:53 -r 10.0.2.12:53 -m -w 7
"""
LISTINGS = {
    "-L -n": TABLE,
    "-Ln": TABLE,
    "-ln --sort": TABLE,
    "-n": TABLE,
    "-Ln -t 10.0.1.100:80 --stats": STATS,
    "-L -n -t 10.0.1.100:80 --stats --exact": EXACT,
    "-Ln --thresholds -t 10.0.1.100:80": THRESHOLDS,
    "-Lnc": CONNECTIONS,
    "-Lnc -u 10.0.1.100:53": "".join(CONNECTIONS.splitlines(keepends=True)[i] for i in (0, 1, 4)),
    "-L --timeout": "Timeout (tcp tcpfin udp): 600 120 300\n",
    "-L --daemon": "",
    "-Sn": SAVED,
}


def shown(line: str, api: FakeApi, stdin: str = "") -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    around = program.Surroundings(lambda: api, io.StringIO(stdin), out, err, sleep=lambda _: None)
    assert program.run(shlex.split(line), around) == 0
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize("line", LISTINGS)
def test_a_listing_is_as_ipvsadm_prints_it(line: str) -> None:
    out, err = shown(line, BALANCER)
    assert out == LISTINGS[line]
    assert bool(err) == line.startswith("-S")


def test_a_service_that_is_not_saved_is_named() -> None:
    _, err = shown("-S -n", BALANCER)
    assert [line.partition(": ")[0] for line in err.splitlines()] == [
        "10.0.1.101/esp",
        "10.0.1.100:8000-8099/tcp",
        "10.0.1.102:80/tcp",
    ]


def test_a_saved_table_is_restored_as_it_was() -> None:
    other = FakeApi()
    shown("-R", other, SAVED)
    assert shown("-S -n", other) == (SAVED, "")


def test_rates_are_counted_between_two_readings() -> None:
    api = FakeApi({"vip": "10.0.1.1:80", "backend": [{"address": "10.0.2.1:80"}]})
    key = ("10.0.1.1:80/tcp", "10.0.2.1:80")
    api.counters[key] = {"connections": 100, "packets_in": 1000}

    def later(seconds: float) -> None:
        assert seconds == program.RATE_S
        api.counters[key] = {"connections": 103, "packets_in": 1010, "bytes_in": 640}

    out = io.StringIO()
    around = program.Surroundings(lambda: api, (), out, out, sleep=later)
    assert program.run(["-Ln", "--rate"], around) == 0
    assert out.getvalue().splitlines()[1:] == [
        "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS",
        "  -> RemoteAddress:Port",
        "TCP  10.0.1.1:80                         3       10        0      640        0",
        "  -> 10.0.2.1:80                         3       10        0      640        0",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(99_999_999, "99999999"), (100_000_000, "100000K"), (999_999_999, "999999K"),
     (10**9, "1000M"), (10**11, "100G"), (10**14, "100T"), (10**19, "10000000T")],
)  # fmt: skip
def test_large_numbers_fit_their_column(number: int, text: str) -> None:
    assert short(number) == text


def test_names_that_are_found_in_time_are_shown_without_n() -> None:
    clock = iter([0.0, 3.0])
    names = Names(numeric=False, now=lambda: next(clock))
    assert names(b"\x7f\0\0\1", 80, "TCP") == "localhost:http"
    assert names(b"\x7f\0\0\2", 40312, "TCP") == "127.0.0.2:40312"
