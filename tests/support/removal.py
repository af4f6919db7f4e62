"""Backends that were removed, and the RSTs that their connections get."""

from typing import Any

from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from pktlb.engine.datapath.keys import FlowKey, flow_key
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, OnRemove, Proto
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import V4, Packet, Peer, World, ip, tcp


def before(mode: Mode, proto: Proto = Proto.TCP, world: World = V4) -> Tables:
    return tables(service(mode, {"a": 1}, proto=proto, at=world.vip()))


def after(
    on_remove: OnRemove, mode: Mode, proto: Proto = Proto.TCP, world: World = V4
) -> Tables:  # fmt: skip
    """Tables in which backend a was removed and b was added."""
    was = service(mode, {"a": 1}, proto=proto, at=world.vip())
    gone = {(was.key, was.backends[0]): on_remove}
    return tables(service(mode, {"b": 1}, proto=proto, at=world.vip()), removed=gone)


def removed(
    engine: MakePlane, on_remove: OnRemove, mode: Mode = Mode.NAT, world: World = V4
) -> Gateway:
    """A gateway with a connection to a backend that was removed."""
    gateway = Gateway(engine, before(mode, world=world))
    gateway.sends(tcp(world.client(), world.vip(), "S"))
    gateway.sends(tcp(world.client(), world.vip(), "A"))
    gateway.plane.swap(after(on_remove, mode, world=world))
    return gateway


def segment(
    source: Peer, target: Peer, flags: str, load: bytes = b"", **fields: Any
) -> Packet:  # fmt: skip
    made = TCP(sport=source.port, dport=target.port, flags=flags, **fields)
    return ip(source, target, made / Raw(load) if load else made)


def rst(source: Peer, target: Peer, seq: int, ack: int | None = None) -> Packet:
    """The RST as it should be: without options and data."""
    made = TCP(
        sport=source.port, dport=target.port, flags="R" if ack is None else "RA", seq=seq,
        ack=ack or 0, window=0,
    )  # fmt: skip
    fields: dict[str, Any] = {"id": 0} if source.family == 4 else {}
    return ip(source, target, made, **fields)


def on_the_way(packet: Packet) -> Packet:
    """The packet with the TTL that it has behind the balancer."""
    at_ip = packet.payload
    if isinstance(at_ip, IPv6):
        at_ip.hlim -= 1
    else:
        at_ip.ttl -= 1
    return packet


def key_of(source: Peer, target: Peer, proto: Proto = Proto.TCP) -> FlowKey:
    return flow_key(proto, source.endpoint, target.endpoint)
