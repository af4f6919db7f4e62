"""Classic BPF programs that say which frames a raw socket is given.

The kernel runs the program on every frame of the interface, so it must be short. It may let through
more than the wanted ends: the plane decides. Classic BPF and its ancillary loads: Linux,
Documentation/networking/filter.rst.

The program first works out a word for each end of a packet: protocol and port side by side, so that
a range of ports of a protocol is a range of numbers. Such a program cannot skip extension headers:
it compares packets with them, and fragments, by their address alone.
"""

import struct
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple

from pktlb.engine.datapath.packet import ICMP_ERRORS, IP
from pktlb.model import Proto, Vip

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS
_ACCEPT: Final = 0x40000  # bytes of the frame to hand over: all of them
_PACKET_HOST: Final = 0
_FARTHEST: Final = 255
"Instructions that a condition can skip."

_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_LOAD_WORD: Final = 0x20
_LOAD_HALF_INDEXED: Final = 0x48
_LOAD_BYTE_INDEXED: Final = 0x50
_LOAD_X_HEADER: Final = 0xB1  # X = 4 * (byte & 0xf): length of the IPv4 header
_LOAD: Final = 0x00
_LOAD_MEMORY: Final = 0x60
_STORE: Final = 0x02
_TO_X: Final = 0x07
_SHIFT_LEFT: Final = 0x64
_OR_X: Final = 0x4C
_JUMP: Final = 0x05
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER: Final = 0x25
_JUMP_GREATER_EQUAL: Final = 0x35
_JUMP_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

_ANCILLARY: Final = 0xFFFFF000  # SKF_AD_OFF
_PACKET_TYPE: Final = _ANCILLARY + 4
_VLAN_TAG: Final = _ANCILLARY + 44
_VLAN_ID: Final = 0x0FFF
"Bits of a tag that name a VLAN; 0: the tag is there for its priority alone (IEEE 802.1Q, 9.6)."

_INSTRUCTION: Final = struct.Struct("=HBBI")


class Side(Enum):
    """Which end of a packet is compared; the value is the word that describes it."""

    SOURCE = 0
    DESTINATION = 1


_BY_ADDRESS: Final = 1 << 24
"Bit of a word: the address alone decides."
_ADDRESS_AT: Final = {
    (4, Side.SOURCE): IP + 12,
    (4, Side.DESTINATION): IP + 16,
    (16, Side.SOURCE): IP + 8,
    (16, Side.DESTINATION): IP + 24,
}
_SIZES: Final = (4, 16)
_EXTENSIONS: Final = (0, 43, 44, 60)
"Hop-by-hop, routing, fragment, destination options (RFC 8200, section 4)."


class Match(NamedTuple):
    """The ends of wanted packets: a VIP as source or as destination."""

    side: Side
    ends: Vip


class Instruction(NamedTuple):
    """One `struct sock_filter`; jumps count the instructions that are skipped."""

    code: int
    on_true: int
    on_false: int
    operand: int

    def pack(self) -> bytes:
        return _INSTRUCTION.pack(*self)


Program = Sequence[Instruction]


class _Branch(NamedTuple):
    """A conditional jump to a label further down."""

    code: int
    operand: int
    label: str
    when: bool = True
    "Whether it jumps if the comparison holds; False: if it does not hold."


_Code = list[Instruction | _Branch | str]
"Instructions, and labels between them."
_Words = list[tuple[int, int]]
"Ranges of words, both ends included, in order and apart from each other."
_ANY_WORD: Final[_Words] = [(0, _BY_ADDRESS - 1)]


def _assemble(code: _Code) -> list[Instruction]:
    """The program. A condition whose label is too far away gets an unconditional jump beside it."""
    last_first: list[Instruction] = []
    behind: dict[str, int] = {}
    for item in reversed(code):
        if isinstance(item, str):
            behind[item] = len(last_first)
        elif isinstance(item, Instruction):
            last_first.append(item)
        else:
            far = len(last_first) - behind[item.label]
            if item.code == _JUMP:
                last_first.append(_do(_JUMP, far))
            elif far <= _FARTHEST:
                jumps = (far, 0) if item.when else (0, far)
                last_first.append(Instruction(item.code, *jumps, item.operand))
            else:
                last_first.append(_do(_JUMP, far))
                jumps = (0, 1) if item.when else (1, 0)
                last_first.append(Instruction(item.code, *jumps, item.operand))
    return last_first[::-1]


def _do(code: int, operand: int = 0) -> Instruction:
    return Instruction(code, 0, 0, operand)


_ACCEPTED: Final = _do(_RETURN, _ACCEPT)
_REJECTED: Final = _do(_RETURN, 0)

NOTHING: Final[Program] = (_REJECTED,)
"Accepts no frame."


def compile_filters(matches: Sequence[Match]) -> Sequence[Program]:
    """Programs that accept IPv4 and IPv6 to this host with one of these ends, and ICMP errors, but
    none of a VLAN: one or more, the most exact one first.

    The first program compares whole ends, the next only their addresses, the last is `EVERYTHING`.
    The kernel takes only so many instructions; how many shows when a program is attached. Programs
    longer than it ever takes are left out.
    """
    ends = {side: frozenset(m.ends for m in matches if m.side is side) for side in Side}
    return Filters().programs(ends)


_Groups = dict[tuple[int, Side], dict[bytes, _Words]]
"The wanted words of each address, by its length and the side."


class Filters:
    """Makes the programs of `compile_filters` for one set of ends after the other; only what
    differs is worked out anew."""

    def __init__(self) -> None:
        self._ends: dict[Side, frozenset[Vip]] = {}
        self._groups: _Groups = {(size, side): {} for size in _SIZES for side in Side}
        self._addresses: dict[tuple[int, Side], frozenset[bytes]] = {}
        self._by_address: Program = ()
        self._programs: Sequence[Program] = (EVERYTHING,)

    def programs(self, ends: Mapping[Side, frozenset[Vip]]) -> Sequence[Program]:
        """The programs for the wanted ends of each side. As long as these are equal, the same
        object is returned."""
        if ends != self._ends:
            for side in Side:
                self._regroup(side, self._ends.get(side, frozenset()), ends[side])
            self._ends = dict(ends)
            self._programs = self._compiled()
        return self._programs

    def _regroup(self, side: Side, before: frozenset[Vip], after: frozenset[Vip]) -> None:
        touched = {vip.address for vip in before ^ after}
        near: dict[bytes, _Words] = {address: [] for address in touched}
        for vip in after if touched else ():
            if vip.address in touched:
                near[vip.address].extend(_words(vip))
        for address, words in near.items():
            of_side = self._groups[len(address), side]
            if words:
                of_side[address] = _joined(words)
            else:
                of_side.pop(address, None)

    def _compiled(self) -> Sequence[Program]:
        addresses = {key: frozenset(of_side) for key, of_side in self._groups.items()}
        if addresses != self._addresses:
            self._addresses = addresses
            self._by_address = _unless_long(
                {key: dict.fromkeys(each, _ANY_WORD) for key, each in addresses.items()}
            )
        programs = (_unless_long(self._groups), self._by_address, EVERYTHING)
        return [program for program in programs if program]


def _unless_long(groups: _Groups) -> Program:
    """The program, in the order of the addresses; empty if it is longer than the kernel ever takes.
    That is mostly known before it is made: an end takes two instructions at least."""
    each = [words for of_side in groups.values() for words in of_side.values()]
    if 2 * sum(map(len, each)) > MAX_INSTRUCTIONS:
        return ()
    program = _program({key: dict(sorted(of_side.items())) for key, of_side in groups.items()})
    return program if len(program) <= MAX_INSTRUCTIONS else ()


def _words(vip: Vip) -> _Words:
    """The words of all ends of a VIP; without protocols it means all but ICMP."""
    if not vip.protos:
        icmp, icmpv6 = Proto.ICMP << 16, Proto.ICMPV6 << 16
        return [(0, icmp - 1), (icmp + 0x10000, icmpv6 - 1), (icmpv6 + 0x10000, _BY_ADDRESS - 1)]
    return [(proto << 16 | vip.low, proto << 16 | vip.high) for proto in vip.protos]


def _joined(words: _Words) -> _Words:
    """Ranges of the same numbers, in order, with gaps between them."""
    joined: _Words = []
    for low, high in sorted(words):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined


def _program(groups: _Groups) -> list[Instruction]:
    return _assemble(
        [
            *_HOST_ONLY,
            _Branch(_JUMP_EQUAL, 0x0800, "IPv4"),
            _Branch(_JUMP_EQUAL, 0x86DD, "IPv6"),
            "reject",
            _REJECTED,
            "IPv4",
            *_IPV4,
            *_ends(4, groups),
            "IPv6",
            *_IPV6,
            *_ends(16, groups),
        ]
    )


_HOST_ONLY: Final = (
    _do(_LOAD_WORD, _PACKET_TYPE),
    Instruction(_JUMP_EQUAL, 1, 0, _PACKET_HOST),
    _REJECTED,
    _do(_LOAD_WORD, _VLAN_TAG),  # 0 where there is none
    Instruction(_JUMP_ANY_BIT, 0, 1, _VLAN_ID),
    _REJECTED,
    _do(_LOAD_HALF, 12),
)
"""Rejects frames to other hosts and of a VLAN, then loads the frame's ethertype. The kernel has
taken off the outer tag; if another one is behind it, the ethertype is not that of IP."""

EVERYTHING: Final[Program] = (
    *_HOST_ONLY,
    Instruction(_JUMP_EQUAL, 1, 0, 0x0800),
    Instruction(_JUMP_EQUAL, 0, 1, 0x86DD),
    _ACCEPTED,
    _REJECTED,
)
"Accepts all IPv4 and IPv6 to this host that belongs to no VLAN."


def _stores(load_port: int, transport: int, family: str, header: Sequence[Instruction]) -> _Code:
    """Code that stores the words of both ends, for the protocol that was loaded last.

    A load behind the end of a frame rejects it, so frames too short for ports are rejected.
    """
    code: _Code = [
        _do(_SHIFT_LEFT, 16),
        *(_do(_STORE, side.value) for side in Side),
        _Branch(_JUMP_EQUAL, Proto.TCP << 16, f"ported {family}"),
        _Branch(_JUMP_EQUAL, Proto.UDP << 16, f"ported {family}"),
        _Branch(_JUMP, 0, f"ends {family}"),
        f"ported {family}",
    ]
    for side in Side:
        code += [
            *header,
            _do(load_port, transport + 2 * side.value),
            _do(_TO_X),
            _do(_LOAD_MEMORY, side.value),
            _do(_OR_X),
            _do(_STORE, side.value),
        ]
    return [
        *code,
        _Branch(_JUMP, 0, f"ends {family}"),
        f"by address {family}",
        _do(_LOAD, _BY_ADDRESS),
        *(_do(_STORE, side.value) for side in Side),
        f"ends {family}",
    ]


_IPV4: Final[_Code] = [
    _do(_LOAD_HALF, IP + 6),
    _Branch(_JUMP_ANY_BIT, 0x3FFF, "by address 4"),  # an offset, or more fragments
    _do(_LOAD_BYTE, IP + 9),
    _Branch(_JUMP_EQUAL, Proto.ICMP, "not ICMP", when=False),
    _do(_LOAD_X_HEADER, IP),
    _do(_LOAD_BYTE_INDEXED, IP),
    *(_Branch(_JUMP_EQUAL, kind, "error 4") for kind in sorted(ICMP_ERRORS[4][1])),
    _REJECTED,
    "error 4",
    _ACCEPTED,
    "not ICMP",
    *_stores(_LOAD_HALF_INDEXED, IP, "4", [_do(_LOAD_X_HEADER, IP)]),
]
_IPV6: Final[_Code] = [
    _do(_LOAD_BYTE, IP + 6),
    *(_Branch(_JUMP_EQUAL, kind, "by address 16") for kind in _EXTENSIONS),
    _Branch(_JUMP_EQUAL, Proto.ICMPV6, "not ICMPv6", when=False),
    _do(_LOAD_BYTE, IP + 40),
    *(_Branch(_JUMP_EQUAL, kind, "error 16") for kind in sorted(ICMP_ERRORS[16][1])),
    _REJECTED,
    "error 16",
    _ACCEPTED,
    "not ICMPv6",
    *_stores(_LOAD_HALF, IP + 40, "16", []),
]


def _ends(size: int, groups: _Groups) -> _Code:
    """Code that accepts a packet with a wanted end and rejects all others."""
    code: _Code = []
    for side in Side:
        done = f"done {size} {side.name}"
        for number, (address, words) in enumerate(groups.get((size, side), {}).items()):
            other = f"{done} {number}"
            code += [*_address(_ADDRESS_AT[size, side], address, other, not number)]
            code += [*_described(words, side.value, done), other]
        code.append(done)
    return [*code, _REJECTED]


def _address(at: int, address: bytes, other: str, first: bool) -> _Code:
    """Code that jumps to `other` unless the address at an offset is this one. It compares the last
    word first: that differs most."""
    code: _Code = []
    for start in range(len(address) - 4, -1, -4):
        # The only word of an IPv4 address is still loaded from the first comparison.
        if first or len(address) > 4:
            code.append(_do(_LOAD_WORD, at + start))
        word = int.from_bytes(address[start : start + 4], "big")
        code.append(_Branch(_JUMP_EQUAL, word, other, when=False))
    return code


def _described(words: _Words, place: int, done: str) -> _Code:
    """Code that accepts an end with one of these words, or one compared by its address alone. Else
    it jumps to `done`: no other address of this side can be equal."""
    if words == _ANY_WORD:
        return [_ACCEPTED]
    code: _Code = [_do(_LOAD_MEMORY, place)]
    for low, high in [*words, (_BY_ADDRESS, _BY_ADDRESS)]:
        if low == high:
            code += [Instruction(_JUMP_EQUAL, 0, 1, low), _ACCEPTED]
        else:
            code.append(Instruction(_JUMP_GREATER_EQUAL, 0, 2, low))
            code += [Instruction(_JUMP_GREATER, 1, 0, high), _ACCEPTED]
    return [*code, _Branch(_JUMP, 0, done)]
