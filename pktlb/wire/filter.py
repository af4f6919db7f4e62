"""Classic BPF programs that say which frames a raw socket is given.

The kernel runs the program on every frame of the interface, so it must be short; what it lets
through beyond the wanted ends, the datapath leaves alone. Classic BPF and its ancillary loads:
Linux, Documentation/networking/filter.rst.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS
_ACCEPT: Final = 0x40000  # bytes of the frame to hand over: all of them
_PACKET_HOST: Final = 0

_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_LOAD_WORD: Final = 0x20
_LOAD_HALF_INDEXED: Final = 0x48
_LOAD_X_HEADER: Final = 0xB1  # X = 4 * (byte & 0xf): length of the IPv4 header
_JUMP_EQUAL: Final = 0x15
_JUMP_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

_ANCILLARY: Final = 0xFFFFF000  # SKF_AD_OFF
_PACKET_TYPE: Final = _ANCILLARY + 4
_VLAN_TAG_PRESENT: Final = _ANCILLARY + 48

_INSTRUCTION: Final = struct.Struct("=HBBI")


class Side(IntEnum):
    """Which end of a packet is compared; the value is the offset of its address in IPv4."""

    SOURCE = 12
    DESTINATION = 16


class Match(NamedTuple):
    """An end of the packets that are wanted."""

    side: Side
    proto: int
    address: bytes
    port: int


class Instruction(NamedTuple):
    """One `struct sock_filter`; jumps count the instructions that are skipped."""

    code: int
    on_true: int
    on_false: int
    operand: int

    def pack(self) -> bytes:
        return _INSTRUCTION.pack(*self)


Program = Sequence[Instruction]

NOTHING: Final[Program] = (Instruction(_RETURN, 0, 0, 0),)
"Lets no frame through."


def compile_filters(matches: Sequence[Match]) -> list[Program]:
    """Untagged IPv4 to this host, not a later fragment, with one of these ends.

    The first program compares whole ends, the next only their addresses, the last lets all of it
    through and leaves the rest to the datapath: the kernel holds only so many instructions, and
    how many is not known before it is asked. Those that it never holds are left out.
    """
    addresses = list({(m.side, m.address): m for m in matches}.values())
    exact = [*_preamble(), *(i for match in matches for i in _exact(match)), _reject()]
    coarse = [*_preamble(), *(i for match in addresses for i in _address_only(match)), _reject()]
    everything = [*_preamble(), Instruction(_RETURN, 0, 0, _ACCEPT)]
    return [p for p in (exact, coarse, everything) if len(p) <= MAX_INSTRUCTIONS]


def _preamble() -> list[Instruction]:
    """Frames for this host alone: promiscuous mode and switches bring others as well."""
    return [
        Instruction(_LOAD_HALF, 0, 0, 12),
        Instruction(_JUMP_EQUAL, 1, 0, 0x0800),
        _reject(),
        Instruction(_LOAD_WORD, 0, 0, _PACKET_TYPE),
        Instruction(_JUMP_EQUAL, 1, 0, _PACKET_HOST),
        _reject(),
        Instruction(_LOAD_WORD, 0, 0, _VLAN_TAG_PRESENT),
        Instruction(_JUMP_EQUAL, 1, 0, 0),
        _reject(),
        Instruction(_LOAD_HALF, 0, 0, 14 + 6),
        Instruction(_JUMP_ANY_BIT, 0, 1, 0x1FFF),
        _reject(),
        Instruction(_LOAD_X_HEADER, 0, 0, 14),
    ]


def _exact(match: Match) -> list[Instruction]:
    address = int.from_bytes(match.address, "big")
    port_offset = 14 + (0 if match.side is Side.SOURCE else 2)
    return [
        Instruction(_LOAD_WORD, 0, 0, 14 + match.side),
        Instruction(_JUMP_EQUAL, 0, 5, address),
        Instruction(_LOAD_BYTE, 0, 0, 14 + 9),
        Instruction(_JUMP_EQUAL, 0, 3, match.proto),
        Instruction(_LOAD_HALF_INDEXED, 0, 0, port_offset),
        Instruction(_JUMP_EQUAL, 0, 1, match.port),
        Instruction(_RETURN, 0, 0, _ACCEPT),
    ]


def _address_only(match: Match) -> list[Instruction]:
    return [
        Instruction(_LOAD_WORD, 0, 0, 14 + match.side),
        Instruction(_JUMP_EQUAL, 0, 1, int.from_bytes(match.address, "big")),
        Instruction(_RETURN, 0, 0, _ACCEPT),
    ]


def _reject() -> Instruction:
    return Instruction(_RETURN, 0, 0, 0)
