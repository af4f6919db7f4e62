"""Any packet: what hypothesis draws, apart from where the packet comes from and goes to.

A `Spec` can be built between any two peers, so that what a mode should make of it is the same spec
built between others: the expectation owes nothing to the engine.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from scapy.layers.inet import IP, IPOption
from scapy.packet import Padding

from pktlb.datapath.frame import Frame
from pktlb.model import Proto
from tests.packets import Packet, Peer, client, frame, partial, tcp, udp, vip

OPTIONS = [
    b"\x01",  # no operation
    b"\x94\x04\x00\x00",  # router alert, copied
    b"\x07\x07\x04\x00\x00\x00\x00",  # record route, not copied
    b"\x82\x0b" + bytes(range(9)),  # security, copied
]
TCP_OPTIONS: list[tuple[str, Any]] = [("MSS", 1460), ("NOP", None), ("Timestamp", (7, 9))]


@dataclass(frozen=True)
class Spec:
    """A packet without its ends."""

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
        }
        if self.proto is Proto.TCP:
            return tcp(
                source, target, self.flags, self.load, tcp_options=self.tcp_options, **fields
            )
        return udp(source, target, self.load, check=None if self.summed else 0, **fields)

    def frame(self, source: Peer, target: Peer, ttl: int | None = None) -> Frame:
        """As it arrives: with its checksum perhaps only begun, and padded."""
        packet = self.build(source, target, ttl)
        made = partial(packet) if self.begun else frame(packet)
        return Frame(made.port, made.data + bytes(Padding(b"\xaa" * self.padding)), made.offload)

    def size(self) -> int:
        return len(self.build(client(), vip())[IP])


loads = st.binary(max_size=40) | st.builds(
    lambda seed, times: (seed * times)[:4000],
    st.binary(min_size=1, max_size=9),
    st.integers(1, 900),
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Any packet that opens a flow."""
    proto = draw(st.sampled_from([Proto.TCP, Proto.UDP]))
    summed = draw(st.booleans())
    return Spec(
        proto,
        draw(loads),
        draw(st.integers(2, 255)),
        draw(st.booleans()),
        draw(st.integers(0, 255)),
        draw(st.integers(0, 65535)),
        "S" + draw(st.sampled_from(["", "P", "U", "E", "EC"])),
        tuple(draw(st.lists(st.sampled_from(TCP_OPTIONS), max_size=2))),
        tuple(draw(st.lists(st.sampled_from(OPTIONS), max_size=3))),
        summed,
        draw(st.booleans()) and (summed or proto is Proto.TCP),
        draw(st.integers(0, 20)),
    )


def clients() -> st.SearchStrategy[Peer]:
    """Any client, at any unicast address that is not one of ours."""
    return st.builds(
        lambda a, b, port: client(port, f"{a}.{b % 256}.{b // 256}.{(a * b) % 256}"),
        st.integers(11, 126),
        st.integers(0, 65535),
        st.integers(1, 65535),
    )
