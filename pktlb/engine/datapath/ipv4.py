"""What the parser asks of an IPv4 header beyond its lengths: its checksum and its options."""

from typing import Final

from pktlb.engine.datapath import checksum

_END, _NO_OPERATION = 0, 1
_SOURCE_ROUTES: Final = frozenset({131, 137})
"Options: loose and strict source route."


def is_intact(data: bytearray, at: int) -> bool:
    """Whether the checksum of the header at offset `at`, which is all there, is right."""
    return checksum.is_valid(data[at : at + (data[at] & 0x0F) * 4])


def is_source_routed(options: bytearray) -> bool:
    """Whether the options of a header demand a route, loose or strict (RFC 791, section 3.1; RFC
    7126, section 4.3). A malformed option ends the list."""
    at = 0
    while at < len(options) and options[at] != _END:
        if options[at] in _SOURCE_ROUTES:
            return True
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2:
            break
        at += length
    return False
