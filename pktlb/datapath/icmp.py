"""ICMP errors that pktlb itself sends (RFC 792), under the restraint of RFC 1812, section 4.3.2.7.

They come from the VIP, the only address that the sender knows to be on the way, and go back to the
MAC that the offending frame came from.
"""

import struct
from typing import Final

from pktlb.datapath import checksum
from pktlb.datapath.frame import Frame
from pktlb.datapath.packet import IP, View
from pktlb.model import Proto

_UNREACHABLE: Final = 3
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4

_QUOTE: Final = 576 - 20 - 8  # RFC 1812, section 4.3.2.3: as much as fits 576 bytes
_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_ICMP: Final = struct.Struct(">BBHHH")


def unreachable(frame: Frame, view: View, code: int, source: bytes, mtu: int = 0) -> Frame | None:
    """The answer to `frame` as it arrived; None where none may be sent.

    `mtu` is the next hop's, for FRAGMENTATION_NEEDED (RFC 1191, section 4).
    """
    data = frame.data
    sender = bytes(data[IP + 12 : IP + 16])
    # Never to an address that is not one host's (this-network, loopback, multicast, reserved), nor
    # about a frame that was sent to many.
    if sender[0] in (0, 127) or sender[0] >= 224 or (data[0] | data[6]) & 1:
        return None
    icmp = bytearray(_ICMP.size) + data[IP : min(view.end, IP + _QUOTE)]
    _ICMP.pack_into(icmp, 0, _UNREACHABLE, code, 0, 0, mtu)
    icmp[2:4] = checksum.checksum(icmp).to_bytes(2, "big")
    header = bytearray(20)
    _IPV4.pack_into(header, 0, 0x45, 0, 20 + len(icmp), 0, 0, 64, Proto.ICMP, 0, source, sender)
    header[10:12] = checksum.checksum(header).to_bytes(2, "big")
    return Frame(frame.port, data[6:12] + data[0:6] + data[12:14] + header + icmp)
