"""Unwrap IP-in-IP (RFC 2003) on a backend: which inner packets are let out of the tunnel.

Given whole packets as a raw IP socket hands them over: reassembled, outer header in front, perhaps
several TCP segments that the kernel merged on reception (GRO), whose checksum is then partial.
"""

from collections.abc import Container
from typing import Final, NamedTuple

from pktlb.datapath import checksum
from pktlb.datapath.frame import GSO_NONE, NEEDS_CHECKSUM, NO_OFFLOAD, Offload
from pktlb.model import Proto, Reason

_CHECKSUM_AT: Final[dict[int, int]] = {Proto.TCP: 16, Proto.UDP: 6}


class Unwrapped(NamedTuple):
    """An inner packet and what is still to be done to it; no packet where it is dropped."""

    reason: Reason
    packet: bytes | None = None
    offload: Offload = NO_OFFLOAD


def unwrap(data: bytes, vips: Container[bytes]) -> Unwrapped:
    """The IPv4 packet inside `data`, if it is whole and for one of `vips`. Never raises."""
    outer = (data[0] & 0x0F) * 4 if data else 0
    if outer < 20 or len(data) < outer + 20:
        return Unwrapped(Reason.TRUNCATED)
    header = (data[outer] & 0x0F) * 4
    total = int.from_bytes(data[outer + 2 : outer + 4], "big")
    if data[outer] >> 4 != 4 or header < 20 or total < header:
        return Unwrapped(Reason.BAD_HEADER)
    if outer + total > len(data):
        return Unwrapped(Reason.TRUNCATED)
    if data[outer + 16 : outer + 20] not in vips:
        return Unwrapped(Reason.NOT_OURS)
    packet = data[outer : outer + total]
    return Unwrapped(Reason.UNWRAPPED, packet, _offload(packet, header))


def _offload(packet: bytes, header: int) -> Offload:
    """Whether the transport checksum is only the pseudo-header's sum, as after GRO."""
    at = _CHECKSUM_AT.get(packet[9])
    if at is None or len(packet) < header + at + 2 or packet[6] & 0x3F or packet[7]:
        return NO_OFFLOAD
    length = len(packet) - header
    pseudo = checksum.word_sum(packet[12:20]) + packet[9] + length
    pseudo = checksum.word_sum(pseudo.to_bytes(4, "big"))
    if int.from_bytes(packet[header + at : header + at + 2], "big") != pseudo:
        return NO_OFFLOAD
    if checksum.checksum(packet[header:], pseudo) == 0:
        return NO_OFFLOAD  # complete, and by chance of the same value
    return Offload(NEEDS_CHECKSUM, GSO_NONE, 0, 0, header, at)
