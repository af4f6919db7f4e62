"""A frame as it comes off the wire, with what the kernel says about its offloads.

`Offload` is `struct virtio_net_hdr` (Virtual I/O Device specification 1.2, section 5.1.6), which
AF_PACKET puts in front of each frame with PACKET_VNET_HDR. A frame may be up to 64 KiB long and has
to be cut into segments later (GSO), and its transport checksum may be partial.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

VNET_LENGTH: Final = 10
"Bytes of the header in front of each frame."
_VNET: Final = struct.Struct("=BBHHHH")  # host byte order on AF_PACKET and TUN

NEEDS_CHECKSUM: Final = 1
"Flag: the checksum field holds the folded pseudo-header sum, not inverted."

GSO_NONE: Final = 0
GSO_TCP4: Final = 1
GSO_TCP6: Final = 4
GSO_UDP: Final = 5
"UDP segmentation (VIRTIO_NET_HDR_GSO_UDP_L4): a run of datagrams of equal size."
GSO_ECN: Final = 0x80
"Bit beside the type: the TCP segment carries CWR, which belongs on the first piece only."


class Offload(NamedTuple):
    """What is still to be done to a frame; offsets count in bytes from its first one."""

    flags: int
    gso_type: int
    header_length: int
    segment_size: int
    "Bytes of payload in a segment."
    checksum_start: int
    checksum_offset: int

    def pack(self) -> bytes:
        return _VNET.pack(*self)


NO_OFFLOAD: Final = Offload(0, GSO_NONE, 0, 0, 0, 0)
_NO_OFFLOAD_BYTES: Final = bytes(VNET_LENGTH)


def unpack_offload(header: bytes) -> Offload:
    """The `Offload` in the first `VNET_LENGTH` bytes of `header`."""
    if header == _NO_OFFLOAD_BYTES:
        return NO_OFFLOAD
    return Offload(*_VNET.unpack(header))


@dataclass(slots=True)
class Frame:
    """One Ethernet frame, from or for one port."""

    port: int
    "Interface index: where it came in, or where it goes out."
    data: bytearray
    "The frame from the destination MAC on."
    offload: Offload = NO_OFFLOAD
