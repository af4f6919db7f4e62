"""The Internet checksum (RFC 1071), and its update by difference (RFC 1624).

2**16 is 1 modulo 0xffff, so the one's complement sum of the 16-bit words of a byte string is the
string, read as one big number, modulo 0xffff. A difference of sums is a `delta` in 0..0xfffe.
"""

from typing import Final

TTL_DELTA: Final = -0x100 % 0xFFFF
"What one hop adds to the sum over an IPv4 header: TTL is the upper byte of its word."


def word_sum(data: bytes | bytearray | memoryview) -> int:
    """The one's complement sum, folded to 16 bits; an odd last byte is the upper half of a word."""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return number % 0xFFFF or (0xFFFF if number else 0)


def checksum(data: bytes | bytearray | memoryview, start: int = 0) -> int:
    """The checksum (16 bits) of `data`, whose checksum field is zero; `start` is a sum over
    more."""
    total = word_sum(data) + start
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def is_valid(header: bytes | bytearray) -> bool:
    """Whether the checksum in a header is right: all words then sum up to zero."""
    return int.from_bytes(header, "big") % 0xFFFF == 0


def delta(old: bytes, new: bytes) -> int:
    """What replacing `old` by `new`, both of one even length, adds to a sum; in 0..0xfffe."""
    return (int.from_bytes(new, "big") - int.from_bytes(old, "big")) % 0xFFFF


def update(check: int, by: int) -> int:
    """The checksum after a change by a `delta`: HC' = ~(~HC + delta) (RFC 1624, equation 3)."""
    total = (~check & 0xFFFF) + by
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def update_partial(check: int, by: int) -> int:
    """A partial checksum, which is a sum not inverted, after a change of its pseudo-header."""
    total = check + by
    return (total & 0xFFFF) + (total >> 16)


def update_udp(check: int, by: int) -> int:
    """As `update`, for UDP: 0 means "not summed" and stays; a result of 0 is sent as 0xffff (RFC
    768)."""
    return check and (update(check, by) or 0xFFFF)
