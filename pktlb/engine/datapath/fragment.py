"""Cut a packet into fragments that fit a link (RFC 791, section 3.2; RFC 8200, section 4.5).

Whether a packet may be cut is decided in `forward`.
"""

import struct
from collections.abc import Iterator

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.packet import ETHERTYPE, HEADER, IP

_MORE = 0x2000
_OFFSET = 0x1FFF
_COPIED = 0x80
"Bit of an option's type: every fragment carries the option, not only the first."
_END, _NOP = 0, 1
_FRAGMENT = 44
_FRAGMENT_HEADER = struct.Struct(">BBHI")


def fragments(frame: Frame, mtu: int, ident: int) -> list[Frame]:
    """The frame itself where its packet has at most `mtu` bytes, else its fragments in order.

    Checksums inside must be complete. IPv4: DF must be clear; a packet that is a fragment already
    is cut further. IPv6: the packet must be our own and without extension headers; its fragments
    get the identification `ident` (32 bits).
    """
    if len(frame.data) - IP <= mtu:
        return [frame]
    ours = frame.data[12:14] == ETHERTYPE[16]
    pieces = _ipv6_pieces(frame.data, mtu, ident) if ours else _ipv4_pieces(frame.data, mtu)
    return [Frame(frame.port, piece) for piece in pieces]


def _ipv4_pieces(data: bytearray, mtu: int) -> Iterator[bytearray]:
    first = data[: IP + (data[IP] & 0x0F) * 4]
    later = first[: IP + 20] + _copied_options(first[IP + 20 :])
    later[IP] = 0x40 | (len(later) - IP) // 4
    field = int.from_bytes(data[IP + 6 : IP + 8], "big")
    header, at = first, len(first)
    while at < len(data):
        end = min(at + _room(mtu - (len(header) - IP)), len(data))
        piece = header + data[at:end]
        offset = (field & _OFFSET) + (at - len(first)) // 8
        more = field & _MORE if end == len(data) else _MORE
        piece[IP + 2 : IP + 4] = (len(piece) - IP).to_bytes(2, "big")
        piece[IP + 6 : IP + 8] = (more | offset).to_bytes(2, "big")
        piece[IP + 10 : IP + 12] = b"\0\0"
        check = checksum.checksum(memoryview(piece)[IP : len(header)])
        piece[IP + 10 : IP + 12] = check.to_bytes(2, "big")
        yield piece
        header, at = later, end


def _ipv6_pieces(data: bytearray, mtu: int, ident: int) -> Iterator[bytearray]:
    head = IP + HEADER[16]
    room = _room(mtu - HEADER[16] - _FRAGMENT_HEADER.size)
    for at in range(head, len(data), room):
        load = data[at : at + room]
        more = at + room < len(data)
        cut = _FRAGMENT_HEADER.pack(data[IP + 6], 0, at - head | more, ident)
        piece = data[:head] + cut + load
        piece[IP + 4 : IP + 6] = (len(cut) + len(load)).to_bytes(2, "big")
        piece[IP + 6] = _FRAGMENT
        yield piece


def _room(bytes_left: int) -> int:
    """Bytes of data in a fragment: a multiple of 8, and 8 at least, however small the MTU."""
    return max(8, bytes_left & ~7)


def _copied_options(options: bytearray) -> bytearray:
    """The options that every fragment carries, padded to a multiple of 4 bytes. A malformed option
    ends the list."""
    kept = bytearray()
    at = 0
    while at < len(options) and options[at] != _END:
        length = 1 if options[at] == _NOP else options[at + 1] if at + 1 < len(options) else 0
        if length < 1 or (length < 2 and options[at] != _NOP) or at + length > len(options):
            break
        if options[at] & _COPIED:
            kept += options[at : at + length]
        at += length
    return kept + bytes(-len(kept) % 4)
