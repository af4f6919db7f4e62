"""The words of pktlb: services, backends, and what can become of a frame.

Plain frozen values without behaviour, shared by control and datapath. Addresses are packed bytes
in network order, 4 for IPv4 and 16 for IPv6, so that the family is the length and everything
behind the parser has one path for both.
"""

import socket
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple


class Mode(Enum):
    """How a frame is sent on to the backend."""

    NAT = "nat"
    "Addresses and ports are rewritten; the reply comes back through the balancer."
    DSR = "dsr"
    "Only the MACs are rewritten; the backend holds the VIP and answers the client itself."
    TUNNEL = "tunnel"
    "IP-in-IP (RFC 2003); the backend unwraps, holds the VIP and answers the client itself."


class Scheduler(Enum):
    """The rule by which the backend of a new flow is chosen. All of them respect weights."""

    RR = "rr"
    "Smooth weighted round robin: weights 3:1 give a a b a."
    LC = "lc"
    "Least connections relative to weight; among equals, the one that has waited longest."
    SOURCE = "source"
    "Hash of the client's address through a Maglev table: a client stays with its backend."


class Proto(IntEnum):
    """IP protocol numbers (IANA) that pktlb reads or writes."""

    ICMP = 1
    IPIP = 4
    TCP = 6
    UDP = 17


class Endpoint(NamedTuple):
    """An address and a transport port."""

    address: bytes
    port: int

    def __str__(self) -> str:
        return f"{format_address(self.address)}:{self.port}"


def format_address(packed: bytes) -> str:
    """An address as people write it: "10.0.0.1" of b"\\x0a\\x00\\x00\\x01"."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


@dataclass(frozen=True, slots=True)
class Backend:
    """A machine that serves."""

    endpoint: Endpoint
    weight: int = 1
    "Share of new flows relative to the other backends; 0 takes none."


@dataclass(frozen=True, slots=True)
class Service:
    """What clients dial, and who serves it."""

    vip: Endpoint
    proto: Proto
    mode: Mode
    scheduler: Scheduler
    backends: tuple[Backend, ...]

    def __str__(self) -> str:
        return f"{self.vip}/{self.proto.name.lower()}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds without a packet after which a flow is forgotten, by what it is doing."""

    syn: float = 60.0
    "A TCP handshake that has not completed."
    tcp: float = 900.0
    """An open TCP connection; in NAT mode half-closed ones as well. The other modes see the client
    only, whose FIN has to count as the end of both halves."""
    fin: float = 120.0
    "A TCP connection closed by FIN or RST: time for what is still under way (RFC 9293, 3.6.1)."
    udp: float = 300.0
    "A UDP flow (RFC 4787, 4.3 asks for at least 120, recommends 300)."


class Verdict(Enum):
    """What becomes of a frame."""

    SEND = "sent on, rewritten"
    PASS = "left to the kernel"
    DROP = "dropped"
    ANSWER = "answered by pktlb itself"


class Reason(Enum):
    """Why a frame got its verdict. Each frame ends in exactly one; each has a counter."""

    OPENED = (Verdict.SEND, "first packet of a new flow, sent to the backend chosen for it")
    FORWARDED = (Verdict.SEND, "packet of a known flow, sent to its backend")
    RETURNED = (Verdict.SEND, "reply of a backend, translated back and sent to the client")
    UNWRAPPED = (Verdict.SEND, "packet out of a tunnel, given to this backend")

    NOT_OURS = (Verdict.PASS, "neither to a service nor a reply of a backend (normal)")
    NO_FLOW = (
        Verdict.PASS,
        "looks like a backend's reply but belongs to no flow: left to the kernel",
    )
    NOT_OPEN = (
        Verdict.PASS,
        "TCP packet to a service, in the middle of a connection that is not known",
    )
    FRAGMENT = (Verdict.PASS, "IPv4 fragment: its flow cannot be told")

    TRUNCATED = (Verdict.DROP, "the frame is shorter than its headers say")
    BAD_HEADER = (
        Verdict.DROP,
        "a header contradicts itself (version, header length or UDP length)",
    )
    BAD_CHECKSUM = (Verdict.DROP, "the IPv4 header checksum is wrong")
    TTL_EXPIRED = (Verdict.DROP, "the TTL ran out here (a routing loop, or a traceroute)")
    TABLE_FULL = (Verdict.DROP, "new flow refused: the flow table is full (see --max-flows)")
    NO_NEXT_HOP = (Verdict.DROP, "the MAC on the way to the backend or client is not known")
    NO_PORT = (
        Verdict.DROP,
        "new flow refused: no source port is free towards its backend (see --snat)",
    )
    UNSEGMENTABLE = (
        Verdict.DROP,
        "offloaded frame that is not what it is labelled, or cannot be cut",
    )

    NO_BACKEND = (Verdict.ANSWER, "no backend takes new flows: answered with ICMP port unreachable")
    TOO_BIG = (Verdict.ANSWER, "too big for the way on: answered with ICMP fragmentation needed")

    def __init__(self, verdict: Verdict, sentence: str) -> None:
        self.verdict = verdict
        self.sentence = sentence
