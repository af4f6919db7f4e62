"""ipvsadm's command lines: the requests that they make, or the error."""

import io

import pytest

from pktlb.compat.ipvsadm import program
from pktlb.compat.ipvsadm.syntax import parse
from pktlb.control.client import DaemonError
from pktlb.errors import ConfigError
from tests.support.fake_api import FakeApi

WEB = {"vip": "10.0.1.100:80/tcp", "mode": "nat", "scheduler": "rr"}
SERVER = {"address": "10.0.2.11:8080", "mode": "nat", "weight": 1}
RESET = dict.fromkeys(["drain", "max_connections", "resume_connections"])
EDITED = dict.fromkeys(["hash", "one_packet", "persist", "persist_prefix4", "persist_prefix6"])


class Run:
    """The outcome of one command line."""

    def __init__(self, line: str, api: FakeApi, stdin: str = "") -> None:
        out, err = io.StringIO(), io.StringIO()
        around = program.Surroundings(
            lambda: api, io.StringIO(stdin), out, err, sleep=lambda _: None
        )
        self.status = program.run(line.split(), around)
        self.out, self.err = out.getvalue(), err.getvalue()


def a_balancer() -> FakeApi:
    return FakeApi({**WEB, "backend": [dict(SERVER)]})


ADDED = [
    ("-A -t 10.0.1.1:80", {"vip": "10.0.1.1:80/tcp", "scheduler": "lc"}),
    ("-A -t 10.0.1.1:80 -s rr", {"vip": "10.0.1.1:80/tcp", "scheduler": "rr"}),
    ("--add-service --udp-service=10.0.1.1:53 --scheduler wrr -o",
     {"vip": "10.0.1.1:53/udp", "scheduler": "rr", "one_packet": True}),
    ("-At10.0.1.1:80 -ssed", {"vip": "10.0.1.1:80/tcp", "scheduler": "sed"}),
    ("-A -t 10.0.1.1:80 -s twos", {"vip": "10.0.1.1:80/tcp", "scheduler": "p2c"}),
    ("-A -t 10.0.1.1:80 -s sh", {"vip": "10.0.1.1:80/tcp", "scheduler": "source"}),
    ("-A -t 10.0.1.1:80 -s sh -b sh-port",
     {"vip": "10.0.1.1:80/tcp", "scheduler": "hash", "hash": "5-tuple"}),
    ("-A -t 10.0.1.1:80 -s mh", {"vip": "10.0.1.1:80/tcp", "scheduler": "hash", "hash": "source"}),
    ("-A -t 10.0.1.1:80 -s mh -b mh-port,mh-fallback",
     {"vip": "10.0.1.1:80/tcp", "scheduler": "maglev"}),
    ("-A -t 10.0.1.1:80 -s nq -p", {"vip": "10.0.1.1:80/tcp", "scheduler": "nq", "persist": 360}),
    ("-A -t 10.0.1.1:80 -p 600 -M 255.255.255.0",
     {"vip": "10.0.1.1:80/tcp", "scheduler": "lc", "persist": 600, "persist_prefix4": 24}),
    ("-A -t [fd01::1]:80 --persistent=60 -M 64",
     {"vip": "[fd01::1]:80/tcp", "scheduler": "lc", "persist": 60, "persist_prefix6": 64}),
    ("-A -t 10.0.1.1:0 -p -M 255.255.255.255",
     {"vip": "10.0.1.1/tcp", "scheduler": "lc", "persist": 360}),
    ("-A -u fd01::1", {"vip": "fd01::1/udp", "scheduler": "lc"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "keys"), ADDED, ids=[line for line, _ in ADDED])
def test_a_command_that_adds_a_service_is_one_request(line: str, keys: dict[str, object]) -> None:
    api = FakeApi()
    assert Run(line, api).status == 0
    assert api.asked == [("POST", "services", {"mode": "nat", **keys})]


CHANGED = [
    ("-E -t 10.0.1.100:80 -s sh", "PATCH", "services/10.0.1.100:80/tcp",
     {**EDITED, "scheduler": "source"}),
    ("-E -t 10.0.1.100:80 -s mh -p 60", "PATCH", "services/10.0.1.100:80/tcp",
     {**EDITED, "scheduler": "hash", "hash": "source", "persist": 60}),
    ("-D -t 10.0.1.100:80", "DELETE", "services/10.0.1.100:80/tcp", None),
    ("-C", "DELETE", "services/10.0.1.100:80/tcp", None),
    ("-a -t 10.0.1.100:80 -r 10.0.2.12", "POST", "services/10.0.1.100:80/tcp/backends",
     {"address": "10.0.2.12:80", "mode": "dsr", "weight": 1}),
    ("-a -t 10.0.1.100:80 -r 10.0.2.12:8080 -m -w 5 -x 100 -y 50", "POST",
     "services/10.0.1.100:80/tcp/backends",
     {"address": "10.0.2.12:8080", "mode": "nat", "weight": 5, "max_connections": 100,
      "resume_connections": 50}),
    ("--add-server --tcp-service 10.0.1.100:80 --real-server 10.0.2.12:8080 --ipip", "POST",
     "services/10.0.1.100:80/tcp/backends",
     {"address": "10.0.2.12:80", "mode": "tunnel", "weight": 1}),
    ("-e -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 0", "PATCH",
     "services/10.0.1.100:80/tcp/backends/10.0.2.11:8080", {**RESET, "mode": "nat", "weight": 0}),
    ("-d -t 10.0.1.100:80 -r 10.0.2.11:8080", "DELETE",
     "services/10.0.1.100:80/tcp/backends/10.0.2.11:8080", None),
    ("-Z", "POST", "zero", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "method", "path", "body"), CHANGED, ids=[line for line, *_ in CHANGED]
)
def test_a_command_that_changes_something_is_one_request(
    line: str, method: str, path: str, body: object
) -> None:
    api = a_balancer()
    done = Run(line, api)
    assert (done.status, done.err) == (0, "")
    assert api.asked == [(method, path, body)]


def test_a_server_is_removed_by_the_port_that_it_has_to_ipvs() -> None:
    """In modes that rewrite no ports IPVS shows the port of the service, and takes any port."""
    api = FakeApi({**WEB, "backend": [{"address": "10.0.2.11:80", "mode": "dsr"}]})
    assert Run("-d -t 10.0.1.100:80 -r 10.0.2.11:8080", api).status == 0
    assert api.services[0]["backend"] == []


REFUSED = [
    ("-A -t 10.0.1.100:80", 1, "Service already exists"),
    ("-E -t 10.0.1.9:80", 1, "No such service"),
    ("-D -t 10.0.1.9:80", 1, "No such service"),
    ("-L -t 10.0.1.9:80", 1, "No such service"),
    ("-a -t 10.0.1.9:80 -r 10.0.2.11", 1, "Service not defined"),
    ("-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m", 1, "Destination already exists"),
    ("-e -t 10.0.1.100:80 -r 10.0.2.19:8080 -m", 1, "No such destination"),
    ("-d -t 10.0.1.100:80 -r 10.0.2.19:8080", 1, "No such destination"),
    ("-A", 2, "-A: expected a service: -t or -u ADDR:PORT"),
    ("-a -t 10.0.1.100:80", 2, "-a: expected a server: -r ADDR[:PORT]"),
    ("-A -D -t 10.0.1.1:80", 2, "-D: expected one command"),
    ("-A -t 10.0.1.1:80 -u 10.0.1.1:80", 2, "-t and -u: expected one of them"),
    ("-A -t 10.0.1.1:80 -w 5", 2, "-w: does not go with -A"),
    ("-A -t 10.0.1.1:80 -M 255.255.0.0", 2, "-M: expected -p, whose clients it puts together"),
    ("-A -t 10.0.1.1:80 -p -M 255.0.255.0", 2,
     "netmask 255.0.255.0: expected one such as 255.255.255.0"),
    ("-A -t 10.0.1.1:80 -o", 2, "-o: expected a service of UDP (-u)"),
    ("-A -t 10.0.1.1:99999", 2,
     "'99999': expected a port in 0..65535, or its name in /etc/services"),
    ("-A -t 300.0.1.1:80", 2,
     "expected an address such as 10.0.0.1 or 2001:db8::1, got '300.0.1.1'"),
    ("-A -t 10.0.1.1:80 -s", 2, "-s: expected a value"),
    ("-A -t 10.0.1.1:80 -s fast", 2,
     "scheduler fast: expected one out of hash, lc, maglev, mh, nq, p2c, rr, sed, sh, source, "
     "twos, wlc, wrr"),
    ("-A -t 10.0.1.1:80 --scheduling rr", 2,
     "--scheduling: unknown option (see `ipvsadm --help`)"),
    ("-A -t 10.0.1.1:80 -q", 2, "-q: unknown option (see `ipvsadm --help`)"),
    ("-A -t 10.0.1.1:80 more", 2, "'more': expected an option"),
    ("-a -t 10.0.1.100:80 -r 10.0.2.1 -g -m", 2, "-g and -m: expected one of them"),
    ("-a -t 10.0.1.100:80 -r 10.0.2.1 -w 70000", 2,
     "--weight 70000: expected a number in 0..65535"),
    ("-a -t 10.0.1.100:80 -r 10.0.2.1 -x 1 -y 2", 2, "-y 2: expected no more than -x 1"),
    ("--set 1 2", 2, "--set: expected three numbers of seconds: tcp tcpfin udp"),
    ("-Z -t 10.0.1.100:80", 2,
     "-Z: pktlb sets all counters to zero together: give -Z alone"),
    ("-L --persistent-conn", 2,
     "--persistent-conn: pktlb lists no clients that stay, `pktlb status --json` has their number "
     "(pins)"),
    ("-A -f 5", 2,
     "-f 5: pktlb knows no firewall marks; name what the mark stands for: a range of ports or a "
     "whole address (`pktlb service add`, docs/migrating.md)"),
    ("-A -t 10.0.1.1:80 -s dh", 2,
     "scheduler dh: pktlb has none: it goes by the destination alone, which for one VIP is one "
     'server; use sh or mh, or `hash = "addresses"`'),
    ("--start-daemon master", 2,
     "--start-daemon: pktlb does not synchronise connections between machines; schedulers that "
     "hash (sh, mh) choose the same servers on all of them"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "status", "sentence"), REFUSED, ids=[line for line, *_ in REFUSED]
)
def test_a_command_that_cannot_be_is_refused_without_a_request(
    line: str, status: int, sentence: str
) -> None:
    done = Run(line, a_balancer())
    assert (done.status, done.err) == (status, f"{sentence}\n")
    assert done.out == ""


def test_hosts_and_services_may_have_names() -> None:
    command = parse(["-A", "-t", "10.0.1.1:http"])
    assert command.service is not None
    assert command.service.port == 80
    with pytest.raises(ConfigError, match="expected the address of a host"):
        parse(["-A", "-t", "localhost:http"])
    with pytest.raises(ConfigError, match="expected a port in"):
        parse(["-A", "-t", "10.0.1.1:no-such"])


def test_timeouts_are_set_in_the_whole_configuration() -> None:
    api = FakeApi(balancer={"max_flows": 4096})
    assert Run("--set 600 0 60", api).status == 0
    assert api.balancer == {"max_flows": 4096, "timeouts": {"tcp": 600, "udp": 60}}
    api.asked.clear()
    assert Run("--set 600 0 60", api).status == 0
    assert api.asked == []


def test_a_refusal_that_ipvs_does_not_know_has_the_balancer_s_words() -> None:
    class Strict(FakeApi):
        def ask(
            self, method: str, path: tuple[str, ...], query: object = None, body: object = None
        ) -> object:
            if method != "GET":
                raise DaemonError("not today", 500)
            return super().ask(method, path)

    done = Run("-A -t 10.0.1.100:80", Strict(WEB))
    assert (done.status, done.err) == (1, "not today\n")


def test_rules_are_restored_line_by_line() -> None:
    api = FakeApi()
    rules = (
        "# a comment\n\n-A -t 10.0.1.1:80 -s wrr\nipvsadm -a -t 10.0.1.1:80 -r 10.0.2.11:80 -m\n"
        "-A -t 10.0.1.1:80\n-L\n-A -t '\n/sbin/ipvsadm -a -t 10.0.1.1:80 -r 10.0.2.12:80 -m -w 3\n"
    )
    done = Run("-R", api, rules)
    assert done.status == 2
    assert done.err == (
        "standard input:5: Service already exists\n"
        "standard input:6: -L: does not go into a saved table\n"
        "standard input:7: no closing quotation\n"
    )
    assert [backend["weight"] for backend in api.services[0]["backend"]] == [1, 3]
