"""The life of a flow: which packet, seen from which side, leads to which state.

Not the endpoints' state machine (RFC 9293, section 3.3.2) but what can be told of it from the
middle. NAT sees both directions; with DSR and tunnel the backend's packets never come by, so the
client's FIN must count for both. Two tables; a pair that is not in them changes nothing.
"""

from enum import IntEnum
from typing import Final

from pktlb.engine.datapath.packet import ACK, FIN, RST, SYN


class State(IntEnum):
    """Where a flow stands. An IntEnum, because it indexes lists on the path of every packet."""

    SYN_SENT = 0
    SYN_RECEIVED = 1
    ESTABLISHED = 2
    CLIENT_FIN = 3
    "The client has closed its half."
    BACKEND_FIN = 4
    "The backend has closed its half."
    CLOSED = 5
    DATAGRAMS = 6
    "UDP and other protocols: no life to follow."


class Event(IntEnum):
    """What a packet means for the state of its flow."""

    CLIENT_SYN = 0
    CLIENT_ACK = 1
    CLIENT_FIN = 2
    BACKEND_SYN = 3
    BACKEND_ACK = 4
    BACKEND_FIN = 5
    RESET = 6


_LIVE: Final = (State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED)
_RESET: Final = {
    (state, Event.RESET): State.CLOSED for state in (*_LIVE, State.CLIENT_FIN, State.BACKEND_FIN)
}

TWO_WAY: Final[dict[tuple[State, Event], State]] = {
    (State.SYN_SENT, Event.BACKEND_SYN): State.SYN_RECEIVED,
    (State.SYN_RECEIVED, Event.CLIENT_ACK): State.ESTABLISHED,
    **{(state, Event.CLIENT_FIN): State.CLIENT_FIN for state in _LIVE},
    **{(state, Event.BACKEND_FIN): State.BACKEND_FIN for state in _LIVE},
    (State.CLIENT_FIN, Event.BACKEND_FIN): State.CLOSED,
    (State.BACKEND_FIN, Event.CLIENT_FIN): State.CLOSED,
    **_RESET,
}
"Transitions where both directions pass here."

ONE_WAY: Final[dict[tuple[State, Event], State]] = {
    (State.SYN_SENT, Event.CLIENT_ACK): State.ESTABLISHED,
    **{(state, Event.CLIENT_FIN): State.CLOSED for state in _LIVE},
    **_RESET,
}
"""Transitions where only the client's packets pass here. A client that closes its half and goes on
receiving acknowledges what it receives, so its flow stays as long as it is in use."""


def event_of(tcp_flags: int, from_client: bool) -> Event:
    """What a packet with these flags says. RST beats FIN beats SYN."""
    if tcp_flags & RST:
        return Event.RESET
    if tcp_flags & FIN:
        return Event.CLIENT_FIN if from_client else Event.BACKEND_FIN
    if tcp_flags & SYN:
        return Event.CLIENT_SYN if from_client else Event.BACKEND_SYN
    return Event.CLIENT_ACK if from_client else Event.BACKEND_ACK


def taken_up(tcp_flags: int, two_way: bool) -> State:
    """Where a connection stands that is first seen in the middle, by a packet of its client."""
    transitions = TWO_WAY if two_way else ONE_WAY
    return transitions.get((State.ESTABLISHED, event_of(tcp_flags, True)), State.ESTABLISHED)


def is_under_way(tcp_flags: int) -> bool:
    """True for what only belongs to a connection that is there (RFC 9293, section 3.10.7.4)."""
    return tcp_flags & (SYN | ACK) == ACK


def opens(tcp_flags: int) -> bool:
    """True for the packet that asks for a new connection: SYN and none of ACK, RST, FIN."""
    return tcp_flags & (SYN | ACK | RST | FIN) == SYN
