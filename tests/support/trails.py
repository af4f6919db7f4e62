"""Packets in fragments, and the packet that a receiver reassembles."""

from collections.abc import Sequence
from typing import Any

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.tables import Tables
from pktlb.model import Mode, Proto
from tests.support.gateway import Gateway, service, tables
from tests.support.oracle import slow_reassembly
from tests.support.packets import V4, V6, Packet, World, ip_bytes, udp
from tests.support.sound import ETHER, assert_sound_ip, layout

DATA = bytes(n % 251 for n in range(400))


def laid_out(mode: Mode, world: World, **rest: Any) -> Tables:
    outer = (V6 if world is V4 else V4) if mode is Mode.TUNNEL else None
    return tables(
        *(service(mode, {"a": 1, "b": 1}, at=world.vip(), proto=proto, world=outer)
          for proto in (Proto.TCP, Proto.UDP)),
        **rest,
    )  # fmt: skip


def query(world: World, **fields: Any) -> Packet:
    return udp(world.client(), world.vip(), DATA, df=False, **fields)


def expected(mode: Mode, world: World, **fields: Any) -> bytes:
    """The whole packet as the backend should receive it."""
    target = world.backend() if mode is Mode.NAT else world.vip()
    return ip_bytes(udp(world.inside, target, DATA, df=False, ttl=63, **fields))


def arrived(frames: Sequence[Frame], mode: Mode) -> bytes:
    """The packet that a receiver reassembles from fragments; those of a tunnel are wrapped."""
    packets = [bytes(sent.data[ETHER:]) for sent in frames]
    if mode is Mode.TUNNEL:
        packets = [packet[layout(packet).transport :] for packet in packets]
    whole = slow_reassembly(packets)
    assert_sound_ip(whole, unsummed=True)
    return whole


def pass_all(gateway: Gateway, pieces: Sequence[Packet]) -> list[Frame]:
    return [sent for piece in pieces for sent in gateway.receive(piece).frames]
