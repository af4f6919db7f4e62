"""The way of one frame: what rewriting must know beside the frame itself."""

from typing import NamedTuple

from pktlb.engine.datapath.flow import Flow
from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.tables import NextHop


class Way(NamedTuple):
    """Where a frame of a flow goes, and what changes on the way."""

    flow: Flow
    hop: NextHop
    becomes: FlowKey | None = None
    """NAT: the packet gets the ends of this key in reversed order. It is `flow.reverse` towards the
    backend, `flow.key` towards the client."""
    tunnel: bytes = b""
    "Destination of the outer header, 4 or 16 bytes; empty where there is none."
    answerer: bytes | None = None
    "Address in whose name its sender is told what is wrong; None: the sender is told nothing."
