"""An interface that is made anew while pktlb runs is taken into use, with the flows of before."""

import pytest

from netns import nat
from netns.lab import Lab
from netns.waiting import wait_until


@pytest.mark.net
@pytest.mark.parametrize("lost", ["wan", "lan"])
def test_an_interface_that_is_replaced_is_used_again(lost: str) -> None:
    with Lab("iface") as lab:
        nat.build(lab)
        gw, client = lab.hosts["gw"], lab.hosts["client"]
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        before = gw.state()
        process = gw.pktlb(*nat.TOPOLOGY.run_arguments("rr"))
        assert client.run("curl", "-sf", nat.TOPOLOGY.url).stdout
        gw.run("ip", "link", "del", lost)
        process.wait_for(f"interface {lost} is gone")
        if lost == "wan":
            lab.link(client, "eth0", gw, "wan")
            client.address("eth0", "10.0.1.2/24")
            client.route("default", via="10.0.1.1")
            gw.address("wan", "10.0.1.1/24")
        else:
            lab.link(gw, "lan", lab.hosts["switch"], "gw")
            gw.address("lan", "10.0.2.1/24")
        curl = ("curl", "-sf", "--max-time", "2", nat.TOPOLOGY.url)
        wait_until(
            lambda: client.run(*curl, check=False).returncode == 0, 15, "the service is back"
        )
        assert process.stop() == 0
        assert [line for line in gw.state().splitlines() if "10.0.1.100" in line] == []
        assert ("table netdev pktlb" in gw.state()) == ("table netdev pktlb" in before)
