"""Frames for tests, built and checked by scapy: an opinion independent of pktlb's own code.

    client 10.0.1.2 ── LAN 10.0.1.1 | 10.0.2.1 DMZ ── a 10.0.2.2, b 10.0.2.3, c 10.0.2.4
                          VIP 10.0.1.100

A packet is written down as it stands on a wire, MACs included, so its port can be told from them.
Nothing here is changed by a test: packets are built anew, frames are copied before they are used.
"""

import socket
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum as scapy_checksum

from pktlb.datapath.frame import GSO_TCP4, GSO_UDP, NEEDS_CHECKSUM, NO_OFFLOAD, Frame, Offload
from pktlb.model import Endpoint
from tests.oracle import slow_checksum, slow_sum

conf.verb = 0

ETHER: Final = 14
MTU: Final = 1500

LAN, DMZ = 1, 2
GATEWAY_MAC: Final = {LAN: "02:00:00:00:01:01", DMZ: "02:00:00:00:02:01"}
GATEWAY_ADDRESS: Final = {LAN: "10.0.1.1", DMZ: "10.0.2.1"}
BACKENDS: Final = {"a": "10.0.2.2", "b": "10.0.2.3", "c": "10.0.2.4"}

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


def packed(address: str) -> bytes:
    return socket.inet_aton(address)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def client(port: int = 4000, address: str = "10.0.1.2", mac: str = "02:00:00:00:01:02") -> Peer:
    return Peer(address, port, mac)


def vip(port: int = 80, address: str = "10.0.1.100") -> Peer:
    """What clients dial: on their wire it has the balancer's MAC."""
    return Peer(address, port, GATEWAY_MAC[LAN])


def backend(name: str = "a", port: int = 8080) -> Peer:
    return Peer(BACKENDS[name], port, f"02:00:00:00:02:0{ord(name) - ord('a') + 2}")


def via(port: int, peer: Peer) -> Peer:
    """`peer` as it appears on the wire of `port`, with the balancer in between."""
    return peer._replace(mac=GATEWAY_MAC[port])


def at(peer: Peer, machine: Peer) -> Peer:
    """`peer` as an address that `machine` holds: a VIP on the loopback of a backend."""
    return peer._replace(mac=machine.mac)


def ip(
    source: Peer,
    target: Peer,
    load: Packet | bytes,
    *,
    df: bool = True,
    more: bool = False,
    **fields: Any,
) -> Packet:
    """Ethernet and IPv4 around any payload; `fields` are those of the IPv4 header."""
    flags = ("DF+" if df else "") + ("MF" if more else "")
    head = {"id": 7, "ttl": 64, "flags": flags.strip("+") or 0} | fields
    ether = Ether(src=source.mac, dst=target.mac, type=0x0800)
    return ether / IP(src=source.address, dst=target.address, **head) / load


def tcp(
    source: Peer,
    target: Peer,
    flags: str = "A",
    load: bytes = b"",
    *,
    seq: int = 1000,
    tcp_options: Sequence[tuple[str, Any]] = (),
    **fields: Any,
) -> Packet:
    """A TCP segment in a packet as `ip` makes it."""
    segment = TCP(
        sport=source.port,
        dport=target.port,
        flags=flags,
        seq=seq,
        ack=2000,
        options=list(tcp_options),
    )
    return ip(source, target, segment / Raw(load) if load else segment, **fields)


def udp(
    source: Peer, target: Peer, load: bytes = b"", *, check: int | None = None, **fields: Any
) -> Packet:
    """A UDP datagram in a packet as `ip` makes it; `check=0` is one that was not summed."""
    datagram = UDP(sport=source.port, dport=target.port, chksum=check)
    return ip(source, target, datagram / Raw(load) if load else datagram, **fields)


def icmp_unreachable(code: int, offending: Packet, mtu: int = 0) -> Packet:
    """The ICMP error that the VIP sends about a packet to the one it came from."""
    quoted = bytes(offending[IP])[: 576 - 28]
    ether = Ether(src=offending.dst, dst=offending.src, type=0x0800)
    head = IP(src=vip().address, dst=offending[IP].src, id=0, ttl=64, flags=0)
    return ether / head / ICMP(type=3, code=code, nexthopmtu=mtu) / Raw(quoted)


def wrapped(outer_target: Peer, inner: Packet, **fields: Any) -> Packet:
    """`inner` in a tunnel from the balancer to a backend; ToS and DF are the inner ones."""
    head = {"id": 1, "ttl": 64, "tos": inner[IP].tos, "flags": int(inner[IP].flags) & 2} | fields
    ether = Ether(src=GATEWAY_MAC[DMZ], dst=outer_target.mac, type=0x0800)
    outer = IP(src=GATEWAY_ADDRESS[DMZ], dst=outer_target.address, proto=4, **head)
    return ether / outer / inner[IP].copy()


def frame(packet: Packet, offload: Offload = NO_OFFLOAD, port: int | None = None) -> Frame:
    """`packet` as the engine takes it; the port is the one whose MAC it bears."""
    data = bytearray(bytes(packet))
    if port is None:
        port = next((p for p, mac in GATEWAY_MAC.items() if mac in (packet.src, packet.dst)), LAN)
    return Frame(port, data, offload)


def parsed(given: Frame) -> Packet:
    """`given` as scapy reads it."""
    return Ether(bytes(given.data))


def partial(packet: Packet) -> Frame:
    """`packet` as a sender with checksum offload leaves it: the pseudo-header's sum, no more."""
    made = frame(packet)
    start, offset = _checksum_place(made)
    segment = made.data[start:]
    pseudo = made.data[ETHER + 12 : ETHER + 20] + bytes([0, made.data[ETHER + 9]])
    total = slow_sum(bytes(pseudo) + len(segment).to_bytes(2, "big"))
    made.data[start + offset : start + offset + 2] = total.to_bytes(2, "big")
    made.offload = Offload(NEEDS_CHECKSUM, 0, 0, 0, start, offset)
    return made


def gso(packet: Packet, segment_size: int) -> Frame:
    """`packet` as one long frame that stands for segments of so many bytes of payload."""
    made = partial(packet)
    is_tcp = packet[IP].proto == 6
    length = made.offload.checksum_start + (packet[TCP].dataofs or 5) * 4 if is_tcp else 42
    made.offload = made.offload._replace(
        gso_type=GSO_TCP4 if is_tcp else GSO_UDP, header_length=length, segment_size=segment_size
    )
    return made


def completed(given: Frame) -> Frame:
    """What a network card makes of a partial checksum: the sum from its start on, inverted."""
    if not given.offload.flags & NEEDS_CHECKSUM:
        return given
    start = given.offload.checksum_start
    place = start + given.offload.checksum_offset
    made = Frame(given.port, bytearray(given.data))
    check = slow_checksum(bytes(made.data[start:])) or 0xFFFF
    made.data[place : place + 2] = check.to_bytes(2, "big")
    return made


def assert_sound(given: Frame) -> None:
    """Every length fits and every checksum of a frame is right, outer and inner header alike."""
    data = bytes(completed(given).data)
    assert len(data) >= ETHER + 20
    assert data[12:14] == b"\x08\x00", "not IPv4"
    _assert_sound_ip(data[ETHER:])


def _assert_sound_ip(data: bytes) -> None:
    size = (data[0] & 15) * 4
    assert data[0] >> 4 == 4
    assert 20 <= size <= len(data)
    assert int.from_bytes(data[2:4], "big") == len(data), "total length"
    assert scapy_checksum(data[:size]) == 0, "IPv4 header checksum"
    if int.from_bytes(data[6:8], "big") & 0x3FFF:
        return  # a fragment: what it carries can be judged when it is whole again
    load = data[size:]
    pseudo = data[12:20] + bytes([0, data[9]]) + len(load).to_bytes(2, "big")
    if data[9] == 4:
        _assert_sound_ip(load)
    elif data[9] == 1:
        assert scapy_checksum(load) == 0, "ICMP checksum"
    elif data[9] == 6:
        assert scapy_checksum(pseudo + load) == 0, "TCP checksum"
    elif data[9] == 17 and load[6:8] != b"\0\0":
        length = int.from_bytes(load[4:6], "big")
        pseudo = data[12:20] + bytes([0, 17]) + load[4:6]
        assert scapy_checksum(pseudo + load[:length]) == 0, "UDP checksum"


def _checksum_place(given: Frame) -> tuple[int, int]:
    start = ETHER + (given.data[ETHER] & 15) * 4
    return start, {6: 16, 17: 6}[given.data[ETHER + 9]]
