"""A firewall sandwich: whatever is forwarded is spread, and both directions meet one firewall."""

from collections import Counter
from pathlib import Path

from netns import l2
from netns.l2_demo import COUNTER
from netns.server import blocks, sha256_of_bytes
from netns.waiting import wait_until
from tests.net.sockets import dialled, exchange, trace
from tests.net.world import EACH_ALONE, World, serving

CONNECTIONS = 24
SIZE = 3_000_000
SERVERS = {"10.0.1.1": "10.0.4.2", "fd01::1": "fd04::2"}
"The balancer's addresses on the client's side, which answer when the TTL runs out."
NOTICED = 20.0
"Seconds in which a firewall that is gone must be noticed on both sides."


def test_each_connection_keeps_its_firewall_and_does_without_one_that_is_gone(
    tmp_path: Path,
) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"".join(blocks(SIZE)))
    with serving(l2.TOPOLOGY) as world:
        balancers = [world.lab.hosts[it].pktlb(*run) for it, run in l2.TOPOLOGY.runs().items()]
        for url, (gateway, server) in zip(world.topology.urls, SERVERS.items(), strict=True):
            assert world.answers(CONNECTIONS, url) == {"server": CONNECTIONS}
            assert world.download(SIZE, url) == sha256_of_bytes(SIZE)
            assert world.upload(file, url) == sha256_of_bytes(SIZE)
            with dialled(world.client, (server, 80)) as client:
                exchange(client, 20_000)  # in fragments, to and fro
            assert trace(world.client, server, 1, 80) == gateway
        opened, strays = counted(world)
        assert min(opened.values()) > 0
        assert sum(opened.values()) == 2 * (CONNECTIONS + 3)
        assert not strays

        for switch in ("front", "rear"):
            world.lab.hosts[switch].run("ip", "link", "set", "fw2", "down")
        wait_until(lambda: all_answered(world), NOTICED, "both sides do without fw2")
        counted(world)
        assert world.answers(CONNECTIONS) == {"server": CONNECTIONS}
        opened, strays = counted(world)
        assert opened == {"fw1": opened["fw1"], "fw2": 0, "fw3": CONNECTIONS - opened["fw1"]}
        assert not strays
        assert [balancer.stop() for balancer in balancers] == [0, 0]


def counted(world: World) -> tuple[Counter[str], int]:
    """Connections that began in the firewalls since the last call, and packets of other ones."""
    opened, strays = Counter[str](), 0
    for firewall in world.backends:
        packets = dict(COUNTER.findall(firewall.run("nft", "reset", "counters").stdout))
        opened[firewall.name] = int(packets["opened"])
        strays += int(packets["strays"])
    return opened, strays


def all_answered(world: World) -> bool:
    """Whether so many requests in a row are served that each firewall in use gets some."""
    quick = ("curl", "-s", "--fail", "--fail-early", "--max-time", "1", *EACH_ALONE)
    return not world.client.run(*quick, *[world.url] * CONNECTIONS, check=False).returncode
