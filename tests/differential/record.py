"""Record tests/data anew, in the laboratories of netns/:  python -m tests.differential.record

Offloads are off, for a pcap file cannot hold what they leave to be done. Only what arrives at the
balancer is kept: what leaves is what the engines are asked for.
"""

import json
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any, Final

from netns import dsr, nat, tunnel
from netns.host import Host
from netns.topology import Topology
from tests.differential.recording import DATA
from tests.net.world import EACH_ALONE, World, serving, switch_offloads

NAMES: Final = {"nat": nat, "nat-snat": nat, "dsr": dsr, "tunnel": tunnel}
RESET: Final = struct.pack("ii", 1, 0)
"SO_LINGER: a close sends RST."
IP_MTU_DISCOVER, PMTUDISC_DONT = 10, 0


def main() -> int:
    DATA.mkdir(exist_ok=True)
    for name, module in NAMES.items():
        record(name, module.TOPOLOGY, module.TOPOLOGY.snat if name == "nat-snat" else "")
    return 0


def record(name: str, topology: Topology, snat: str) -> None:
    """Record one mode: its frames, and the tables to read them with."""
    with serving(topology, lambda lab: switch_offloads(lab, on=False)) as world:
        facts = describe(world, snat)
        with recorded(name, world.balancer):
            balance(world, snat)
            traffic(world)
    (DATA / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


@contextmanager
def recorded(name: str, balancer: Host) -> Iterator[None]:
    """Capture all that arrives at the balancer, a file for each interface."""
    captures = {
        ifname: balancer.capture(ifname, f"not ether src {mac}")
        for ifname, mac in balancer.macs.items()
    }
    yield
    for ifname, capture in captures.items():
        frames = capture.stop()
        file = DATA / f"{name}-arrived-at-{ifname}.pcap"
        shutil.copy(capture.file, file)
        print(f"{file}: {len(frames)} frames, {file.stat().st_size} bytes")


def balance(world: World, snat: str) -> None:
    """The same backends behind TCP and UDP."""
    arguments = world.topology.run_arguments("rr", snat=snat)
    at = arguments.index("--vip")
    both = [*arguments[at:], "--vip", f"{world.topology.vip}/udp", *_backends(arguments)]
    world.balancer.pktlb(*arguments[:at], *both)


def _backends(arguments: list[str]) -> list[str]:
    found = [value for flag, value in pairwise(arguments) if flag == "--backend"]
    return [word for value in found for word in ("--backend", value)]


def describe(world: World, snat: str) -> dict[str, Any]:
    """The values that the tables of the balancer are made of."""
    topology, balancer = world.topology, world.balancer
    index = {name: world.lab.kernel.index(balancer.namespace, name) for name in balancer.macs}
    hops = {}
    for name, text in topology.backends.items():
        address = text.partition(":")[0]
        route = balancer.run("ip", "route", "get", address).stdout.split()
        port, source = route[route.index("dev") + 1], route[route.index("src") + 1]
        there = ("router", "front") if "via" in route else (name, "eth0")
        mac = world.lab.hosts[there[0]].macs[there[1]]
        hops[address] = {"port": index[port], "mac": mac, "source": source}
    ports = balancer.run("cat", "/proc/sys/net/ipv4/ip_local_port_range").stdout.split()
    return {
        "mode": topology.mode,
        "vip": topology.vip,
        "backends": [
            text if ":" in text else f"{text}:{topology.server_port}"
            for text in topology.backends.values()
        ],
        "snat": [snat] if snat else [],
        "hops": hops,
        "ports": {index[n]: {"name": n, "mac": mac} for n, mac in balancer.macs.items()},
        "own": sorted({hop["source"] for hop in hops.values()} | {world.vip[0]}),
        "own_ports": [int(ports[0]), int(ports[1]) + 1],
    }


def traffic(world: World) -> None:
    """Requests alone and over one connection, long ones each way, resets, datagrams, a ping."""
    world.ask(6)
    world.client.run("curl", "-sS", "--fail", *[world.url] * 5)
    world.download(20_000)
    upload = world.lab.new_file(world.client, "upload")
    upload.write_bytes(bytes(range(256)) * 60)
    world.upload(upload)
    curl, _ = world.hold(60)
    world.client.run("ping", "-c", "2", "-i", "0.2", world.vip[0], check=False)
    curl.stop()
    for _ in range(3):
        reset(world)
    datagrams(world)
    world.client.run("curl", "-sS", "--fail", *EACH_ALONE, *[world.url] * 3)
    world.hang_up()


def reset(world: World) -> None:
    """A request that is closed before its answer comes."""
    with world.client.enter():
        client = socket.create_connection(world.vip, 5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.send(b"GET /slow/30 HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv(1)
    client.close()


def datagrams(world: World) -> None:
    """Small datagrams that are answered, and one that arrives in fragments."""
    for turn in range(3):
        with world.client.enter():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with closing(client):
            client.settimeout(5)
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
            client.connect(world.vip)
            for size in (1, 2, 600):
                client.send(bytes([turn]) * size)
                client.recv(2000)
            client.send(bytes(3000))


if __name__ == "__main__":
    sys.exit(main())
