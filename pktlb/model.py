"""The words of pktlb: services, backends, and what can become of a frame.

Plain frozen values without behaviour, for all of pktlb. Addresses are packed bytes in network
order, 4 for IPv4 and 16 for IPv6. So the length is the family, and code behind the parser is the
same for both.
"""

import socket
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final, NamedTuple


class Mode(Enum):
    """The way in which a frame is sent on to the backend."""

    NAT = "nat"
    "Addresses and ports are rewritten; the reply comes back through the balancer."
    DSR = "dsr"
    "Only the MACs are rewritten; the backend holds the VIP and answers the client itself."
    TUNNEL = "tunnel"
    """IP-in-IP (RFC 2003, 2473, 4213; any family in any); the backend unwraps, holds the VIP and
    answers the client itself."""


class Scheduler(Enum):
    """The rule by which the backend of a new flow is chosen. All of them respect weights."""

    RR = "rr"
    "Smooth weighted round robin: weights 3:1 give a a b a."
    LC = "lc"
    "Least connections relative to weight; of equal backends, the one chosen longest ago."
    SED = "sed"
    "Shortest expected delay: as `lc`, with the new connection counted as well."
    NQ = "nq"
    "Never queue: a backend without connections if there is one, else as `sed`."
    P2C = "p2c"
    "Two random backends, in proportion to weight; the one with fewer connections for its weight."
    SOURCE = "source"
    "Hash of the client's address through a Maglev table: a client stays with its backend."
    MAGLEV = "maglev"
    "Hash of the 5-tuple through a Maglev table: balancers that share nothing agree."
    HASH = "hash"
    "Hash of chosen fields through a Maglev table, see `HashOn`."


class HashFields(Enum):
    """The fields of a packet that are hashed."""

    MAC = "mac"
    "Source MAC."
    SOURCE = "source"
    "Source address, or a prefix of it."
    ADDRESSES = "addresses"
    "Source and destination address."
    FIVE_TUPLE = "5-tuple"
    "Both addresses, both ports and the protocol."


class HashOn(NamedTuple):
    """The input of a scheduler that hashes."""

    fields: HashFields = HashFields.FIVE_TUPLE
    prefix4: int = 32
    "SOURCE: the number of leading bits of an IPv4 address that count."
    prefix6: int = 128
    "SOURCE: the number of leading bits of an IPv6 address that count."
    symmetric: bool = False
    "ADDRESSES and FIVE_TUPLE: both directions of a flow give the same hash."


WHOLE_FLOW: Final = HashOn()
"The 5-tuple."
HASHES: Final = {
    Scheduler.SOURCE: HashOn(HashFields.SOURCE),
    Scheduler.MAGLEV: WHOLE_FLOW,
    Scheduler.HASH: WHOLE_FLOW,
}
"""The input of the schedulers that hash, unless the configuration says another. They are
deterministic: a connection that pktlb does not know goes to the same backend as before."""


class Proto(IntEnum):
    """IP protocol numbers (IANA) that pktlb reads, writes or names."""

    ICMP = 1
    IPIP = 4
    TCP = 6
    UDP = 17
    DCCP = 33
    IPV6 = 41
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136


def format_proto(number: int) -> str:
    """The name of an IP protocol in `Proto`, in lower case, or else its number."""
    return Proto(number).name.lower() if number in set(Proto) else str(number)


class Endpoint(NamedTuple):
    """An address and a transport port; port 0 of a backend: packets keep the one dialled."""

    address: bytes
    port: int

    def __str__(self) -> str:
        if not self.port:
            return format_address(self.address)
        return f"{bracketed(self.address)}:{self.port}"


def format_address(packed: bytes) -> str:
    """The text of a packed address: "10.0.0.1" of b"\\x0a\\x00\\x00\\x01"."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def bracketed(packed: bytes) -> str:
    """The text of an address in front of a port: "[2001:db8::1]" (RFC 5952, section 6)."""
    text = format_address(packed)
    return f"[{text}]" if len(packed) == 16 else text


class Vip(NamedTuple):
    """An address that clients dial, with some or all of its ports and protocols."""

    address: bytes
    "Empty: everything that this machine would forward (`--vip any`)."
    low: int = 0
    high: int = 65535
    "Ports from `low` to `high`, both included."
    protos: tuple[int, ...] = ()
    "IP protocols; empty: all but ICMP, which the kernel answers."

    @property
    def any(self) -> bool:
        """Whether this is no address of the balancer, but everything that it would forward."""
        return not self.address

    def __str__(self) -> str:
        if self.any:
            return "any"
        ports = f"{self.low}" if self.low == self.high else f"{self.low}-{self.high}"
        whole = (self.low, self.high) == (0, 65535)
        text = format_address(self.address) if whole else f"{bracketed(self.address)}:{ports}"
        if self.protos == (Proto.TCP, Proto.UDP):
            return f"{text}/any"
        return "/".join([text, *map(format_proto, self.protos)])


class OnRemove(Enum):
    """What becomes of the open TCP connections of a backend that is removed from its service."""

    RESET = "reset"
    "The next packet of either side is answered with RST."
    DROP = "drop"
    "Their packets are dropped."
    KEEP = "keep"
    "They go on to their end."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds without a packet after which a flow is forgotten, by what it is doing. Each field has
    its sentence for the operator."""

    syn: float = field(
        default=60.0, metadata={"sentence": "a TCP handshake that has not completed"}
    )
    tcp: float = field(default=900.0, metadata={"sentence": "an open TCP connection"})
    """In NAT mode half-closed ones as well. The other modes see the client only, whose FIN has to
    count as the end of both halves."""
    fin: float = field(
        default=120.0, metadata={"sentence": "a TCP connection that was closed, by FIN or RST"}
    )
    "Time for what is still under way (RFC 9293, 3.6.1)."
    udp: float = field(
        default=300.0, metadata={"sentence": "a flow of UDP, or of another protocol"}
    )
    "RFC 4787, 4.3 asks for at least 120, recommends 300."


class Verdict(Enum):
    """What becomes of a frame."""

    SEND = "sent on, rewritten"
    PASS = "left to the kernel"
    DROP = "dropped"
    ANSWER = "answered by pktlb itself"
    HOLD = "kept until it can be told what becomes of it"


class Reason(Enum):
    """Why a frame got its verdict. Each frame has exactly one reason; each reason has a counter."""

    OPENED = (Verdict.SEND, "first packet of a new flow, sent to the backend chosen for it")
    FORWARDED = (Verdict.SEND, "packet of a known flow, sent to its backend")
    RETURNED = (Verdict.SEND, "reply of a backend, sent to the client (NAT: translated back)")
    PICKED_UP = (
        Verdict.SEND,
        "TCP packet of an unknown connection, taken up and sent to the backend chosen for it",
    )
    RELATED = (Verdict.SEND, "ICMP error about a flow, sent to its backend or client")
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

    TRUNCATED = (Verdict.DROP, "the frame is shorter than its headers say")
    BAD_HEADER = (
        Verdict.DROP,
        "a header contradicts itself, there are too many of them, or one demands a source route",
    )
    BAD_CHECKSUM = (
        Verdict.DROP,
        "the checksum of the IPv4 header, of an ICMP error, or of a header quoted there is wrong",
    )
    BAD_SOURCE = (
        Verdict.DROP,
        "its source is an address that no client can have: one of the balancer's own, loopback, "
        "multicast, broadcast, or link-local of another link",
    )
    BAD_FRAGMENT = (
        Verdict.DROP,
        "fragment that overlaps another, or is too small for the headers it should have",
    )
    FRAGMENT_LOST = (
        Verdict.DROP,
        "fragment whose first one did not come in time or was not sent on, or without room for it",
    )
    TABLE_FULL = (Verdict.DROP, "new flow refused: the flow table is full (see --max-flows)")
    NO_NEXT_HOP = (Verdict.DROP, "the MAC on the way to the backend or client is not known")
    NO_PORT = (
        Verdict.DROP,
        "new flow refused: no source port is free towards its backend (see --snat)",
    )
    ALL_FULL = (Verdict.DROP, "new flow refused: every backend has its max_connections")
    UNSEGMENTABLE = (
        Verdict.DROP,
        "offloaded frame that is not what it is labelled, or cannot be cut",
    )
    REMOVED = (Verdict.DROP, "packet of a connection whose backend was removed")
    UNANSWERED = (Verdict.DROP, "an ICMP error was due, but its sender has had many just now")
    TUNNEL_REFUSED = (
        Verdict.DROP,
        "ICMP error: a backend's kernel takes no packets of the tunnel; the client is not told",
    )
    BAD_ECN = (
        Verdict.DROP,
        "packet out of a tunnel, marked for congestion there, whose sender knows no such mark",
    )

    NO_BACKEND = (Verdict.ANSWER, "no backend takes new flows: answered with ICMP unreachable")
    TOO_BIG = (Verdict.ANSWER, "too big for the way on: answered with the size that fits")
    TTL_EXPIRED = (
        Verdict.ANSWER,
        "the TTL ran out here (a routing loop, or a traceroute): answered with time exceeded",
    )

    RESET = (
        Verdict.ANSWER,
        "packet of a connection that was killed, or whose backend was removed: a TCP reset to "
        "both ends",
    )

    HELD = (Verdict.HOLD, "fragment that came before its first one, which it waits for")

    def __init__(self, verdict: Verdict, sentence: str) -> None:
        self.verdict = verdict
        self.sentence = sentence


OF_DECAP: Final = frozenset({Reason.UNWRAPPED, Reason.BAD_ECN})
"Reasons of a backend that unwraps: no engine of a balancer counts them."
