"""The Internet checksum (RFC 1071), and its update by difference (RFC 1624).

2**16 is 1 modulo 0xffff, so the one's complement sum of the 16-bit words of a byte string is the
string, read as one big number, modulo 0xffff. A difference of sums is a `delta` in 0..0xfffe.
"""

from typing import Final

TTL_DELTA: Final = -0x100 % 0xFFFF
"What one hop does to the header checksum: TTL is the upper byte of its word."


def word_sum(data: bytes | bytearray | memoryview) -> int:
    """The folded one's complement sum; an odd last byte is the upper half of its word."""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return number % 0xFFFF or (0xFFFF if number else 0)


def checksum(data: bytes | bytearray | memoryview, start: int = 0) -> int:
    """The checksum of `data`, its own field zeroed, on top of a sum begun elsewhere."""
    total = word_sum(data) + start
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def is_valid(header: bytes | bytearray) -> bool:
    """True where a header whose checksum field is filled in sums up to nothing."""
    return int.from_bytes(header, "big") % 0xFFFF == 0


def delta(old: bytes, new: bytes) -> int:
    """The difference that replacing `old` by `new` (even lengths) makes to a sum."""
    return (int.from_bytes(new, "big") - int.from_bytes(old, "big")) % 0xFFFF


def update(check: int, by: int) -> int:
    """A full checksum after a change: HC' = ~(~HC + delta) (RFC 1624, equation 3)."""
    total = (~check & 0xFFFF) + by
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def update_partial(check: int, by: int) -> int:
    """A partial checksum, which is a sum not inverted, after a change of the pseudo-header."""
    total = check + by
    return (total & 0xFFFF) + (total >> 16)


def update_udp(check: int, by: int) -> int:
    """As `update`, where 0 means "not summed" and a sum of 0 is sent as 0xffff (RFC 768)."""
    return check and (update(check, by) or 0xFFFF)
