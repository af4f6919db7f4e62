"""The commands of docs/mtu.md work as they stand there, in the laboratory of mode tunnel."""

import re
from pathlib import Path
from typing import Final

from netns import tunnel
from netns.process import ROOT
from netns.server import blocks, sha256_of_bytes
from netns.waiting import wait_until
from tests.net.world import serving

PAGE: Final = (ROOT / "docs" / "mtu.md").read_text()
BLOCK: Final = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.M | re.S)
SIZE: Final = 100_000
MTU_OF_THE_ROUTE: Final = 1400
OUTER: Final = 20


def test_the_route_bounds_the_tunnel_and_tcpdump_shows_the_message(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"".join(blocks(SIZE)))
    (route, tcpdump) = BLOCK.findall(PAGE)
    assert (route[0], tcpdump[0]) == ("balancer", "watch")
    assert route[1].strip().endswith(f"mtu {MTU_OF_THE_ROUTE}")
    with serving(tunnel.TOPOLOGY) as world:
        world.balancer.run("sh", "-ec", route[1])
        watch = world.balancer.start("sh", "-ec", f"exec {tcpdump[1]}", ready="listening on")
        world.balance()
        assert world.upload(file) == sha256_of_bytes(SIZE)
        shown = f"need to frag (mtu {MTU_OF_THE_ROUTE - OUTER})"
        wait_until(lambda: shown in watch.stdout or watch.status is not None, 10, shown)
        assert watch.stop() == 0
        assert shown in watch.stdout
