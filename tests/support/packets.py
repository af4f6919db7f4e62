"""Frames for tests, built and checked by scapy: an opinion independent of pktlb's own code.

    client 10.0.1.2 ── LAN 10.0.1.1 | 10.0.2.1 DMZ ── a 10.0.2.2, b 10.0.2.3, c 10.0.2.4
                          VIP 10.0.1.100

The same in IPv6, over the same MACs: 2001:db8:1::2, 2001:db8:1::1, 2001:db8:2::1 and so on. A table
of cases that holds in both families is a function of the `World`; whose world a packet is in, its
ends tell.

A packet is written down as it stands on a wire, MACs included, so its port can be told from them.
Nothing here is changed by a test: packets are built anew, frames are copied before they are used.
"""

import socket
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from pktlb.engine.datapath.frame import (
    GSO_TCP4,
    GSO_TCP6,
    GSO_UDP,
    NEEDS_CHECKSUM,
    NO_OFFLOAD,
    Frame,
    Offload,
)
from pktlb.model import Endpoint
from tests.support.oracle import slow_checksum, slow_sum
from tests.support.sound import CHECK_AT, ETHER, layout

conf.verb = 0

MTU: Final = 1500

LAN, DMZ = 1, 2
GATEWAY_MAC: Final = {LAN: "02:00:00:00:01:01", DMZ: "02:00:00:00:02:01"}
ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}

Packet = Any
"A scapy packet; scapy has no types."


class Peer(NamedTuple):
    """One end of a packet on one wire: MAC, address and port."""

    address: str
    port: int
    mac: str

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(packed(self.address), self.port)

    @property
    def family(self) -> int:
        return family(self.address)


def family(address: str) -> int:
    return 6 if ":" in address else 4


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class World(NamedTuple):
    """The drawing above in one family."""

    family: int
    pattern: str
    "Makes an address from a wire and a host."

    def __str__(self) -> str:
        return f"IPv{self.family}"

    @property
    def size(self) -> int:
        """Bytes of an IP header."""
        return 20 if self.family == 4 else 40

    def address(self, wire: int, host: int) -> str:
        return self.pattern.format(wire, host)

    def client(
        self, port: int = 4000, address: str = "", mac: str = "02:00:00:00:01:02"
    ) -> Peer:  # fmt: skip
        return Peer(address or self.address(LAN, 2), port, mac)

    def vip(self, port: int = 80, address: str = "") -> Peer:
        """The end that clients dial; on their wire it has the balancer's MAC."""
        return Peer(address or self.address(LAN, 100), port, GATEWAY_MAC[LAN])

    def backend(self, name: str = "a", port: int = 8080) -> Peer:
        host = ord(name) - ord("a") + 2
        return Peer(self.address(DMZ, host), port, f"02:00:00:00:02:{host:02x}")

    def gateway(self, wire: int, port: int = 0) -> Peer:
        """The balancer itself."""
        return Peer(self.address(wire, 1), port, GATEWAY_MAC[wire])

    @property
    def backends(self) -> dict[str, str]:
        """Addresses by name."""
        return {name: self.backend(name).address for name in "abc"}

    @property
    def inside(self) -> Peer:
        """The client as backends see it: its own address behind the balancer's MAC."""
        return via(DMZ, self.client())


V4: Final = World(4, "10.0.{}.{}")
V6: Final = World(6, "2001:db8:{}::{}")
WORLDS: Final = (V4, V6)
client, vip, backend = V4.client, V4.vip, V4.backend
BACKENDS: Final = V4.backends
GATEWAY_ADDRESS: Final = {wire: V4.gateway(wire).address for wire in (LAN, DMZ)}


def via(port: int, peer: Peer) -> Peer:
    """`peer` as it appears on the wire of `port`, with the balancer in between."""
    return peer._replace(mac=GATEWAY_MAC[port])


def at(peer: Peer, machine: Peer) -> Peer:
    """`peer` as an address that `machine` holds: a VIP on the loopback of a backend."""
    return peer._replace(mac=machine.mac)


_NUMBERS: Final = {
    ICMP: 1, TCP: 6, UDP: 17, IPv6ExtHdrHopByHop: 0, IPv6ExtHdrRouting: 43,
    IPv6ExtHdrFragment: 44, IPv6ExtHdrDestOpt: 60, IP: 4, IPv6: 41,
    **dict.fromkeys([ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6PacketTooBig,
                     ICMPv6ParamProblem, ICMPv6TimeExceeded], 58),
}  # fmt: skip


def ip(
    source: Peer,
    target: Peer,
    load: Packet | bytes,
    *,
    df: bool = True,
    more: bool = False,
    extensions: Sequence[Packet] = (),
    proto: int | None = None,
    **fields: Any,
) -> Packet:
    """Ethernet and IP around any payload; `fields` are those of the IPv4 header, of which IPv6
    takes `ttl` and `tos`, and an `fl` of its own. `extensions` are IPv6 extension headers."""
    ether = Ether(src=source.mac, dst=target.mac, type=ETHERTYPES[source.family])
    number = _NUMBERS.get(type(load)) if proto is None else proto
    if source.family == 4:
        flags = ("DF+" if df else "") + ("MF" if more else "")
        head = {"id": 7, "ttl": 64, "flags": flags.strip("+") or 0} | fields
        if number is not None:
            head["proto"] = number
        return ether / IP(src=source.address, dst=target.address, **head) / load
    head = {"hlim": fields.get("ttl", 64), "tc": fields.get("tos", 0), "fl": fields.get("fl", 0)}
    layers = [IPv6(src=source.address, dst=target.address, **head), *extensions]
    numbers = [*(_NUMBERS[type(each)] for each in extensions), 59 if number is None else number]
    made = ether
    for layer, following in zip(layers, numbers, strict=True):
        named = layer.copy()
        named.nh = following
        made = made / named
    return made / load


def tcp(
    source: Peer,
    target: Peer,
    flags: str = "A",
    load: bytes = b"",
    *,
    seq: int | None = None,
    ack: int = 1001,
    window: int = 8192,
    tcp_options: Sequence[tuple[str, Any]] = (),
    **fields: Any,
) -> Packet:
    """A TCP segment in a packet as `ip` makes it. Its numbers go with all others of a connection:
    either side has sent and acknowledged a SYN of number 1000, and sends the same byte again."""
    segment = TCP(
        sport=source.port,
        dport=target.port,
        flags=flags,
        seq=(1001 if "R" in flags else 1000) if seq is None else seq,
        ack=ack,
        window=window,
        options=list(tcp_options),
    )
    return ip(source, target, segment / Raw(load) if load else segment, **fields)


def syn(port: int = 4000) -> Packet:
    """The first packet of a connection from this port of the IPv4 client."""
    return tcp(client(port), vip(), "S")


def udp(
    source: Peer, target: Peer, load: bytes = b"", *, check: int | None = None, **fields: Any
) -> Packet:
    """A UDP datagram in a packet as `ip` makes it; `check=0`: without a checksum."""
    datagram = UDP(sport=source.port, dport=target.port, chksum=check)
    return ip(source, target, datagram / Raw(load) if load else datagram, **fields)


def echo(source: Peer, target: Peer, load: bytes = b"", **fields: Any) -> Packet:
    """An ICMP echo request."""
    kind = ICMP() if source.family == 4 else ICMPv6EchoRequest()
    return ip(source, target, kind / Raw(load) if load else kind, **fields)


class Trouble(Enum):
    """An ICMP error: type and code in IPv4, and in IPv6."""

    HOST = ((3, 1), (1, 3))
    PORT = ((3, 3), (1, 4))
    BIG = ((3, 4), (2, 0))
    TIME = ((11, 0), (3, 0))
    HEADER = ((12, 0), (4, 0))
    PROTOCOL = ((3, 2), (4, 1))


_ERRORS6: Final = {
    1: ICMPv6DestUnreach,
    2: ICMPv6PacketTooBig,
    3: ICMPv6TimeExceeded,
    4: ICMPv6ParamProblem,
}
QUOTED: Final = {4: 576 - 28, 6: 1280 - 48}
"Bytes of a packet that pktlb quotes at most."


def ip_bytes(packet: Packet) -> bytes:
    """The IP packet in a frame, without the frame."""
    return bytes(packet)[ETHER:]


def router(world: World, wire: int) -> Peer:
    """A router on the way that sends errors."""
    return Peer(world.address(7, 7), 0, f"02:00:00:00:0{wire}:77")


def icmp_error(
    trouble: Trouble,
    offending: Packet | bytes,
    source: Peer,
    target: Peer,
    mtu: int = 0,
    *,
    quoted: int | None = None,
    **fields: Any,
) -> Packet:
    """An error that quotes the first `quoted` bytes of a packet (None: all that is allowed)."""
    whole = offending if isinstance(offending, bytes) else ip_bytes(offending)
    quote = Raw(whole[: QUOTED[source.family] if quoted is None else quoted])
    kind, code = trouble.value[source.family == 6]
    if source.family == 4:
        return ip(source, target, ICMP(type=kind, code=code, nexthopmtu=mtu) / quote, **fields)
    head = _ERRORS6[kind](code=code)
    if trouble is Trouble.BIG:
        head.mtu = mtu
    return ip(source, target, head / quote, **fields)


def answer(
    trouble: Trouble, offending: Packet, mtu: int = 0, source: Peer | None = None
) -> Packet:  # fmt: skip
    """The error that pktlb itself sends about a packet to the one it came from: from the VIP, or
    from another `source`."""
    head = offending.payload
    world = V4 if IP in offending and head.version == 4 else V6
    sender = (source or world.vip())._replace(mac=offending.dst)
    to = Peer(head.src, 0, offending.src)
    return icmp_error(trouble, offending, sender, to, mtu, id=0, df=False)


def wrapped(outer_target: Peer, inner: Packet, **fields: Any) -> Packet:
    """`inner` in a tunnel from the balancer to a backend; traffic class and DF are the inner ones,
    and so is the flow label of IPv6 in IPv6."""
    head = inner.payload
    six = head.version == 6
    ether = Ether(src=GATEWAY_MAC[DMZ], dst=outer_target.mac, type=ETHERTYPES[outer_target.family])
    traffic, proto = (head.tc, 41) if six else (head.tos, 4)
    if outer_target.family == 4:
        df = 2 * (len(bytes(head)) > 1280) if six else int(head.flags) & 2
        four = {"id": 1, "ttl": 64, "tos": traffic, "flags": df, "proto": proto} | fields
        return ether / IP(src=V4.gateway(DMZ).address, dst=outer_target.address, **four) / head
    label = head.fl if six else 0
    outer = {"hlim": 64, "tc": traffic, "fl": label, "nh": proto} | fields
    return ether / IPv6(src=V6.gateway(DMZ).address, dst=outer_target.address, **outer) / head


def fragmented(packet: Packet, size: int, ident: int = 7) -> list[Packet]:
    """`packet` as fragments with `size` bytes of it each (a multiple of 8), cut by scapy."""
    whole = Ether(bytes(packet))
    if whole.type == ETHERTYPES[4]:
        return list(fragment(whole, size))
    layer = whole.payload
    while isinstance(layer.payload, IPv6ExtHdrHopByHop | IPv6ExtHdrRouting):
        layer = layer.payload
    rest, number = bytes(layer.payload), layer.nh
    layer.remove_payload()
    layer.nh = 44
    packet6 = whole.payload / IPv6ExtHdrFragment(nh=number, id=ident) / Raw(rest)
    packet6.plen = None
    head = len(packet6) - len(rest)
    ether = Ether(src=whole.src, dst=whole.dst, type=whole.type)
    return [Ether(bytes(ether / piece)) for piece in fragment6(packet6, head + size)]


def frame(packet: Packet, offload: Offload = NO_OFFLOAD, port: int | None = None) -> Frame:
    """`packet` as a plane takes it, at the port that has its destination MAC."""
    data = bytearray(bytes(packet))
    if port is None:
        port = next((p for p, mac in GATEWAY_MAC.items() if mac in (packet.src, packet.dst)), LAN)
    return Frame(port, data, offload)


def parsed(given: Frame) -> Packet:
    """`given` as scapy reads it."""
    return Ether(bytes(given.data))


def partial(packet: Packet) -> Frame:
    """`packet` with a partial checksum, as a sender with offload leaves it."""
    made = frame(packet)
    there = layout(bytes(made.data[ETHER:]))
    start, offset = ETHER + there.transport, CHECK_AT[there.proto]
    total = slow_sum(there.pseudo(len(made.data) - start))
    made.data[start + offset : start + offset + 2] = total.to_bytes(2, "big")
    made.offload = Offload(NEEDS_CHECKSUM, 0, 0, 0, start, offset)
    return made


def gso(packet: Packet, segment_size: int) -> Frame:
    """`packet` as one long frame that stands for segments of so many bytes of payload."""
    made = partial(packet)
    start = made.offload.checksum_start
    length, kind = start + 8, GSO_UDP
    if TCP in packet:
        length = start + (made.data[start + 12] >> 4) * 4
        kind = GSO_TCP4 if packet.type == ETHERTYPES[4] else GSO_TCP6
    made.offload = made.offload._replace(
        gso_type=kind, header_length=length, segment_size=segment_size
    )
    return made


def completed(given: Frame) -> Frame:
    """The frame with a partial checksum completed as by a network card: the sum from its start on,
    inverted."""
    if not given.offload.flags & NEEDS_CHECKSUM:
        return given
    start = given.offload.checksum_start
    place = start + given.offload.checksum_offset
    made = Frame(given.port, bytearray(given.data))
    check = slow_checksum(bytes(made.data[start:])) or 0xFFFF
    made.data[place : place + 2] = check.to_bytes(2, "big")
    return made
