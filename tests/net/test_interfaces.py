"""An interface that is made anew while pktlb runs is taken into use, with the flows of before."""

import pytest

from netns import nat
from netns.lab import Lab
from netns.waiting import wait_until


@pytest.mark.net
@pytest.mark.parametrize("lost", ["wan", "lan"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "with_a_default_route"])
def test_an_interface_that_is_replaced_is_used_again(lost: str, elsewhere: bool) -> None:
    """Also where another interface would take over its routes meanwhile."""
    with Lab("iface") as lab:
        nat.build(lab)
        gw, client = lab.hosts["gw"], lab.hosts["client"]
        if elsewhere:
            gw.route("default", via="10.0.1.2" if lost == "lan" else "10.0.2.11")
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        before = gw.state()
        process = gw.pktlb(*nat.TOPOLOGY.run_arguments("rr"))
        assert client.run("curl", "-sf", nat.TOPOLOGY.url).stdout
        for _ in range(2):
            gw.run("ip", "link", "del", lost)
            wait_until(lambda: lost not in gw.interfaces(), 5, "the interface is gone")
            process.wait_for(f"interface {lost} is gone")
            replug(lab, lost)
        curl = ("curl", "-sf", "--max-time", "2", nat.TOPOLOGY.url)
        try:
            wait_until(
                lambda: client.run(*curl, check=False).returncode == 0, 15, "the service is back"
            )
        finally:
            print(process.stderr)
        assert process.stop() == 0
        assert "10.0.1.100" not in gw.state()
        assert "netdev pktlb" not in gw.state()
        assert "10.0.1.100" not in before


def replug(lab: Lab, lost: str) -> None:
    """Make the interface of the gateway anew, with other MACs."""
    gw, client = lab.hosts["gw"], lab.hosts["client"]
    if lost == "wan":
        lab.link(client, "eth0", gw, "wan")
        client.address("eth0", "10.0.1.2/24")
        client.route("default", via="10.0.1.1")
        gw.address("wan", "10.0.1.1/24")
    else:
        lab.link(gw, "lan", lab.hosts["switch"], "gw")
        gw.address("lan", "10.0.2.1/24")
