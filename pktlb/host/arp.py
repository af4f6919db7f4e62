"""ARP on Ethernet (RFC 826): the probe, the announcement, and what a received packet claims.

Pure: frames are bytes, from the Ethernet header on. RFC 5227 says how addresses are probed for
(section 2.1.1), announced (2.3) and watched (2.4).
"""

import struct
from typing import Final

from pktlb.host.claim import BROADCAST, MAC, Claim

ETHER_TYPE: Final = 0x0806
_PACKET: Final = struct.Struct("!6s6sH HHBBH 6s4s6s4s")
"Destination, source, type; hardware, protocol, their lengths, operation; sender; target."
_KIND: Final = (ETHER_TYPE, 1, 0x0800, MAC, 4)
"Ethernet and IPv4."
_REQUEST: Final = 1
_REPLY: Final = 2
_UNKNOWN: Final = bytes(MAC)
_UNSPECIFIED: Final = bytes(4)

SENDER_AT: Final = 28
TARGET_AT: Final = 38
"Where the two IPv4 addresses are in a frame."


def probe(address: bytes, mac: bytes) -> bytes:
    """The question whether `address` is free (RFC 5227, section 2.1.1).

    It has no sender address, so that it changes no neighbour's table.
    """
    return _pack(mac, _REQUEST, _UNSPECIFIED, _UNKNOWN, address)


def announcements(address: bytes, mac: bytes) -> tuple[bytes, ...]:
    """What makes neighbours take `mac` for the owner of `address` (RFC 5227, section 2.3).

    The request is the form of the RFC. The reply is for stacks that only learn from replies.
    """
    return (
        _pack(mac, _REQUEST, address, _UNKNOWN, address),
        _pack(mac, _REPLY, address, BROADCAST, address),
    )


def claim(frame: bytes) -> Claim | None:
    """What a received frame claims; None: nothing, or it is not ARP for IPv4 over Ethernet.

    The sender of any ARP packet claims its sender address (RFC 5227, section 2.4). A probe claims
    the address that it asks for (section 2.1.1).
    """
    if len(frame) < _PACKET.size:
        return None
    *_, kind, hardware, protocol, length, size, operation, mac, sender, _, target = (
        _PACKET.unpack_from(frame)
    )
    if (kind, hardware, protocol, length, size) != _KIND or operation not in (_REQUEST, _REPLY):
        return None
    if mac[0] & 1 or mac == _UNKNOWN:  # a group of machines, or none
        return None
    if sender != _UNSPECIFIED:
        return Claim(sender, mac)
    return Claim(target, mac, is_probe=True) if operation == _REQUEST else None


def _pack(mac: bytes, operation: int, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    return _PACKET.pack(BROADCAST, mac, *_KIND, operation, mac, sender, target_mac, target)
