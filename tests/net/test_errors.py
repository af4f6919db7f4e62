"""ICMP between clients, backends and the VIP, of both families, as programs are told of it."""

import errno

import pytest

from netns.topology import address_of
from tests.net.sockets import bracketed, dialled, trace
from tests.net.topologies import BOTH, PAST_THE_BALANCER, in_both, sides_of
from tests.net.world import World, serving

HOPS = {"nat": 1, "dsr": 2, "tunnel": 2}
"Hops of the client's packets to the balancer."

SILENT, IDLE = 5300, 5301
"Ports: no program listens on the backend; no backend takes new flows."


@pytest.mark.parametrize("mode", BOTH)
def test_a_trace_shows_the_vip_and_ports_without_a_server_are_refused(mode: str) -> None:
    with serving(BOTH[mode]) as world:
        balancer = world.balance(*more_services(world))
        for address, _ in world.vips:
            world.client.run("ping", "-q", "-c", "2", "-i", "0.01", "-W", "2", address)
            assert trace(world.client, address, HOPS[mode], SILENT) == address
            assert trace(world.client, address, HOPS[mode], IDLE) == address
            assert refusal(world, (address, IDLE)) == errno.ECONNREFUSED
            assert refusal(world, (address, SILENT)) == errno.ECONNREFUSED
        assert balancer.stop() == 0
        assert " ttl_expired=4" in balancer.stderr
        assert " no_backend=2" in balancer.stderr
        assert (" related=2" in balancer.stderr) == (mode == "nat")  # others answer directly


def test_a_translated_client_is_told_that_no_server_listens() -> None:
    """The backend's ICMP goes to the balancer's address, about a packet from there."""
    topology = in_both(PAST_THE_BALANCER)
    with serving(topology) as world:
        snat = ("--snat", "10.0.2.201", "--snat", "fd02::201")
        balancer = world.balance(*snat, *more_services(world))
        for address, _ in world.vips:
            assert refusal(world, (address, SILENT)) == errno.ECONNREFUSED
        assert balancer.stop() == 0
        assert " related=2" in balancer.stderr


def more_services(world: World) -> list[str]:
    """Services of UDP on the ports that are named above."""
    arguments = []
    for side, (address, _) in zip(sides_of(world.topology), world.vips, strict=True):
        vip, backend = bracketed(address), bracketed(address_of(side.backends["a"]))
        arguments += ["--vip", f"{vip}:{SILENT}/udp", "--backend", f"{backend}:{SILENT}"]
        arguments += ["--vip", f"{vip}:{IDLE}/udp", "--backend", f"{backend}:{IDLE},weight=0"]
    return arguments


def refusal(world: World, end: tuple[str, int]) -> int | None:
    """The error that a datagram gets."""
    with dialled(world.client, end) as client:
        client.send(b"anybody?")
        try:
            client.recv(2000)
        except OSError as error:
            return error.errno
    return None
