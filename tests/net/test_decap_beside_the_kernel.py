"""`pktlb decap` on a host whose kernel has a module for tunnels of its own."""

import re
import socket
import struct
from collections.abc import Iterator
from functools import partial

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from netns import mixed
from netns.host import Host
from netns.lab import Lab
from netns.waiting import wait_until
from pktlb.host.owned_table import OwnedTable
from tests.net.sockets import bracketed, family_of, listening
from tests.net.tunnel_module import tunnel_module
from tests.net.world import CURL, start_all

VIPS = {4: "10.0.2.100", 6: "fd02::100"}
ALL_VIPS = ("--vip", VIPS[4], "--vip", VIPS[6])
BACKENDS = {name: mixed.BACKENDS[name] for name in ("a", "c")}
"One of each family."
SENDERS = {4: "10.0.1.2", 6: "fd01::2"}
NOT_ECT, ECT1, ECT0, CE = range(4)
TABLE = ("nft", "list", "table", "inet", "pktlb_decap")

each_backend = pytest.mark.parametrize("name", BACKENDS)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Backends of one family each, a of IPv4 and c of IPv6, that unwrap nothing yet."""
    with mixed.TOPOLOGY.laboratory() as lab:
        mixed.build(lab)
        start_all(lab, mixed.TOPOLOGY.servers())
        yield lab


def dropped(host: Host, chain: str) -> list[int]:
    """How many packets each rule of a chain has dropped."""
    listed = host.run(*TABLE).stdout.partition(f"chain {chain} {{")[2].partition("}\n\n")[0]
    return [int(count) for count in re.findall(r"packets (\d+) bytes \d+ drop", listed)]


def balance(lab: Lab, name: str, *more: str) -> list[str]:
    """Start a balancer with one backend; the URLs of its VIPs."""
    to = ("--backend", BACKENDS[name])
    services = [("--vip", f"{bracketed(vip)}:80", *to) for vip in VIPS.values()]
    arguments = [word for service in services for word in service]
    lab.hosts["balancer"].pktlb("run", "--mode", "tunnel", *arguments, *more)
    return [f"http://{bracketed(vip)}" for vip in VIPS.values()]


@each_backend
def test_answers_of_a_module_without_a_device_stay_on_the_host(lab: Lab, name: str) -> None:
    backend = lab.hosts[name]
    with tunnel_module(backend, BACKENDS[name], up=False) as module:
        decap = backend.pktlb("decap", *ALL_VIPS)
        assert f"there is a tunnel device {module.name}, which is down" in decap.stderr
        for url in balance(lab, name):
            answers = lab.hosts["client"].run(*CURL, *[url] * 10).stdout
            assert answers.count(f"{name} ") == 10
        held = wait_until(lambda: module.refused >= 20 and module.refused, 10, "answers are held")
        assert sum(dropped(backend, "answers")) >= held
        assert decap.stop() == 0


@each_backend
def test_answers_about_other_tunnels_leave_the_host(lab: Lab, name: str) -> None:
    """A host may have tunnels besides: whose packets it does not take, it still says."""
    backend = lab.hosts[name]
    with tunnel_module(backend, BACKENDS[name], up=False) as module:
        backend.pktlb("decap", "--vip", "192.0.2.1", "--vip", "2001:db8::1")
        capture = lab.hosts["balancer"].capture("eth0", "icmp or icmp6")
        for family, vip in VIPS.items():
            inner = datagram(family, vip, NOT_ECT)
            send(lab.hosts["balancer"], BACKENDS[name], outer(name, inner, NOT_ECT))
        seen = 0

        def told() -> bool:
            nonlocal seen
            seen = sum(dropped(backend, "answers"))
            text = capture.file.read_bytes()
            return len(re.findall(rb"hello", text)) >= 2

        wait_until(told, 10, "the sender is told")
        assert module.refused == seen == 0


@each_backend
def test_a_device_that_is_up_delivers_nothing_twice(lab: Lab, name: str) -> None:
    backend = lab.hosts[name]
    with tunnel_module(backend, BACKENDS[name], up=True) as module:
        decap = backend.pktlb("decap", *ALL_VIPS)
        assert f"the tunnel device {module.name} is up" in decap.stderr
        for rule, (family, vip) in enumerate(VIPS.items()):
            with listening(backend, (vip, 5300)) as server:
                for number in range(10):
                    inner = datagram(family, vip, NOT_ECT, bytes([number]))
                    send(lab.hosts["balancer"], BACKENDS[name], outer(name, inner, NOT_ECT))
                arrived = sorted(server.recv(10) for _ in range(10))
                assert arrived == [bytes([number]) for number in range(10)]
                wait_until(partial(has_dropped, backend, rule, 10), 10, "the copies are dropped")
                server.setblocking(False)
                with pytest.raises(BlockingIOError):
                    server.recv(10)
        assert module.delivered == 20
        assert decap.stop() == 0


def has_dropped(host: Host, rule: int, count: int) -> bool:
    """Whether a rule has dropped so many copies."""
    return dropped(host, "copies")[rule] == count


@each_backend
def test_a_backend_that_unwraps_nothing_does_not_speak_to_the_client(lab: Lab, name: str) -> None:
    """Its kernel says protocol unreachable, or unrecognized next header: nobody took the packet."""
    balancer = lab.hosts["balancer"]
    for url in balance(lab, name):
        hopeless = lab.hosts["client"].run("curl", "-s", "-m", "1", url, check=False)
        assert hopeless.returncode == 28
    counts = balancer.ask("stats", "--json").stdout
    refused = re.search(r'"TUNNEL_REFUSED": (\d+)', counts)
    assert refused
    assert int(refused[1]) >= 2
    assert re.search(r'"RELATED": 0\b', counts)


def test_the_rules_outlive_a_flush_and_not_the_process(lab: Lab) -> None:
    backend = lab.hosts["a"]
    before = backend.state()
    backend.rules("table inet pktlb_decap { chain stale { }\n}")
    decap = backend.pktlb("decap", *ALL_VIPS)
    listed = backend.run(*TABLE).stdout
    assert "stale" not in listed
    backend.run("nft", "flush", "ruleset")
    assert backend.run(*TABLE).stdout == listed
    decap.kill()
    assert backend.state() == before


def test_without_the_rules_it_warns_and_unwraps(lab: Lab) -> None:
    backend = lab.hosts["a"]
    with backend.enter():
        owned = OwnedTable("inet pktlb_decap", "")
    with owned:
        decap = backend.pktlb("decap", *ALL_VIPS)
        assert "table inet pktlb_decap: nft refused: " in decap.stderr
        for url in balance(lab, "a"):
            assert lab.hosts["client"].run(*CURL, url).stdout.startswith("a ")
        assert decap.stop() == 0
    assert "pktlb_decap" not in backend.run("nft", "list", "tables").stdout


ECN = [
    (ECT0, CE, CE),
    (ECT1, CE, CE),
    (NOT_ECT, CE, None),
    (ECT0, ECT1, ECT1),
    (NOT_ECT, ECT0, NOT_ECT),
    (CE, NOT_ECT, CE),
]
"Inner and outer field, and the field that comes out."


@each_backend
@pytest.mark.parametrize("family", VIPS)
def test_a_congestion_mark_of_the_way_arrives_inside(lab: Lab, name: str, family: int) -> None:
    backend = lab.hosts[name]
    decap = backend.pktlb("decap", *ALL_VIPS)
    expected = {
        bytes([number]): 0xB8 | inside
        for number, (*_, inside) in enumerate(ECN)
        if inside is not None
    }
    with listening(backend, (VIPS[family], 5300)) as server:
        level, option = (0, 13) if family == 4 else (41, 66)  # IP_RECVTOS, IPV6_RECVTCLASS
        server.setsockopt(level, option, 1)
        for number, (inner, mark, _) in enumerate(ECN):
            packet = datagram(family, VIPS[family], inner, bytes([number]))
            send(lab.hosts["balancer"], BACKENDS[name], outer(name, packet, mark))
        assert dict(received(server) for _ in expected) == expected
    assert decap.stop() == 0
    assert "1 packets: BAD_ECN" in decap.stderr
    assert "2 packets: outer and inner ECN fields" in decap.stderr


def received(server: socket.socket) -> tuple[bytes, int]:
    """The data of a datagram, and its traffic class."""
    data, ((_, _, traffic),), *_ = server.recvmsg(100, 100)
    return data, traffic[0] if len(traffic) == 1 else struct.unpack("=i", traffic)[0]


def datagram(family: int, vip: str, ecn: int, data: bytes = b"hello") -> Packet:
    """From the client to a VIP, with a DSCP of 46."""
    load = UDP(sport=4000, dport=5300) / Raw(data)
    if family == 4:
        return IP(src=SENDERS[4], dst=vip, tos=0xB8 | ecn) / load
    return IPv6(src=SENDERS[6], dst=vip, tc=0xB8 | ecn) / load


def outer(name: str, inner: Packet, ecn: int) -> Packet:
    """A packet in the tunnel from the balancer to a backend."""
    proto = 4 if inner.version == 4 else 41
    if family_of(BACKENDS[name]) == socket.AF_INET:
        return IP(src="10.0.2.1", dst=BACKENDS[name], tos=ecn, proto=proto) / inner
    return IPv6(src="fd02::1", dst=BACKENDS[name], tc=ecn, nh=proto) / inner


def send(host: Host, to: str, packet: Packet) -> None:
    """Send an IP packet as it is."""
    with host.enter():
        raw = socket.socket(family_of(to), socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        raw.sendto(bytes(packet), (to, 0))
