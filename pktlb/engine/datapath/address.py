"""What an address, packed in 4 or 16 bytes, can stand for (RFC 6890)."""


def can_be_answered(address: bytes) -> bool:
    """Whether a packet from this address comes from one host: it is no this-network, loopback,
    multicast or reserved address. Unlike what can be configured, it may be of one link only."""
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 224
    return address[0] != 0xFF and address[:15] != bytes(15)  # also :: and ::1


def is_forwardable(address: bytes) -> bool:
    """Whether a router forwards to it: a host's address, and not link-local (RFC 3927, section
    7; RFC 4291, section 2.5.6)."""
    return can_be_answered(address) and not is_link_local(address)


def is_link_local(address: bytes) -> bool:
    """Whether it is of one link only: no router forwards a packet from it to another link (RFC
    3927, section 2.7; RFC 4291, section 2.5.6)."""
    if len(address) == 4:
        return address[:2] == b"\xa9\xfe"
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def masked(address: bytes, prefix: int) -> bytes:
    """The address with only its first `prefix` bits kept, the others 0."""
    bits = 8 * len(address)
    kept = int.from_bytes(address, "big") >> (bits - prefix) << (bits - prefix)
    return kept.to_bytes(len(address), "big")
