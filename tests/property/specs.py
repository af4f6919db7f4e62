"""Any packet, drawn by hypothesis; its ends are drawn apart.

A `Spec` can be built between any two peers, so that what a mode should make of it is the same spec
built between others: the expectation owes nothing to the engine.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from scapy.layers.inet import IPOption
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN
from scapy.packet import Padding

from pktlb.engine.datapath.frame import Frame
from pktlb.model import Proto
from tests.support.packets import (
    V4,
    WORLDS,
    Packet,
    Peer,
    World,
    frame,
    ip_bytes,
    partial,
    tcp,
    udp,
)

OPTIONS = [
    b"\x01",  # no operation
    b"\x94\x04\x00\x00",  # router alert, copied
    b"\x07\x07\x04\x00\x00\x00\x00",  # record route, not copied
    b"\x82\x0b" + bytes(range(9)),  # security, copied
]
EXTENSIONS = [
    IPv6ExtHdrHopByHop(),
    IPv6ExtHdrRouting(segleft=0, addresses=["2001:db8::7"]),
    IPv6ExtHdrDestOpt(),
    IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(20))]),
]
TCP_OPTIONS: list[tuple[str, Any]] = [("MSS", 1460), ("NOP", None), ("Timestamp", (7, 9))]


@dataclass(frozen=True)
class Spec:
    """A packet without its ends."""

    world: World
    proto: Proto
    load: bytes
    ttl: int = 64
    df: bool = True
    tos: int = 0
    ident: int = 7
    flags: str = "S"
    "TCP only."
    tcp_options: tuple[tuple[str, Any], ...] = ()
    ip_options: tuple[bytes, ...] = ()
    extensions: tuple[int, ...] = ()
    "IPv6 extension headers, as places in the list above."
    label: int = 0
    summed: bool = True
    "UDP only: False is a datagram with a checksum of 0."
    begun: bool = False
    "Whether the checksum is only partial, as a sender with offload leaves it."
    padding: int = 0

    def build(self, source: Peer, target: Peer, ttl: int | None = None) -> Packet:
        fields: dict[str, Any] = {
            "ttl": self.ttl if ttl is None else ttl,
            "df": self.df,
            "tos": self.tos,
            "id": self.ident,
            "options": [IPOption(option) for option in self.ip_options],
            "extensions": [EXTENSIONS[place] for place in self.extensions],
            "fl": self.label,
        }
        if self.world is V4:
            del fields["fl"], fields["extensions"]
        if self.proto is Proto.TCP:
            return tcp(
                source, target, self.flags, self.load, tcp_options=self.tcp_options, **fields
            )
        return udp(source, target, self.load, check=None if self.summed else 0, **fields)

    def frame(self, source: Peer, target: Peer, ttl: int | None = None) -> Frame:
        """The frame as it arrives, perhaps with a partial checksum and padding."""
        packet = self.build(source, target, ttl)
        made = partial(packet) if self.begun else frame(packet)
        return Frame(made.port, made.data + bytes(Padding(b"\xaa" * self.padding)), made.offload)

    def size(self) -> int:
        """Bytes of the IP packet."""
        return len(ip_bytes(self.build(self.world.client(), self.world.vip())))

    @property
    def whole(self) -> bool:
        """Whether no router may fragment it."""
        return self.df or self.world is not V4


loads = st.binary(max_size=40) | st.builds(
    lambda seed, times: (seed * times)[:4000],
    st.binary(min_size=1, max_size=9),
    st.integers(1, 900),
)


places = st.integers(0, len(EXTENSIONS) - 1)


@st.composite
def specs(draw: st.DrawFn, worlds: tuple[World, ...] = WORLDS) -> Spec:
    """Any packet that opens a flow."""
    world = draw(st.sampled_from(worlds))
    proto = draw(st.sampled_from([Proto.TCP, Proto.UDP]))
    summed = draw(st.booleans())
    return Spec(
        world,
        proto,
        draw(loads),
        draw(st.integers(2, 255)),
        draw(st.booleans()),
        draw(st.integers(0, 255)),
        draw(st.integers(0, 65535)),
        "S" + draw(st.sampled_from(["", "P", "U", "E", "EC"])),
        tuple(draw(st.lists(st.sampled_from(TCP_OPTIONS), max_size=2))),
        tuple(draw(st.lists(st.sampled_from(OPTIONS), max_size=3))) if world is V4 else (),
        tuple(draw(st.lists(places, max_size=3))) if world is not V4 else (),
        draw(st.integers(0, 0xFFFFF)),
        summed,
        draw(st.booleans()) and (summed or proto is Proto.TCP),
        draw(st.integers(0, 20)),
    )


def clients(world: World) -> st.SearchStrategy[Peer]:
    """Any client, at any unicast address that is not one of ours."""
    pattern = "{}.{}.{}.{}" if world is V4 else "2a{0:02x}:{1:x}:{2:x}:7::{3:x}"
    return st.builds(
        lambda a, b, port: world.client(port, pattern.format(a, b % 256, b // 256, (a * b) % 256)),
        st.integers(11, 126),
        st.integers(0, 65535),
        st.integers(1, 65535),
    )


def specs_and_clients() -> st.SearchStrategy[tuple[Spec, Peer]]:
    """A packet and its sender."""
    return specs().flatmap(lambda spec: st.tuples(st.just(spec), clients(spec.world)))
