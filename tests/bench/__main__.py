"""Measure, print a table. Figures of one run belong together; ratios alternate in it."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from netns import dsr, nat, tunnel
from netns.host import Host
from netns.lab import Lab
from netns.process import Process
from netns.topology import Topology

ROUNDS = 5
FLOOD_S = 2.0
PINGS = 2000
PLAIN_PORT = "8081"
"A port of the backends that pktlb has nothing to do with."
LOAD = str(Path(__file__).with_name("load.py"))
ENGINE_CORE, LOAD_CORE = "0", "1"


def pinned(core: str, *argv: str) -> list[str]:
    return ["taskset", "-c", core, *argv]


def load(client: Host, *argv: str) -> dict[str, float]:
    done = client.run(*pinned(LOAD_CORE, sys.executable, LOAD, *argv))
    result: dict[str, float] = json.loads(done.stdout)
    return result


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def engine(lab: Lab, topology: Topology, proto: str) -> Process:
    """Start pktlb on a core of its own; a client stays with its server, as iperf3 needs it."""
    arguments = topology.run_arguments("source" if proto == "tcp" else "rr")
    arguments[arguments.index("--vip") + 1] += f"/{proto}"
    process = lab.hosts[topology.balancer].pktlb(*arguments)
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {int(ENGINE_CORE)})
    return process


def arrived(lab: Lab, topology: Topology) -> int:
    return sum(lab.hosts[name].counters("eth0")["rx_packets"] for name in topology.backends)


def frames(topology: Topology) -> None:
    """64-byte UDP frames: how many reach the backends, and what they cost the engine."""
    rates, costs = [], []
    with Lab(topology.mode) as lab:
        topology.build(lab)
        for name in topology.backends:
            lab.hosts[name].run("nft", "add table netdev sink")
            hook = "{ type filter hook ingress device eth0 priority 0; }"
            lab.hosts[name].run("nft", f"add chain netdev sink sink {hook}")
            lab.hosts[name].run("nft", "add rule netdev sink sink meta l4proto { udp, 4 } drop")
        process = engine(lab, topology, "udp")
        vip, _, port = topology.vip.partition(":")
        for _ in range(ROUNDS):
            start, cpu = arrived(lab, topology), cpu_seconds(process.pid)
            load(lab.hosts["client"], "flood", vip, port, "64", str(FLOOD_S))
            count = arrived(lab, topology) - start
            rates.append(count / FLOOD_S)
            costs.append((cpu_seconds(process.pid) - cpu) / max(count, 1) * 1e6)
    print(f"{topology.mode:8} 64-byte frames/s {spread(rates, '8.0f')}   CPU us/frame "
          f"{spread(costs, '5.1f')}", flush=True)  # fmt: skip


def throughput() -> None:
    """One TCP stream in NAT mode and, in turn, one that pktlb has nothing to do with."""
    with Lab("nat") as lab:
        nat.build(lab)
        for name in nat.BACKENDS:
            for port in ("8080", PLAIN_PORT):
                lab.hosts[name].start("iperf3", "-s", "-p", port, "--forceflush", ready="listening")
        engine(lab, nat.TOPOLOGY, "tcp")
        client = lab.hosts["client"]
        via: list[float] = []
        plain: list[float] = []
        for number in range(ROUNDS * 2):
            ends = ("10.0.1.100", "80") if number % 2 else ("10.0.2.11", PLAIN_PORT)
            done = client.run("iperf3", "-J", "-t", "2", "-c", ends[0], "-p", ends[1])
            rate = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9
            (via if number % 2 else plain).append(rate)
    ratio = statistics.median(a / b for a, b in zip(via, plain, strict=True))
    print(f"nat      one TCP stream, Gbit/s {spread(via, '6.2f')}   plain forwarding "
          f"{spread(plain, '6.2f')}   ratio {ratio:.2f}", flush=True)  # fmt: skip


def latency() -> None:
    """A lone question and answer, through the engine and past it, in turn."""
    with Lab("nat") as lab:
        nat.build(lab)
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
            lab.hosts[name].serve(int(PLAIN_PORT))
        engine(lab, nat.TOPOLOGY, "udp")
        found: dict[str, list[dict[str, float]]] = {"10.0.1.100": [], "10.0.2.11": []}
        for _ in range(ROUNDS):
            for address, port in (("10.0.1.100", "80"), ("10.0.2.11", PLAIN_PORT)):
                found[address].append(load(lab.hosts["client"], "ping", address, port, str(PINGS)))
    for label, address in (("through nat", "10.0.1.100"), ("forwarded", "10.0.2.11")):
        halves = [row["p50"] for row in found[address]]
        tails = [row["p99"] for row in found[address]]
        print(f"lone round trip, us, {label:11}  p50 {spread(halves, '6.0f')}   p99 "
              f"{spread(tails, '6.0f')}", flush=True)  # fmt: skip


def memory() -> None:
    """Bytes a flow."""
    for mode in ("nat", "dsr"):
        command = [sys.executable, "-m", "tests.bench.memory", mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{mode:8} bytes a flow at 100,000 flows: {done.stdout.strip()}", flush=True)


def spread(values: list[float], form: str) -> str:
    """The median, and the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} ..{max(values):{form}})"


def main() -> None:
    for topology in (nat.TOPOLOGY, dsr.TOPOLOGY, tunnel.TOPOLOGY):
        frames(topology)
    throughput()
    latency()
    memory()


if __name__ == "__main__":
    main()
