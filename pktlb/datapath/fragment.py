"""Cut an IPv4 packet into fragments that fit a link (RFC 791, section 3.2)."""

from pktlb.datapath import checksum
from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import IP

_MORE = 0x2000
_OFFSET = 0x1FFF
_COPIED = 0x80
"Bit of an option's type: it goes into every fragment, not only the first."
_END, _NOP = 0, 1


def fragments(frame: Frame, mtu: int) -> list[Frame]:
    """`frame` itself where it fits, else its fragments in order. DF must be clear.

    A packet that is a fragment already is cut further; checksums inside must be complete.
    """
    data = frame.data
    if len(data) - IP <= mtu:
        return [frame]
    first = data[: IP + (data[IP] & 0x0F) * 4]
    later = first[: IP + 20] + _copied_options(first[IP + 20 :])
    later[IP] = 0x40 | (len(later) - IP) // 4
    field = int.from_bytes(data[IP + 6 : IP + 8], "big")
    pieces, header, at = [], first, len(first)
    while at < len(data):
        room = (mtu - (len(header) - IP)) & ~7
        end = min(at + room, len(data))
        piece = header + data[at:end]
        offset = (field & _OFFSET) + (at - len(first)) // 8
        more = field & _MORE if end == len(data) else _MORE
        piece[IP + 2 : IP + 4] = (len(piece) - IP).to_bytes(2, "big")
        piece[IP + 6 : IP + 8] = (more | offset).to_bytes(2, "big")
        piece[IP + 10 : IP + 12] = b"\0\0"
        check = checksum.checksum(memoryview(piece)[IP : len(header)])
        piece[IP + 10 : IP + 12] = check.to_bytes(2, "big")
        pieces.append(Frame(frame.port, piece))
        header, at = later, end
    return pieces


def _copied_options(options: bytearray) -> bytearray:
    """Those options that every fragment carries, padded to whole words; stops at nonsense."""
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
