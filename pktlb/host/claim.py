"""What a frame says of an address: the machine with this MAC has it, or is about to take it."""

from typing import Final, NamedTuple

MAC: Final = 6
"Octets."
BROADCAST: Final = b"\xff" * MAC


class Claim(NamedTuple):
    """Said by a frame from a link. Any machine on the link can say it; nothing proves it."""

    address: bytes
    mac: bytes
    is_probe: bool = False
    "It only asks whether the address is free: its machine has not got it yet."


def format_mac(mac: bytes) -> str:
    """As `ip link` writes it, such as 02:00:00:00:00:07."""
    return mac.hex(":")
