"""`pktlb run -c FILE` on the wire, and `pktlb run` without services."""

from pathlib import Path

import pytest

from pktlb.cli.run import SOCKET
from tests.net.world import World

FILE = """\
[balancer]
vip_interface = "wan"
[[service]]
name = "web"
vip = ["10.0.1.100:80", "10.0.1.101:8000-8099"]
mode = "nat"
[[service.backend]]
address = "10.0.2.11:8080"
weight = 3
[[service.backend]]
address = "10.0.2.12:8080"
[[service.backend]]
address = "10.0.2.13:8080"
drain = true
"""


def test_pktlb_does_what_a_file_says(nat_world: World, tmp_path: Path) -> None:
    path = tmp_path / "pktlb.toml"
    path.write_text(FILE)
    process = nat_world.balancer.pktlb("run", "-c", str(path))
    for url in ("http://10.0.1.100/", "http://10.0.1.101:8042/"):
        assert nat_world.answers(8, url) == {"a": 6, "b": 2}
    assert process.stop() == 0


def test_a_bad_file_ends_pktlb_with_status_2_and_all_mistakes(
    nat_world: World, tmp_path: Path
) -> None:
    path = tmp_path / "pktlb.toml"
    path.write_text(FILE.replace("weight", "wieght").replace("nat", "gnat"))
    before = nat_world.balancer.state()
    for command in (("run", "-c"), ("check",)):
        done = nat_world.try_pktlb(*command, str(path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines() == [
            f"{path}:6: service[0].mode: expected nat, dsr or tunnel, got 'gnat' "
            "(did you mean nat?)",
            f"{path}:9: service[0].backend[0].wieght: unknown key, got 3 (did you mean weight?)",
        ]
    assert nat_world.balancer.state() == before


@pytest.mark.parametrize("engine", ["native", "python"])
def test_pktlb_can_start_without_services(nat_world: World, engine: str) -> None:
    before = nat_world.balancer.state()
    process = nat_world.balancer.pktlb("run", "--engine", engine)
    assert "services=0" in process.stdout
    assert Path(nat_world.balancer.environment[SOCKET]).is_socket()
    assert process.stop() == 0
    assert nat_world.balancer.state() == before
