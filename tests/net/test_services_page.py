"""The commands of docs/services.md work as they stand there, in the laboratories that it names."""

import re
import shlex

import pytest

from netns import dsr, l2, mixed, nat
from netns.host import Host, pktlb_command
from netns.lab import Lab
from netns.process import ROOT
from tests.net.topologies import NAT6

PAGE = (ROOT / "docs" / "services.md").read_text()
LABORATORIES = {
    "nat": nat.TOPOLOGY,
    "nat6": NAT6,
    "dsr": dsr.TOPOLOGY,
    "mixed": mixed.TOPOLOGY,
    "l2": l2.TOPOLOGY,
}
SCENES = re.findall(
    r"^<!-- laboratory: (\w+) -->\n(.*?)(?=^<!-- laboratory|^## |\Z)", PAGE, re.M | re.S
)
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.M | re.S)


@pytest.mark.parametrize(("name", "scene"), SCENES, ids=[name for name, _ in SCENES])
def test_each_example_works_as_it_stands(name: str, scene: str) -> None:
    topology = LABORATORIES[name]
    with Lab(name, ipv6=topology.ipv6) as lab:
        topology.build(lab)
        for program in topology.servers():
            lab.hosts[program.host].start(*program.argv, ready=program.ready)
        blocks = BLOCK.findall(scene)
        assert blocks
        for role, commands in blocks:
            hosts = list(topology.backends) if role == "backend" else [role]
            if role == "balancer":
                hosts = [topology.balancer]
            for host in hosts:
                do(lab.hosts[host], commands.replace("\\\n", " ").strip())


def do(host: Host, commands: str) -> None:
    """Run the commands on a host. `pktlb run` goes on, and is ready on return."""
    if commands.startswith("pktlb "):
        host.start(*pktlb_command(*shlex.split(commands)[1:]), ready="pktlb: ready")
        return
    for command in commands.splitlines():
        for _ in range(4 if command.startswith("curl") else 1):
            host.run("sh", "-ec", command)
