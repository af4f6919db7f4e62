"""The end of TCP connections that are cut: which flows that concerns, and the RSTs for both ends.

RFC 9293, section 3.10.7, says what an RST must hold, RFC 5961, section 3.2, which one a receiver
believes.
"""

import struct
from enum import Enum, auto
from typing import Final

from pktlb.engine.datapath import checksum
from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.packet import (
    ACK,
    ADDRESSES,
    ETHERTYPE,
    FIN,
    HEADER,
    IP,
    RST,
    SYN,
    View,
    parse,
)
from pktlb.engine.datapath.tables import ServiceKey, Tables
from pktlb.engine.datapath.tcp import State
from pktlb.model import OnRemove, Proto

_TTL: Final = 64
_DONT_FRAGMENT: Final = 0x4000
_IPV4: Final = struct.Struct(">BBHHHBBH")
_IPV6: Final = struct.Struct(">IHBB")
_TCP: Final = struct.Struct(">4sIIBBHHH")


class Course(Enum):
    """What becomes of a packet of a flow that may have been killed or lost its backend."""

    GOES_ON = auto()
    MOVES = auto()
    "The flow is forgotten and the packet opens another one."
    IS_CUT = auto()
    "The packet is dropped."
    IS_RESET = auto()
    "Both ends are sent an RST."


def fate(flow: Flow, tables: Tables) -> OnRemove | None:
    """How the flow is to end: it was killed, or its backend was removed. None: it is not."""
    if flow.killed:
        return OnRemove.RESET
    if not tables.removed:
        return None
    return tables.removed.get((ServiceKey(flow.tally.service), flow.tally.backend))


def course(flow: Flow, view: View, tables: Tables) -> Course:
    """What becomes of a packet of the flow by the flow's `fate`."""
    on_remove = fate(flow, tables)
    if on_remove is None:
        return Course.GOES_ON
    if flow.state is State.DATAGRAMS or (flow.any and not flow.killed):
        moves = flow.state is State.DATAGRAMS or on_remove is not OnRemove.KEEP
        from_client = view.key == flow.key
        return Course.MOVES if moves and from_client and not view.is_later else Course.GOES_ON
    if on_remove is OnRemove.KEEP:
        return Course.GOES_ON
    if on_remove is OnRemove.DROP or view.is_later:
        return Course.IS_CUT
    return Course.IS_RESET


def answer(frame: Frame, view: View) -> Frame:
    """The RST for a TCP packet as it arrived (RFC 9293, section 3.10.7.1).

    It is sent in the name of the packet's receiver, to the MAC that the packet came from.
    """
    data, size, at = frame.data, view.size, view.transport
    sequence, acknowledged = struct.unpack_from(">II", data, at + 4)
    flags = RST
    if view.tcp_flags & ACK:
        sequence, acknowledged = acknowledged, 0
    else:
        length = view.end - view.payload
        length += bool(view.tcp_flags & SYN) + bool(view.tcp_flags & FIN)
        sequence, acknowledged = 0, (sequence + length) & 0xFFFFFFFF
        flags |= ACK
    ports = bytes(data[at + 2 : at + 4] + data[at : at + 2])
    ends = IP + ADDRESSES[size]
    addresses = bytes(data[ends + size : ends + 2 * size] + data[ends : ends + size])
    packet = _packet(addresses, ports, sequence, acknowledged, flags)
    return Frame(frame.port, data[6:12] + data[0:6] + ETHERTYPE[size] + packet)


def instead(frame: Frame, view: View) -> tuple[Frame, View]:
    """An RST in place of a TCP packet as it arrived, in the name of its sender, and its view.

    It has the packet's sequence number: where the receiver expects that one next, it believes the
    RST (RFC 5961, section 3.2).
    """
    data, size, at = frame.data, view.size, view.transport
    sequence, acknowledged = struct.unpack_from(">II", data, at + 4)
    flags = RST | (view.tcp_flags & ACK)
    ends = IP + ADDRESSES[size]
    addresses = bytes(data[ends : ends + 2 * size])
    ports = bytes(data[at : at + 4])
    packet = _packet(addresses, ports, sequence, acknowledged if flags & ACK else 0, flags)
    made = Frame(frame.port, data[:12] + ETHERTYPE[size] + packet)
    seen = parse(made.data)
    assert isinstance(seen, View)
    return made, seen


def _packet(
    addresses: bytes, ports: bytes, sequence: int, acknowledged: int, flags: int
) -> bytearray:  # fmt: skip
    """The IP packet of a segment without options and data. `addresses` are source and destination,
    `ports` as well."""
    tcp = bytearray(_TCP.pack(ports, sequence, acknowledged, 0x50, flags, 0, 0, 0))
    pseudo = addresses + struct.pack(">HH", Proto.TCP, len(tcp))
    tcp[16:18] = checksum.checksum(tcp, checksum.word_sum(pseudo)).to_bytes(2, "big")
    return _header(addresses, len(tcp)) + tcp


def _header(addresses: bytes, length: int) -> bytearray:
    if len(addresses) == 32:
        return bytearray(_IPV6.pack(6 << 28, length, Proto.TCP, _TTL) + addresses)
    length += HEADER[4]
    fields = _IPV4.pack(0x45, 0, length, 0, _DONT_FRAGMENT, _TTL, Proto.TCP, 0)
    header = bytearray(fields + addresses)
    header[10:12] = checksum.checksum(header).to_bytes(2, "big")
    return header
