"""Cut a frame that stands for many segments (GSO) into these, as a network card would.

Each piece gets its own lengths, IPv4 identification, TCP sequence number and complete checksum;
FIN and PSH stay on the last piece only, CWR on the first (RFC 3168, section 6.1.2).
"""

from typing import Final

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.frame import GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP, Frame, Offload
from pktlb.engine.datapath.packet import ADDRESSES, CWR, FIN, HEADER, IP, PSH, View
from pktlb.model import Proto

LONGEST_HEAD: Final = 192
"Most bytes of headers in front of each segment: no honest sender has more extension headers."


def can_segment(offload: Offload, view: View) -> bool:
    """Whether `segments` can cut a frame with this offload: TCP or UDP, no fragment."""
    tcp = GSO_TCP4 if view.size == 4 else GSO_TCP6
    kind = tcp if view.proto == Proto.TCP else GSO_UDP
    return (
        offload.gso_type & ~GSO_ECN == kind
        and offload.segment_size > 0
        and view.payload <= LONGEST_HEAD
        and view.ported
        and not view.fragment
    )


def segments(frame: Frame, view: View) -> list[Frame]:
    """The frames that `frame` stands for, in order and with complete checksums; `can_segment` must
    hold."""
    data = memoryview(frame.data)
    size = frame.offload.segment_size
    starts = range(view.payload, view.end, size) or range(view.payload, view.payload + 1)
    finish = _finish_tcp if view.proto == Proto.TCP else _finish_udp
    pieces = []
    for number, start in enumerate(starts):
        piece = bytearray(data[: view.payload])
        piece += data[start : min(start + size, view.end)]
        _finish_ip(piece, view, number)
        finish(piece, view, start - view.payload, start == starts[-1])
        pieces.append(Frame(frame.port, piece))
    return pieces


def _finish_ip(piece: bytearray, view: View, number: int) -> None:
    if view.size == 16:
        piece[IP + 4 : IP + 6] = (len(piece) - IP - HEADER[16]).to_bytes(2, "big")
        return
    ident = int.from_bytes(piece[IP + 4 : IP + 6], "big") + number
    piece[IP + 2 : IP + 4] = (len(piece) - IP).to_bytes(2, "big")
    piece[IP + 4 : IP + 6] = (ident & 0xFFFF).to_bytes(2, "big")
    piece[IP + 10 : IP + 12] = b"\0\0"
    check = checksum.checksum(memoryview(piece)[IP : view.transport])
    piece[IP + 10 : IP + 12] = check.to_bytes(2, "big")


def _finish_tcp(piece: bytearray, view: View, offset: int, last: bool) -> None:
    at = view.transport
    sequence = int.from_bytes(piece[at + 4 : at + 8], "big") + offset
    piece[at + 4 : at + 8] = (sequence & 0xFFFFFFFF).to_bytes(4, "big")
    if not last:
        piece[at + 13] &= ~(FIN | PSH)
    if offset:
        piece[at + 13] &= ~CWR
    piece[at + 16 : at + 18] = b"\0\0"
    piece[at + 16 : at + 18] = _transport_checksum(piece, view).to_bytes(2, "big")


def _finish_udp(piece: bytearray, view: View, offset: int, last: bool) -> None:
    at = view.transport
    piece[at + 4 : at + 6] = (len(piece) - at).to_bytes(2, "big")
    piece[at + 6 : at + 8] = b"\0\0"
    piece[at + 6 : at + 8] = (_transport_checksum(piece, view) or 0xFFFF).to_bytes(2, "big")


def _transport_checksum(piece: bytearray, view: View) -> int:
    """Over the pseudo-header (RFC 9293, section 3.1; RFC 768; RFC 8200, section 8.1) and the
    transport header and data."""
    transport = memoryview(piece)[view.transport :]
    ends = IP + ADDRESSES[view.size]
    pseudo = checksum.word_sum(piece[ends : ends + 2 * view.size]) + view.proto + len(transport)
    return checksum.checksum(transport, checksum.word_sum(pseudo.to_bytes(4, "big")))
