"""An interface that is made anew while pktlb runs is taken into use, with the flows of before."""

import socket

import pytest

from netns import nat
from netns.errors import LabError
from netns.lab import Lab
from netns.waiting import wait_until


@pytest.mark.net
@pytest.mark.parametrize("lost", ["wan", "lan"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "with_a_default_route"])
def test_an_interface_that_is_replaced_is_used_again(lost: str, elsewhere: bool) -> None:
    """Also if another interface could take over its routes meanwhile."""
    with Lab("iface") as lab:
        nat.build(lab)
        gw, client = lab.hosts["gw"], lab.hosts["client"]
        if elsewhere:
            gw.route("default", via="10.0.1.2" if lost == "lan" else "10.0.2.11")
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        process = gw.pktlb(*nat.TOPOLOGY.run_arguments("rr"))
        assert client.run("curl", "-sf", nat.TOPOLOGY.url).stdout
        for again in (False, True):
            gw.run("ip", "link", "del", lost)
            process.wait_for(f"interface {lost} is gone")
            if not again:  # the other interface is not used in its place
                with pytest.raises(LabError, match="in vain"):
                    process.wait_for("going on with the new one", timeout=1)
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


@pytest.mark.net
def test_an_open_connection_outlives_a_replaced_interface() -> None:
    """The flow table stays: without it the next request would belong to no flow, and be reset."""
    with Lab("iface") as lab:
        nat.build(lab)
        gw = lab.hosts["gw"]
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        process = gw.pktlb(*nat.TOPOLOGY.run_arguments("rr"))
        with lab.hosts["client"].enter():
            connection = socket.create_connection(("10.0.1.100", 80), timeout=20)
        with connection:
            first = ask(connection)
            gw.run("ip", "link", "del", "lan")
            process.wait_for("interface lan is gone")
            replug(lab, "lan")
            process.wait_for("going on with the new one")
            assert ask(connection) == first


@pytest.mark.net
@pytest.mark.parametrize("change", ["renamed", "replaced"])
def test_the_kept_table_of_the_guard_follows_an_interface(change: str) -> None:
    with Lab("iface") as lab:
        nat.build(lab)
        gw, client = lab.hosts["gw"], lab.hosts["client"]
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        process = gw.pktlb(*nat.TOPOLOGY.run_arguments("rr"))
        if change == "renamed":
            gw.run("ip", "link", "set", "wan", "name", "outside")
            process.wait_for("interface wan is called outside now")
        else:
            gw.run("ip", "link", "del", "wan")
            process.wait_for("interface wan is gone")
            replug(lab, "wan")
            process.wait_for("going on with the new one")
        curl = ("curl", "-sSf", "--retry", "3", "--max-time", "2", nat.TOPOLOGY.url)
        wait_until(lambda: client.run(*curl, check=False).returncode == 0, 15, "it serves")
        # Without the ordinary table, only the kept one keeps the kernel from a refusal.
        loop = "for i in $(seq 60); do nft flush ruleset; sleep 0.01; done"
        flushes = gw.start("sh", "-c", loop)
        urls = [nat.TOPOLOGY.url] * 20
        while flushes.status is None:
            client.run("curl", "-sSf", "--fail-early", "-H", "Connection: close", *urls)
        assert process.stop() == 0


@pytest.mark.net
def test_a_download_goes_on_when_the_clients_interface_was_replaced() -> None:
    """Only the server sends: the client waits for the rest of an answer."""
    with Lab("iface") as lab:
        nat.build(lab)
        gw, client = lab.hosts["gw"], lab.hosts["client"]
        for name in nat.BACKENDS:
            lab.hosts[name].serve(8080)
        process = gw.pktlb(*nat.TOPOLOGY.run_arguments("rr"))
        curl = client.start("curl", "-sN", "--max-time", "60", "http://10.0.1.100/slow/10")
        wait_until(lambda: "." in curl.stdout, 10, "the answer has begun")
        mac = client.macs["eth0"]
        gw.run("ip", "link", "del", "wan")
        process.wait_for("interface wan is gone")
        replug(lab, "wan")
        client.run("ip", "link", "set", "eth0", "address", mac)
        process.wait_for("going on with the new one")
        assert curl.wait(40) == 0
        assert curl.stdout == ".\n"


def ask(connection: socket.socket) -> str:
    """One request over a connection that is open already; the server's one-line answer."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not (b"\r\n\r\n" in answer and answer.endswith(b"80\n")):
        piece = connection.recv(4096)
        assert piece, answer
        answer += piece
    return answer.rpartition(b"\r\n\r\n")[2].decode()


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
