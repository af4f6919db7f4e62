"""Explicit congestion notification at the end of a tunnel (RFC 6040, section 4.2).

The ECN field is the two low bits of the ToS or traffic class. A router inside the tunnel marks the
outer header only, so the mark has to be taken over before that header goes.
"""

from typing import Final, NamedTuple

NOT_ECT, ECT1, ECT0, CE = range(4)
"The values of the field (RFC 3168, section 5)."
FIELD: Final = 0b11


class Combined(NamedTuple):
    """What an inner and an outer field make together."""

    field: int | None
    "What the packet goes on with; None: it is dropped, which is the only mark its sender heeds."
    is_used: bool = True
    "False where no sender and no router makes this pair, so that something on the way is broken."


_TABLE: Final = {
    (NOT_ECT, NOT_ECT): Combined(NOT_ECT),
    (NOT_ECT, ECT0): Combined(NOT_ECT, is_used=False),
    (NOT_ECT, ECT1): Combined(NOT_ECT, is_used=False),
    (NOT_ECT, CE): Combined(None, is_used=False),
    (ECT0, NOT_ECT): Combined(ECT0),
    (ECT0, ECT0): Combined(ECT0),
    (ECT0, ECT1): Combined(ECT1),
    (ECT0, CE): Combined(CE),
    (ECT1, NOT_ECT): Combined(ECT1),
    (ECT1, ECT0): Combined(ECT1, is_used=False),
    (ECT1, ECT1): Combined(ECT1),
    (ECT1, CE): Combined(CE),
    (CE, NOT_ECT): Combined(CE),
    (CE, ECT0): Combined(CE),
    (CE, ECT1): Combined(CE, is_used=False),
    (CE, CE): Combined(CE),
}


def combine(inner: int, outer: int) -> Combined:
    """What the ECN fields of an inner and an outer traffic class (8 bits each) make together."""
    return _TABLE[inner & FIELD, outer & FIELD]
