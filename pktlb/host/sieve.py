"""Classic BPF programs that keep all frames from a socket but those about given addresses.

So a flood of other ARP, and all IPv6 traffic, costs this process nothing. The instructions and the
ancillary loads: Linux, Documentation/networking/filter.rst. Pure.
"""

import struct
from collections.abc import Iterable
from typing import Final

from pktlb.host import arp, nd

_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD_WORD: Final = 0x20
_LOAD_BYTE: Final = 0x30
_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_LINK: Final = 0xFFFFF000 + 8
"SKF_AD_IFINDEX: of a frame with a VLAN tag it is the VLAN device."
_MOST: Final = 256
"More addresses are not compared here: the program would be longer than the kernel may allow."

LONGEST: Final = 512
"Bytes that are handed over of a frame."
NOTHING: Final = _INSTRUCTION.pack(_RETURN, 0, 0, 0)


def arp_about(addresses: Iterable[bytes], link: int) -> bytes:
    """ARP packets that came in on `link`, and whose sender, or target where there is no sender, is
    one of the IPv4 `addresses`. A neighbour that looks for such an address is not heard."""
    wanted = [address for address in addresses if len(address) == 4]
    return b"".join(
        (
            *_must_be(_LINK, link, _LOAD_WORD),
            *_one_of(arp.SENDER_AT, wanted),
            *_must_be(arp.SENDER_AT, 0, _LOAD_WORD),
            *_one_of(arp.TARGET_AT, wanted),
            NOTHING,
        )
    )


def nd_about(addresses: Iterable[bytes], link: int) -> bytes:
    """Advertisements, and solicitations without a source, that came in on `link`, and whose target
    ends as one of the IPv6 `addresses` does."""
    ends = {address[12:] for address in addresses if len(address) == 16}
    solicited = [*_must_be(nd.TYPE_AT, nd.SOLICITATION), *_must_be(nd.SOURCE_AT, 0, _LOAD_WORD)]
    return b"".join(
        (
            *_must_be(_LINK, link, _LOAD_WORD),
            *_must_be(nd.NEXT_AT, nd.ICMPV6),
            _INSTRUCTION.pack(_LOAD_BYTE, 0, 0, nd.TYPE_AT),
            _INSTRUCTION.pack(_EQUAL, len(solicited), 0, nd.ADVERTISEMENT),
            *solicited,
            *_one_of(nd.TARGET_END_AT, ends),
            NOTHING,
        )
    )


def _must_be(at: int, value: int, load: int = _LOAD_BYTE) -> list[bytes]:
    """Drop the frame unless it has the value there."""
    return [
        _INSTRUCTION.pack(load, 0, 0, at), _INSTRUCTION.pack(_EQUAL, 1, 0, value), NOTHING
    ]  # fmt: skip


def _one_of(at: int, wanted: Iterable[bytes]) -> list[bytes]:
    """Accept the frame where it has one of these words there."""
    words = sorted({int.from_bytes(word, "big") for word in wanted})
    accept = _INSTRUCTION.pack(_RETURN, 0, 0, LONGEST)
    if len(words) > _MOST:
        return [accept]
    tests = [part for w in words for part in (_INSTRUCTION.pack(_EQUAL, 0, 1, w), accept)]
    return [_INSTRUCTION.pack(_LOAD_WORD, 0, 0, at), *tests]
