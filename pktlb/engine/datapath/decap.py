"""Unwrap a tunnel's packets on a backend: which inner packets are let out (RFC 2003, 2473, 4213).

An inner packet keeps its DSCP (the pipe model of RFC 2983); its ECN field takes over what a router
has marked on the outer header.

The input is what a raw IP socket hands over: the payload of the outer packet, reassembled. It may
be several TCP segments that the kernel has merged (GRO); their checksum is then partial.
"""

from collections.abc import Container
from typing import Final, NamedTuple

from pktlb.engine.datapath import checksum, ecn
from pktlb.engine.datapath.frame import GSO_NONE, NEEDS_CHECKSUM, NO_OFFLOAD, Offload
from pktlb.engine.datapath.packet import ADDRESSES, HEADER, TUNNELLED
from pktlb.model import Proto, Reason

_CHECKSUM_AT: Final[dict[int, int]] = {Proto.TCP: 16, Proto.UDP: 6}


class Unwrapped(NamedTuple):
    """An inner packet, from its IP header on, and its offloads; no packet where it is dropped."""

    reason: Reason
    packet: bytes | None = None
    offload: Offload = NO_OFFLOAD
    is_marked_well: bool = True
    "False where the ECN fields of both headers make a pair that has no use."


def unwrap(data: bytes, proto: int, vips: Container[bytes], traffic: int = 0) -> Unwrapped:
    """The packet in `data`, the payload of protocol IPIP or IPV6, if it is whole and for one of
    `vips`; `traffic` is the ToS or traffic class of the outer header. Never raises."""
    size = TUNNELLED[proto]
    if len(data) < HEADER[size]:
        return Unwrapped(Reason.TRUNCATED)
    if size == 4:
        header, version = (data[0] & 0x0F) * 4, 4
        total = int.from_bytes(data[2:4], "big")
    else:
        header, version = HEADER[16], 6
        total = header + int.from_bytes(data[4:6], "big")
    if data[0] >> 4 != version or header < HEADER[size] or total < header:
        return Unwrapped(Reason.BAD_HEADER)
    if total > len(data):
        return Unwrapped(Reason.TRUNCATED)
    to = ADDRESSES[size] + size
    if data[to : to + size] not in vips:
        return Unwrapped(Reason.NOT_OURS)
    inside = data[1] if size == 4 else data[1] >> 4
    field, is_used = ecn.combine(inside, traffic)
    if field is None:
        return Unwrapped(Reason.BAD_ECN, is_marked_well=False)
    packet = data[:total]
    if field != inside & ecn.FIELD:
        packet = _marked(packet, size, field)
    return Unwrapped(Reason.UNWRAPPED, packet, _offload(packet, size, header), is_used)


def _marked(packet: bytes, size: int, field: int) -> bytes:
    """The same packet with another ECN field. A wrong header checksum stays wrong."""
    data = bytearray(packet)
    if size == 16:
        data[1] = data[1] & ~(ecn.FIELD << 4) | field << 4
        return bytes(data)
    data[1] = data[1] & ~ecn.FIELD | field
    by = checksum.delta(packet[:2], bytes(data[:2]))
    check = checksum.update(int.from_bytes(data[10:12], "big"), by)
    data[10:12] = check.to_bytes(2, "big")
    return bytes(data)


def _offload(packet: bytes, size: int, header: int) -> Offload:
    """The offload of a packet whose IP header has `header` bytes: a partial checksum, where the
    field holds the sum over the pseudo-header alone."""
    proto = packet[9] if size == 4 else packet[6]
    at = _CHECKSUM_AT.get(proto)
    if at is None or len(packet) < header + at + 2:
        return NO_OFFLOAD
    if size == 4 and (packet[6] & 0x3F or packet[7]):
        return NO_OFFLOAD  # a fragment
    ends = packet[ADDRESSES[size] : ADDRESSES[size] + 2 * size]
    pseudo = checksum.word_sum(ends) + proto + len(packet) - header
    pseudo = checksum.word_sum(pseudo.to_bytes(4, "big"))
    if int.from_bytes(packet[header + at : header + at + 2], "big") != pseudo:
        return NO_OFFLOAD
    if checksum.checksum(packet[header:], pseudo) == 0:
        return NO_OFFLOAD  # a complete checksum that has the same value
    return Offload(NEEDS_CHECKSUM, GSO_NONE, 0, 0, header, at)
