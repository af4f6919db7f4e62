"""The life of a flow: which packet, seen from which side, leads to which state.

This is not the endpoints' state machine (RFC 9293, section 3.3.2) but what a machine between them
sees of it. With NAT both directions pass us. With DSR and tunnel the backend's packets do not, so
the client's FIN counts for both. There is a table for each; a pair of state and event that is not
in it changes nothing.
"""

from enum import IntEnum
from typing import Final

from pktlb.engine.datapath.packet import ACK, FIN, RST, SYN


class State(IntEnum):
    """The state of a flow. It is an IntEnum because it indexes lists for every packet."""

    SYN_SENT = 0
    SYN_RECEIVED = 1
    ESTABLISHED = 2
    CLIENT_FIN = 3
    "The client has closed its half."
    BACKEND_FIN = 4
    "The backend has closed its half."
    CLOSED = 5
    DATAGRAMS = 6
    "UDP and other protocols without connections."


class Event(IntEnum):
    """What a TCP packet means for the state of its flow."""

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
"Transitions where both directions pass us."

ONE_WAY: Final[dict[tuple[State, Event], State]] = {
    (State.SYN_SENT, Event.CLIENT_ACK): State.ESTABLISHED,
    **{(state, Event.CLIENT_FIN): State.CLOSED for state in _LIVE},
    **_RESET,
}
"""Transitions where only the client's packets pass us. A client that has closed its half and still
receives sends acknowledgements, and these keep its flow alive."""


def event_of(tcp_flags: int, from_client: bool) -> Event:
    """What a packet with these flags means: RST comes before FIN, FIN before SYN."""
    if tcp_flags & RST:
        return Event.RESET
    if tcp_flags & FIN:
        return Event.CLIENT_FIN if from_client else Event.BACKEND_FIN
    if tcp_flags & SYN:
        return Event.CLIENT_SYN if from_client else Event.BACKEND_SYN
    return Event.CLIENT_ACK if from_client else Event.BACKEND_ACK


def taken_up(tcp_flags: int, two_way: bool) -> State:
    """The state of a connection that is first seen under way, by a packet of its client.

    `two_way`: both directions pass us.
    """
    transitions = TWO_WAY if two_way else ONE_WAY
    return transitions.get((State.ESTABLISHED, event_of(tcp_flags, True)), State.ESTABLISHED)


def is_under_way(tcp_flags: int) -> bool:
    """Whether a packet belongs to a connection that is there: ACK without SYN (RFC 9293, section
    3.10.7.4)."""
    return tcp_flags & (SYN | ACK) == ACK


def opens(tcp_flags: int) -> bool:
    """Whether a packet asks for a new connection: SYN and none of ACK, RST, FIN."""
    return tcp_flags & (SYN | ACK | RST | FIN) == SYN
