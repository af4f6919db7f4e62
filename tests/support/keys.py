"""Keys of flows as people read them."""

from pktlb.engine.datapath.keys import FlowKey, destination, source
from pktlb.model import format_proto


def format_key(key: FlowKey) -> str:
    """A flow as people read it: "tcp 10.0.1.2:40312 > 10.0.1.100:80"."""
    return f"{format_proto(key[-1])} {source(key)} > {destination(key)}"
