"""The shortest UDP frames: how many of a flood a gateway of one core brings to the servers."""

import time
from functools import partial
from typing import Final

from netns.process import Process
from tests.bench import contender, core, target
from tests.bench.contender import ENGINES, Contender, Pktlb
from tests.bench.program import last_line
from tests.bench.stage import IPV4, IPV6, PORT, Receiving, Stage
from tests.bench.trial import Settings, Turn, alternate, turns

FLOWS: Final = (64, 100_000)
WARM_UP_S: Final = 0.2
"Of a flood, before counting begins."
WARM_UP_RATE: Final = 40_000
"New flows a second that everybody can take: the flows are there before counting begins."

BUSY: Final = 0.9
"The share of its core that a balancer is expected to use in a flood."

SINK: Final = (
    "add table netdev sink",
    "add set netdev sink servers_ip {{ type ipv4_addr; counter; elements = {{ {ipv4} }}; }}",
    "add set netdev sink servers_ip6 {{ type ipv6_addr; counter; elements = {{ {ipv6} }}; }}",
    "add chain netdev sink sink {{ type filter hook ingress device {ifname} priority 0; }}",
    # A question for a MAC that was known before is put to the address of the server itself.
    "add rule netdev sink sink meta l4proto ipv6-icmp accept",
    "add rule netdev sink sink ip daddr @servers_ip drop",
    "add rule netdev sink sink ip6 daddr @servers_ip6 drop",
    "add rule netdev sink sink meta l4proto {{ udp, 4, 41 }} drop",
)


def measure(settings: Settings) -> None:
    contenders = [contender.PLAIN, contender.DNAT, *contender.pktlbs(settings.engines, "udp")]
    for engine in settings.engines[:1]:
        contenders += [
            Contender(f"{ENGINES[engine]}, {mode}", Pktlb(engine, mode))
            for mode in ("dsr", "tunnel")
        ]
    contenders = contender.in_pairs(contenders)
    with turns(contenders, Receiving.THREADS, sink) as ready:
        for flows in FLOWS:
            settings.ledger.measure(title(flows), "frames/s", contender.NFTABLES)
            for turn in ready:
                flood(settings, turn, flows, 60, WARM_UP_RATE, flows).wait(60)
            alternate(settings.rounds, ready, partial(probe, settings, flows))
        for turn in ready:
            check_shares(settings, turn)
            check_reachable(settings, turn)


def title(flows: int) -> str:
    return target.FRAMES.format(flows=flows)


def sink(stage: Stage) -> None:
    """Count what arrives for each server, and drop it before it costs anything."""
    for line in SINK:
        sets = {"ipv4": ", ".join(IPV4.servers), "ipv6": ", ".join(IPV6.servers)}
        stage.servers.run("nft", line.format(ifname=stage.servers_if, **sets))


def probe(settings: Settings, flows: int, turn: Turn) -> None:
    """One turn: the rate at which frames arrive while the flood is on; where the others went."""
    seconds = WARM_UP_S + settings.seconds + WARM_UP_S
    before = lost(turn.stage)
    process = flood(settings, turn, flows, seconds)
    process.wait_for("flooding")
    time.sleep(WARM_UP_S)
    start, cpu, count = time.monotonic(), turn.cpu(), arrived(turn.stage)
    time.sleep(settings.seconds)
    took, cpu, count = time.monotonic() - start, turn.cpu() - cpu, arrived(turn.stage) - count
    process.wait()
    settings.ledger.measures[title(flows)].add(turn.name, count / took)
    counts = {key: value - before[key] for key, value in lost(turn.stage).items()}
    sums = {"own CPU s": cpu, "took s": took}
    settings.ledger.detail(title(flows), turn.name, counts | last_line(process.stdout) | sums)
    if cpu < BUSY * took:
        settings.ledger.note(
            f"{title(flows)}: not everybody had all of the balancer's core "
            "(own CPU in the JSON): other programs or the generator stood in the way"
        )


def flood(
    settings: Settings, turn: Turn, flows: int, seconds: float, rate: float = 0, count: int = 0
) -> Process:
    """Start to send; `rate` frames a second and `count` in all, 0 for as many as it goes."""
    stage = turn.stage
    return stage.client.start(
        *core.on(core.LOAD, str(settings.programs / "flood")),
        *(stage.client_if, stage.gateway.macs[stage.wan]),
        *(turn.contender.net.flood_source, turn.contender.address),
        *(str(PORT), str(flows), str(seconds), str(rate), str(count)),
    )


def arrived(stage: Stage) -> int:
    return stage.servers.counters(stage.servers_if)["rx_packets"]


def lost(stage: Stage) -> dict[str, float]:
    """Where frames went that did not arrive, as far as interfaces know, and how many came in."""
    client = stage.client.counters(stage.client_if)
    wan, lan = stage.gateway.counters(stage.wan), stage.gateway.counters(stage.lan)
    return {
        "dropped before the gateway (its ring is full)": client["tx_dropped"],
        "into the gateway": wan["rx_packets"],
        "out of the gateway": lan["tx_packets"],
        "dropped on the way out": lan["tx_dropped"],
    }


def check_shares(settings: Settings, turn: Turn) -> None:
    """Say so if somebody who should balance over all servers does not."""
    net = turn.contender.net
    if turn.contender.direct or ", dsr" in turn.name:
        return  # one server by design; and DSR leaves no server's address in the packet
    command = ("nft", "list", "set", "netdev", "sink", f"servers_{net.family}")
    listed = turn.stage.servers.run(*command).stdout
    counts = {
        f"arrived for {address}": float(
            listed.partition(f"{address} counter packets ")[2].split()[0]
        )
        for address in net.servers
    }
    settings.ledger.detail("shares of the servers", turn.name, counts)
    if min(counts.values()) < 0.9 * max(counts.values()):
        settings.ledger.note(f"{turn.name} did not give all servers the same: {counts}")


def check_reachable(settings: Settings, turn: Turn) -> None:
    """Say so if a server was given up meanwhile: its share of the frames went nowhere."""
    if turn.process and "cannot be reached" in turn.process.stderr:
        settings.ledger.note(f"{turn.name} could not reach its servers all the time")
