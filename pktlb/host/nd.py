"""Neighbour discovery (RFC 4861): the probe, the announcement, and what a received packet claims.

Pure: frames are bytes, from the Ethernet header on. A probe is a solicitation as in duplicate
address detection (RFC 4862, section 5.4.2). An announcement is an unsolicited advertisement
(RFC 4861, section 7.2.6).
"""

import struct
from collections.abc import Iterator
from typing import Final

from pktlb.host.claim import MAC, Claim

ETHER_TYPE: Final = 0x86DD
ICMPV6: Final = 58
SOLICITATION: Final = 135
ADVERTISEMENT: Final = 136

_ETHERNET: Final = struct.Struct("!6s6sH")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_ND: Final = struct.Struct("!BBHI16s")
_HOPS: Final = 255
"No router has sent the packet on (RFC 4861, section 7.1)."
_ROUTER: Final = 1 << 31
_OVERRIDE: Final = 1 << 29
_TARGET_MAC: Final = 2
"The option with the target's link-layer address (RFC 4861, section 4.6.1)."
_UNSPECIFIED: Final = bytes(16)
_ALL_NODES: Final = bytes.fromhex("ff02") + bytes(13) + b"\x01"
_SOLICITED: Final = bytes.fromhex("ff02 0000 0000 0000 0000 0001 ff")
"The first 13 octets of a solicited-node address (RFC 4291, section 2.7.1)."

NEXT_AT: Final = 20
SOURCE_AT: Final = 22
TYPE_AT: Final = 54
TARGET_END_AT: Final = 74
"Where a frame has the next header, the source, the type, and the last four octets of the target."


def probe(address: bytes, mac: bytes) -> bytes:
    """The question whether `address` is free: a solicitation from the unspecified address."""
    return _pack(mac, _UNSPECIFIED, _group(address), SOLICITATION, 0, address, b"")


def group_mac(address: bytes) -> bytes:
    """Where solicitations for `address` go: the MAC of its group (RFC 2464, section 7)."""
    return _mac_of(_group(address))


def announcement(address: bytes, mac: bytes, is_router: bool) -> bytes:
    """What makes all nodes of the link take `mac` for the owner of `address`.

    `is_router` is whether this machine sends packets on: a node that is told otherwise gives up its
    routes through it (RFC 4861, section 7.2.5).
    """
    flags = _OVERRIDE | (_ROUTER if is_router else 0)
    option = bytes((_TARGET_MAC, 1)) + mac
    return _pack(mac, address, _ALL_NODES, ADVERTISEMENT, flags, address, option)


def claim(frame: bytes) -> Claim | None:
    """What a received frame claims; None: nothing, or it fails the checks of RFC 4861, section 7.1.

    An advertisement claims its target, as does a solicitation without a source: another machine is
    about to take the address (RFC 4862, section 5.4.3).
    """
    packet = _valid(frame)
    if packet is None:
        return None
    source, message = packet
    kind, code, _, _, target = _ND.unpack_from(message)
    options = dict(_options(message))
    if code or target[0] == 0xFF or None in options:
        return None
    mac: bytes = frame[MAC : 2 * MAC]
    if kind == ADVERTISEMENT:
        mac = options.get(_TARGET_MAC, mac)[:MAC]
    elif kind != SOLICITATION or source != _UNSPECIFIED:
        return None
    if len(mac) < MAC or mac[0] & 1 or mac == bytes(MAC):
        return None
    return Claim(target, mac, is_probe=kind == SOLICITATION)


def _valid(frame: bytes) -> tuple[bytes, bytes] | None:
    """Source and ICMPv6 message of a whole frame with a right checksum."""
    if len(frame) < TYPE_AT + _ND.size:
        return None
    if int.from_bytes(frame[12:14], "big") != ETHER_TYPE:
        return None
    first, length, following, hops, source, destination = _IPV6.unpack_from(frame, _ETHERNET.size)
    message = frame[TYPE_AT : TYPE_AT + length]
    if first >> 28 != 6 or following != ICMPV6 or hops != _HOPS:
        return None
    if length < _ND.size or len(message) < length:
        return None
    return (source, message) if _checksum(source, destination, message) == 0 else None


def _options(message: bytes) -> Iterator[tuple[int | None, bytes]]:
    """Type and value of each option; the type None stands for one that is malformed."""
    at = _ND.size
    while at < len(message):
        size = 8 * message[at + 1] if at + 1 < len(message) else 0
        if not size or at + size > len(message):
            yield None, b""
            return
        yield message[at], message[at + 2 : at + size]
        at += size


def _pack(mac: bytes, source: bytes, destination: bytes, kind: int, flags: int,
          target: bytes, option: bytes) -> bytes:  # fmt: skip
    message = _ND.pack(kind, 0, 0, flags, target) + option
    checksum = _checksum(source, destination, message)
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    return (
        _ETHERNET.pack(_mac_of(destination), mac, ETHER_TYPE)
        + _IPV6.pack(6 << 28, len(message), ICMPV6, _HOPS, source, destination)
        + message
    )


def _group(address: bytes) -> bytes:
    return _SOLICITED + address[13:]


def _mac_of(group: bytes) -> bytes:
    return b"\x33\x33" + group[12:]


def _checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """Of a message with its pseudo-header (RFC 8200, section 8.1); 0 where it holds the right
    one."""
    pseudo = source + destination + struct.pack("!II", len(message), ICMPV6)
    data = pseudo + message + bytes(len(message) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
